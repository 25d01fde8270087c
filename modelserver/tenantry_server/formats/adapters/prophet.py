"""Prophet as a Forecaster; read against prophet 1.5."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tenantry import Forecaster
from tenantry_server.formats.adapters import calendars, levels

_SEED = 0  # its intervals are simulated: an answer should be the same when it is asked again


def adapt(loaded: Any, _method: str) -> Forecaster:
    """Return a fitted Prophet.

    Raises:
        ValueError: it is not fitted, or its series has no frequency.
    """
    if getattr(loaded, "history", None) is None:
        raise ValueError("it is not fitted; publish what its fit() returns")
    return ProphetForecaster(loaded)


class ProphetForecaster(Forecaster):
    """A fitted Prophet; exogenous columns are its regressors, its conditions, and a cap of logistic growth.

    Args:
        fitted: what `fit()` returned.

    Raises:
        ValueError: as `adapt`.
    """

    takes_quantiles = True

    def __init__(self, fitted: Any) -> None:
        self._fitted = fitted
        calendar = calendars.of_index(pd.DatetimeIndex(fitted.history["ds"]))
        self.frequency, self.last_time = calendar.frequency, calendar.last_time
        conditions = [season.get("condition_name") for season in fitted.seasonalities.values()]
        conditions = [name for name in conditions if name]
        bounds = ["cap"] if fitted.growth == "logistic" else []
        floors = ["floor"] if bounds and fitted.logistic_floor else []
        regressors = fitted.extra_regressors.values()
        self.is_affine = not (conditions or bounds) and all(
            each["mode"] == "additive" for each in regressors
        )
        self.exog_names = (*fitted.extra_regressors, *conditions, *bounds, *floors)

    def forecast(
        self,
        horizon: int,
        *,
        history: pd.DataFrame | None = None,  # noqa: ARG002 - it takes none
        exog: pd.DataFrame | None = None,
        quantiles: Sequence[float] = (),
    ) -> pd.DataFrame:
        """Forecast; quantiles are of its own simulation."""
        times = pd.date_range(self.last_time, periods=horizon + 1, freq=self.frequency)[1:]
        future = pd.DataFrame({"ds": times})
        for name in self.exog_names if exog is not None else ():
            future[name] = exog[name].to_numpy()  # type: ignore[index]
        for season in self._fitted.seasonalities.values():
            if season.get("condition_name"):
                future[season["condition_name"]] = future[season["condition_name"]].astype(bool)
        samples, self._fitted.uncertainty_samples = self._fitted.uncertainty_samples, 0
        try:
            mean = self._fitted.predict(future)["yhat"]  # without a simulation that is not asked for
        finally:
            self._fitted.uncertainty_samples = samples
        if not quantiles:
            return levels.frame(mean, {})
        if not samples:
            raise ValueError("it was fitted with uncertainty_samples=0, and has no quantiles")
        np.random.seed(_SEED)  # Prophet draws from this one
        drawn = self._fitted.predictive_samples(future)["yhat"]
        return levels.frame(mean, {q: np.quantile(drawn, q, axis=1) for q in quantiles})
