"""Small models for examples and tests, which do what their names say."""

import time

import numpy as np
import pandas as pd

from tenantry import Model
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
