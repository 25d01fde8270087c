"""Forecasters of sktime as Forecasters; read against sktime 1.2."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tenantry import Forecaster
from tenantry_server.formats.adapters import calendars, levels


def adapt(loaded: Any, _method: str) -> Forecaster:
    """Return a fitted forecaster of one series.

    Raises:
        ValueError: it is not fitted, of several series, or no forecaster.
    """
    if not hasattr(loaded, "cutoff"):
        raise ValueError("it is not a forecaster; only forecasters of sktime can be served")
    if not loaded.is_fitted:
        raise ValueError("it is not fitted; publish what its fit() returns")
    return SktimeForecaster(loaded)


class SktimeForecaster(Forecaster):
    """A fitted forecaster of sktime.

    Args:
        fitted: what `fit()` returned.

    Raises:
        ValueError: as `adapt`.
    """

    def __init__(self, fitted: Any) -> None:
        self._fitted = fitted
        cutoff = fitted.cutoff
        frequency = getattr(cutoff, "freq", None)
        if isinstance(cutoff, pd.DatetimeIndex) and frequency is None:
            raise ValueError(
                "its series has no regular frequency; fit it with one, as by series.asfreq('D')"
            )
        self._calendar = calendars.of_last(cutoff[-1], frequency)
        self.frequency, self.last_time = self._calendar.frequency, self._calendar.last_time
        seen = getattr(fitted, "_X", None)  # as long as it remembers its data
        self.exog_names = () if seen is None else tuple(map(str, seen.columns))
        self.takes_quantiles = bool(fitted.get_tag("capability:pred_int"))
        if np.ndim(fitted._y) > 1 and np.shape(fitted._y)[1] > 1:  # noqa: SLF001 - it has no other name for it
            raise ValueError(f"it is of {np.shape(fitted._y)[1]} series; publish one of one series")  # noqa: SLF001

    def forecast(
        self,
        horizon: int,
        *,
        history: pd.DataFrame | None = None,  # noqa: ARG002 - it takes none
        exog: pd.DataFrame | None = None,
        quantiles: Sequence[float] = (),
    ) -> pd.DataFrame:
        """Forecast; a forecaster that was fitted for a horizon answers that one only."""
        steps = list(range(1, horizon + 1))
        given = None if exog is None else self._calendar.like_its_own(exog)
        mean = self._fitted.predict(fh=steps, X=given)
        if not quantiles:
            return levels.frame(np.ravel(mean), {})
        several = self._fitted.predict_quantiles(fh=steps, X=given, alpha=list(quantiles))
        return levels.frame(np.ravel(mean), dict(zip(quantiles, several.to_numpy().T, strict=True)))
