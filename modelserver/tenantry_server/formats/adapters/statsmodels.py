"""Results of statsmodels: of a series as a Forecaster, of a regression as a Model.

Read against statsmodels 0.15.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from tenantry import Forecaster, Model
from tenantry.forecaster import VALUE
from tenantry.model import Predictions, Rows
from tenantry_server.formats.adapters import calendars, levels

_CONSTANT = "const"  # as `sm.add_constant` names it
_AFFINE = ("ARIMAResults", "SARIMAXResults", "AutoRegResults")  # of a history, and of their columns
_SEED = 0  # of intervals that are simulated: an answer should be the same when it is asked again


def adapt(loaded: Any, method: str) -> Model:
    """Return what `fit()` returned as a Forecaster or a Model.

    Raises:
        ValueError: it is neither, or of several series.
    """
    if not hasattr(loaded, "forecast"):
        if hasattr(loaded, "params") and hasattr(loaded, "predict"):
            if method != "predict":
                raise ValueError(f"it has no method {method}; correct spec.model.method")
            return RowsOfStatsmodels(loaded)
        raise ValueError("it is not fitted; publish what its fit() returns")
    endog = np.asarray(_endog(loaded))
    if endog.ndim > 1 and endog.shape[1] > 1:
        raise ValueError(f"it is of {endog.shape[1]} series together; publish a model of one series")
    return SeriesOfStatsmodels(loaded)


class SeriesOfStatsmodels(Forecaster):
    """ARIMA, SARIMAX, unobserved components, ETS, Holt-Winters, AutoReg, Theta and STL of statsmodels.

    Args:
        results: what `fit()` returned.

    Raises:
        ValueError: the steps of its series are not regular.
    """

    def __init__(self, results: Any) -> None:
        self._results = results
        endog = _endog(results)
        index = endog.index if isinstance(endog, pd.Series | pd.DataFrame) else None
        self._calendar = calendars.of_count(len(endog)) if index is None else calendars.of_index(index)
        self.frequency = self._calendar.frequency
        self.last_time = self._calendar.last_time
        self.exog_names = _exog_names(results)
        self._with_names = isinstance(_exog(results), pd.DataFrame | pd.Series)
        self.takes_history = hasattr(results, "apply")
        self.is_affine = _is_affine(results)
        self._is_theta = hasattr(results, "prediction_intervals")
        self.takes_quantiles = self._is_theta or hasattr(results, "get_prediction")

    def forecast(
        self,
        horizon: int,
        *,
        history: pd.DataFrame | None = None,
        exog: pd.DataFrame | None = None,
        quantiles: Sequence[float] = (),
    ) -> pd.DataFrame:
        """Forecast; a history is filtered with the parameters that were fitted."""
        results = self._results if history is None else self._after(history)
        given = {} if exog is None else {"exog": self._given(exog)}
        if not quantiles:
            return levels.frame(results.forecast(horizon, **given), {})
        if self._is_theta:
            return self._theta(horizon, quantiles)
        return self._predicted(results, horizon, given, quantiles)

    def _after(self, history: pd.DataFrame) -> Any:
        own = self._calendar.like_its_own(history)
        series = own[VALUE] if self.frequency is not None else own[VALUE].to_numpy()
        names = list(self.exog_names)
        return self._results.apply(series, **({"exog": self._given(history[names])} if names else {}))

    def _given(self, exog: pd.DataFrame) -> Any:
        return self._calendar.like_its_own(exog) if self._with_names else exog.to_numpy()

    def _theta(self, horizon: int, quantiles: Sequence[float]) -> pd.DataFrame:
        def interval(alpha: float) -> levels.Ends:
            ends = self._results.prediction_intervals(horizon, alpha=alpha)
            return ends["lower"], ends["upper"]

        return levels.frame(self._results.forecast(horizon), levels.of_intervals(quantiles, interval))

    @staticmethod
    def _predicted(
        results: Any, horizon: int, given: dict[str, Any], quantiles: Sequence[float]
    ) -> pd.DataFrame:
        if hasattr(results, "get_forecast"):
            predicted = results.get_forecast(horizon, **given)
        else:
            first = len(_endog(results))
            more = {"exog_oos": given["exog"]} if given else {}
            if hasattr(results, "simulate"):  # ETS: what it can't derive, it simulates
                known = inspect.signature(results.simulate).parameters
                more["rng" if "rng" in known else "random_state"] = np.random.default_rng(_SEED)
            predicted = results.get_prediction(first, first + horizon - 1, **more)
        mean = np.asarray(predicted.predicted_mean)
        if hasattr(predicted, "pred_int"):

            def interval(alpha: float) -> levels.Ends:
                ends = predicted.pred_int(alpha=alpha)
                return ends.iloc[:, 0], ends.iloc[:, 1]

            return levels.frame(mean, levels.of_intervals(quantiles, interval))
        error = np.asarray(predicted.se_mean)
        return levels.frame(mean, {q: mean + error * ndtri(q) for q in quantiles})


def _is_affine(results: Any) -> bool:
    """Return whether its mean is a weighted sum of earlier values and of exogenous columns of the step."""
    model = results.model
    constant = getattr(model, "trend", None) in (None, "n", "c")
    moving = getattr(model, "seasonal", False) is True or getattr(model, "deterministic", None) is not None
    kind = type(getattr(results, "_results", results)).__name__
    return constant and not (moving and kind == "AutoRegResults") and kind in _AFFINE


class RowsOfStatsmodels(Model):
    """A regression of statsmodels: OLS, GLS, GLM, logit and the others that predict from exogenous columns.

    A constant that `sm.add_constant` put in is put in here too. A model with a formula takes the columns
    that its formula names.

    Args:
        results: what `fit()` returned.
    """

    independent_rows = True
    accepts_missing = False

    def __init__(self, results: Any) -> None:
        self._results = results
        model = results.model
        self._formula = getattr(model, "formula", None)
        names = [str(name) for name in model.exog_names or ()]
        self._constant = names.index(_CONSTANT) if _CONSTANT in names else None
        self._width = len(names)
        self.numeric = self._formula is None
        if self._formula is None:
            names = [name for name in names if name != _CONSTANT]
            self.feature_count = len(names)
            if isinstance(_exog(results), pd.DataFrame | pd.Series):
                self.feature_names = tuple(names)

    def predict(self, data: pd.DataFrame) -> Predictions:
        """Predict from the columns that the formula names, or from those that it was fitted with."""
        if self._formula is None:
            return self.predict_rows(data.to_numpy(np.float64))
        try:
            return np.asarray(self._results.predict(data))
        except Exception as error:  # patsy's and formulaic's own, for a column that is missing
            raise ValueError(str(error).strip().partition("\n")[0]) from error

    def predict_rows(self, rows: Rows) -> Predictions:
        """Predict from a matrix without the constant."""
        if self._constant is not None:
            rows = np.insert(rows, self._constant, 1.0, axis=1)
        return np.asarray(self._results.predict(rows))


def _endog(results: Any) -> Any:
    """Return the series as it was given."""
    model = results.model
    original = getattr(model, "endog_orig", None)  # of Theta
    return original if original is not None else model.data.orig_endog


def _exog(results: Any) -> Any:
    """Return the exogenous columns as they were given; None: there are none."""
    model = results.model
    given = getattr(model, "_input_exog", None)  # of ARIMA, whose others hold its trend too
    if given is not None or hasattr(model, "_input_exog"):
        return given
    return getattr(getattr(model, "data", None), "orig_exog", None)


def _exog_names(results: Any) -> tuple[str, ...]:
    given = _exog(results)
    if given is None:
        return ()
    if isinstance(given, pd.DataFrame):
        return tuple(map(str, given.columns))
    if isinstance(given, pd.Series):
        return (str(given.name),)
    shape = np.shape(given)
    return tuple(f"x{number + 1}" for number in range(shape[1] if len(shape) > 1 else 1))
