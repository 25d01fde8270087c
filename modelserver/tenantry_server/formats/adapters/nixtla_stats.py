"""StatsForecast of Nixtla, and its models by themselves, as Forecasters; read against statsforecast 2.0."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tenantry import Forecaster
from tenantry_server.formats.adapters import calendars, levels, panels


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

    def forecast(
        self,
        horizon: int,
        *,
        history: pd.DataFrame | None = None,  # noqa: ARG002 - it takes none
        exog: pd.DataFrame | None = None,
        quantiles: Sequence[float] = (),
    ) -> pd.DataFrame:
        """Forecast, with intervals where quantiles are asked for."""
        named = levels.names(quantiles)
        asked = sorted({level for _, level in named.values()})
        frame = None if exog is None else panels.of(exog, self._series, self._fitted)
        answered = self._fitted.predict(horizon, X_df=frame, level=asked or None)
        return levels.of_columns(answered, self._alias, named)


class BareStatsModel(Forecaster):
    """One model of statsforecast, fitted with an array of values: its steps are numbered from the end on.

    Args:
        fitted: such as ``SeasonalNaive(7).fit(values)``.
    """

    takes_quantiles = True

    def __init__(self, fitted: Any) -> None:
        self._fitted = fitted

    def forecast(
        self,
        horizon: int,
        *,
        history: pd.DataFrame | None = None,  # noqa: ARG002 - it takes none
        exog: pd.DataFrame | None = None,  # noqa: ARG002 - as above
        quantiles: Sequence[float] = (),
    ) -> pd.DataFrame:
        """Forecast, with intervals where quantiles are asked for."""
        named = levels.names(quantiles)
        asked = sorted({level for _, level in named.values()})
        answered = self._fitted.predict(horizon, level=asked or None)
        return levels.frame(
            answered["mean"], {q: answered[f"{end}-{level}"] for q, (end, level) in named.items()}
        )
