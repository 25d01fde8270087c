"""Small models for examples and tests, which do what their names say."""

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from tenantry import Forecaster, Model
from tenantry.model import Predictions


class SumModel(Model):
    """Adds up each row; `plus` tells one instance from another.

    Example:
        >>> SumModel(plus=100).predict(pd.DataFrame({"a": [1, 2], "b": [10, 20]}))
        array([111., 122.])
    """

    numeric = True

    def __init__(self, plus: float = 0.0) -> None:
        self.plus = plus

    def predict(self, data: pd.DataFrame) -> Predictions:
        """Return the sum of each row, and `plus`."""
        return np.asarray(data.sum(axis=1).to_numpy(dtype=np.float64) + self.plus)


class SlowModel(SumModel):
    """A SumModel that takes `delay_s` for every call."""

    def __init__(self, delay_s: float, plus: float = 0.0) -> None:
        super().__init__(plus)
        self.delay_s = delay_s

    def predict(self, data: pd.DataFrame) -> Predictions:
        """Wait, and return what SumModel returns."""
        time.sleep(self.delay_s)
        return super().predict(data)


class ErrorModel(Model):
    """Raises at every call, as a broken model would."""

    def predict(self, data: pd.DataFrame) -> Predictions:  # noqa: ARG002 - the interface
        """Never returns.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("this model always fails")


class DriftForecaster(Forecaster):
    """Goes on from the last value of its history by `slope` a step; the quantile q lies q above that.

    Args:
        frequency: of the series; None: its steps are numbered.
        last_time: of the series.
        exog_names: columns that a request must bring; each is added to the mean.

    Example:
        >>> DriftForecaster(None, 9, slope=0.5).forecast(2, quantiles=[0.9])
           mean   0.9
        0  10.5  11.4
        1  11.0  11.9
    """

    takes_history = True
    takes_quantiles = True
    is_affine = True

    def __init__(
        self,
        frequency: str | None,
        last_time: object,
        *,
        level: float = 10.0,
        slope: float = 1.0,
        exog_names: Sequence[str] = (),
    ) -> None:
        self.frequency = frequency
        self.last_time = last_time
        self.level = level
        self.slope = slope
        self.exog_names = tuple(exog_names)

    def forecast(
        self,
        horizon: int,
        *,
        history: pd.DataFrame | None = None,
        exog: pd.DataFrame | None = None,
        quantiles: Sequence[float] = (),
    ) -> pd.DataFrame:
        """Return the line from the last value."""
        level = self.level if history is None else float(history["value"].iloc[-1])
        mean = level + self.slope * np.arange(1, horizon + 1)
        if exog is not None:
            mean += exog.sum(axis=1).to_numpy()
        return pd.DataFrame({"mean": mean} | {q: mean + q for q in quantiles})
