"""MLForecast of Nixtla as a Forecaster; read against mlforecast 1.0."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from tenantry import Forecaster
from tenantry.forecaster import VALUE
from tenantry_server.formats.adapters import calendars, levels, panels


def adapt(loaded: Any, _method: str) -> Forecaster:
    """Return a fitted MLForecast of one series and one model.

    Raises:
        ValueError: it is not fitted, holds several, or has static features.
    """
    if not hasattr(loaded, "ts"):
        raise ValueError("only an MLForecast can be served")
    return MLForecaster(loaded)


class MLForecaster(Forecaster):
    """A fitted MLForecast.

    Args:
        fitted: of one series, with one model.

    Raises:
        ValueError: as `adapt`.
    """

    takes_history = True

    def __init__(self, fitted: Any) -> None:
        if not getattr(fitted, "models_", None):
            raise ValueError("it is not fitted; publish it after fit()")
        self._fitted = fitted
        series = fitted.ts
        self._series = panels.only_series(series.uids)
        self._alias = panels.only_model(list(fitted.models_))
        calendar = calendars.of_last(series.last_dates[0], fitted.freq)
        self.frequency, self.last_time = calendar.frequency, calendar.last_time
        static = [name for name in series.static_features_.columns if name != series.id_col]
        if static:
            raise ValueError(
                f"it has the static features {', '.join(static)}, which mean nothing for one series; "
                "fit it with static_features=[]"
            )
        own = {*series.features}
        self.exog_names = tuple(name for name in series.features_order_ if name not in own)
        self.takes_quantiles = getattr(fitted, "_cs_df", None) is not None

    def forecast(
        self,
        horizon: int,
        *,
        history: pd.DataFrame | None = None,
        exog: pd.DataFrame | None = None,
        quantiles: Sequence[float] = (),
    ) -> pd.DataFrame:
        """Forecast from its own series, or from a history that is long enough for its lags."""
        named = levels.names(quantiles)
        asked = sorted({level for _, level in named.values()})
        given: dict[str, Any] = {"level": asked} if asked else {}
        if history is not None:
            series = self._fitted.ts
            renamed = history.rename(columns={VALUE: series.target_col})
            given["new_df"] = panels.of(renamed, self._series, series)
        if exog is not None:
            given["X_df"] = panels.of(exog, self._series, self._fitted.ts)
        return levels.of_columns(self._fitted.predict(horizon, **given), self._alias, named)
