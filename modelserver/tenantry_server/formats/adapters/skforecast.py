"""Forecasters of skforecast for one series as Forecasters; read against skforecast 0.26."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from tenantry import Forecaster
from tenantry.forecaster import VALUE
from tenantry_server.formats.adapters import calendars, levels


def adapt(loaded: Any, _method: str) -> Forecaster:
    """Return a fitted forecaster of one series.

    Raises:
        ValueError: it is not fitted, or of several series.
    """
    if not getattr(loaded, "is_fitted", False):
        raise ValueError("it is not fitted; publish it after fit()")
    if not hasattr(getattr(loaded, "last_window_", None), "index"):  # a window for each series
        raise ValueError("it is of several series; publish a forecaster of one series")
    return SkforecastForecaster(loaded)


class SkforecastForecaster(Forecaster):
    """A fitted forecaster of skforecast; a history is as long as its window, or longer.

    Args:
        fitted: after `fit()`.
    """

    takes_history = True

    def __init__(self, fitted: Any) -> None:
        self._fitted = fitted
        frequency = fitted.index_freq_
        self._calendar = calendars.of_last(fitted.last_window_.index[-1], frequency)
        self.frequency, self.last_time = self._calendar.frequency, self._calendar.last_time
        self.exog_names = tuple(fitted.exog_names_in_ or ())
        self.takes_quantiles = bool(
            hasattr(fitted, "predict_quantiles")
            and getattr(fitted, "in_sample_residuals_", None) is not None
        )

    def forecast(
        self,
        horizon: int,
        *,
        history: pd.DataFrame | None = None,
        exog: pd.DataFrame | None = None,
        quantiles: Sequence[float] = (),
    ) -> pd.DataFrame:
        """Forecast; quantiles are of its own bootstrap, which has a fixed seed."""
        given: dict[str, Any] = {}
        if history is not None:
            given["last_window"] = self._calendar.like_its_own(history)[VALUE]
        if exog is not None:
            given["exog"] = self._calendar.like_its_own(exog)
        mean = self._fitted.predict(horizon, **given)
        if not quantiles:
            return levels.frame(mean, {})
        several = self._fitted.predict_quantiles(horizon, quantiles=list(quantiles), **given)
        return levels.frame(mean, dict(zip(quantiles, several.to_numpy().T, strict=True)))
