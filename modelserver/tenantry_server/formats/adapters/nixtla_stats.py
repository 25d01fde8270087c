"""StatsForecast of Nixtla, and its models by themselves, as Forecasters; read against statsforecast 2.0."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tenantry import Forecaster
from tenantry.forecaster import VALUE
from tenantry_server.formats.adapters import calendars, levels, panels

_FORGETFUL = ("SeasonalNaive",)  # it has no parameters, so a fit to a history changes nothing
_AFFINE = ("ARIMA", "AutoARIMA", "AutoRegressive", "Naive", "SeasonalNaive")


def adapt(loaded: Any, _method: str) -> Forecaster:
    """Return a fitted StatsForecast of one series and one model, or one fitted model.

    Raises:
        ValueError: it is not fitted, or holds several.
    """
    if hasattr(loaded, "uids") or hasattr(loaded, "models"):
        return StatsForecaster(loaded)
    if not hasattr(loaded, "predict"):
        raise ValueError("it has no predict method")
    if not hasattr(loaded, "model_"):
        raise ValueError("it is not fitted; publish what its fit() returns")
    return BareStatsModel(loaded)


class StatsForecaster(Forecaster):
    """A fitted StatsForecast.

    Its exogenous columns are ``x1``, ``x2``, …: it keeps their number, not their names.

    Args:
        fitted: of one series, with one model.

    Raises:
        ValueError: as `adapt`.
    """

    takes_quantiles = True

    def __init__(self, fitted: Any) -> None:
        if not hasattr(fitted, "fitted_"):
            raise ValueError("it is not fitted; publish what its fit() returns")
        self._fitted = fitted
        self._series = panels.only_series(fitted.uids)
        self._alias = panels.only_model([repr(model) for model in fitted.models])
        calendar = calendars.of_last(fitted.last_dates[0], fitted.freq)
        self.frequency, self.last_time = calendar.frequency, calendar.last_time
        columns = np.atleast_2d(fitted.ga.data.T).shape[0] - 1
        self.exog_names = tuple(f"x{number + 1}" for number in range(columns))
        self._model = fitted.fitted_[0, 0]
        self.takes_history = not self.exog_names and _takes_history(self._model)
        self.is_affine = type(self._model).__name__ in _AFFINE

    def forecast(
        self,
        horizon: int,
        *,
        history: pd.DataFrame | None = None,
        exog: pd.DataFrame | None = None,
        quantiles: Sequence[float] = (),
    ) -> pd.DataFrame:
        """Forecast, with intervals where quantiles are asked for."""
        if history is not None:
            return _after(self._model, history, horizon, quantiles)
        named = levels.names(quantiles)
        frame = None if exog is None else panels.of(exog, self._series, self._fitted)
        answered = self._fitted.predict(horizon, X_df=frame, level=_levels(named))
        return levels.of_columns(answered, self._alias, named)


class BareStatsModel(Forecaster):
    """One model of statsforecast, fitted with an array of values: its steps are numbered from the end on.

    Args:
        fitted: such as ``SeasonalNaive(7).fit(values)``.
    """

    takes_quantiles = True

    def __init__(self, fitted: Any) -> None:
        self._fitted = fitted
        self.takes_history = _takes_history(fitted)
        self.is_affine = type(fitted).__name__ in _AFFINE

    def forecast(
        self,
        horizon: int,
        *,
        history: pd.DataFrame | None = None,
        exog: pd.DataFrame | None = None,  # noqa: ARG002 - as above
        quantiles: Sequence[float] = (),
    ) -> pd.DataFrame:
        """Forecast, with intervals where quantiles are asked for."""
        if history is not None:
            return _after(self._fitted, history, horizon, quantiles)
        named = levels.names(quantiles)
        return _of_ends(self._fitted.predict(horizon, level=_levels(named)), named)


def _takes_history(model: Any) -> bool:
    """Return whether it forecasts from other values without being fitted to them."""
    conformal = getattr(model, "prediction_intervals", None) is not None
    return not conformal and (hasattr(model, "forward") or type(model).__name__ in _FORGETFUL)


def _after(model: Any, history: pd.DataFrame, horizon: int, quantiles: Sequence[float]) -> pd.DataFrame:
    named = levels.names(quantiles)
    call = model.forward if hasattr(model, "forward") else model.forecast
    try:
        answered = call(y=history[VALUE].to_numpy(), h=horizon, level=_levels(named))
    except (IndexError, ZeroDivisionError) as error:
        raise ValueError(f"a history of {len(history)} rows is too short for it ({error})") from error
    return _of_ends(answered, named)


def _levels(named: Mapping[float, tuple[str, float]]) -> list[float] | None:
    return sorted({level for _, level in named.values()}) or None


def _of_ends(answered: Any, named: Mapping[float, tuple[str, float]]) -> pd.DataFrame:
    return levels.frame(
        answered["mean"], {q: answered[f"{end}-{level}"] for q, (end, level) in named.items()}
    )
