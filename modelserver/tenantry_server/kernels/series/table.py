"""Forecasts of one series as a table: what its library answered for the first steps, when it was loaded.

A forecast without a history and without exogenous columns depends on its step alone, whatever the model is.
So the steps that a worker has computed and proved are an answer to every shorter horizon too.
"""

import sys
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tenantry import Model
from tenantry.errors import OnlyForecasts
from tenantry.model import Predictions
from tenantry_server.kernels.base import one_of
from tenantry_server.rows.forecast_request import ForecastRequest, refuse_untaken

if TYPE_CHECKING:
    import pandas as pd

_DIGITS = 6  # of a quantile: finer ones are rounded by some libraries
_NORMAL = NormalDist()


class ForecastTable(Model):
    """The first steps of a forecast.

    Args:
        labels: of each step, as an answer names it: texts, or numbers of steps.
        numbers: float64, shape (steps, 1 + columns): the mean of each step, and then its quantiles, or the
            spread of its normal distribution. NaN where the model answered no number.
        quantiles: of the columns after the mean; empty: there are none, or there is the spread.
        only: the horizon that the quantiles are of, as they are others in a longer one; 0: of each.
        takes_quantiles: whether the original answers quantiles, which may be others than those here.
        takes_history: whether the original takes another history than its own.
        starts: whether a request may name its first step.
    """

    __slots__ = ("labels", "numbers", "only", "quantiles", "starts", "takes_history", "takes_quantiles")

    may_block = False
    call_s = 2e-5  # measured: 9 to 20 us for 14 steps
    exog_names = ()

    def __init__(
        self,
        labels: Sequence[str] | Sequence[int],
        numbers: npt.NDArray[np.float64],
        quantiles: Sequence[float] = (),
        *,
        only: int = 0,
        takes_quantiles: bool = False,
        takes_history: bool = False,
        starts: bool = True,
    ) -> None:
        self.labels: tuple[Any, ...] = one_of(tuple(labels))
        self.numbers = numbers
        self.quantiles = one_of(tuple(quantiles))
        self.only = only
        self.takes_quantiles = takes_quantiles
        self.takes_history = takes_history
        self.starts = starts

    def predict(self, data: "pd.DataFrame") -> Predictions:  # noqa: ARG002 - the interface
        """Refuse, as every forecaster does.

        Raises:
            OnlyForecasts: always.
        """
        raise OnlyForecasts

    def own_bytes(self) -> int:
        """Return the bytes that are freed with it; stores whose series end together share their labels."""
        return sys.getsizeof(self) + sys.getsizeof(self.numbers)

    def covers(self, asked: ForecastRequest) -> bool:
        """Return whether the table holds the answer; else the original has to be asked.

        Raises:
            InvalidRequest, FeatureMismatch: the original takes no such request either.
        """
        refuse_untaken(self, asked)
        if asked.history is not None or asked.exog is not None:
            return False
        before = self._before(asked)
        if before is None or before + asked.horizon > len(self.labels):
            return False
        if self._has_spread:
            return all(round(each, _DIGITS) == each for each in asked.quantiles)
        if self.only and asked.quantiles and (before, asked.horizon) != (0, self.only):
            return False
        return all(each in self.quantiles for each in asked.quantiles)

    def answer(self, asked: ForecastRequest) -> Predictions:
        """Answer a request that it covers.

        Returns:
            objects of shape (horizon, 2 + quantiles), as `scoring.forecasts.forecast` does.
        """
        first = self._before(asked) or 0
        last = first + asked.horizon
        numbers = self.numbers[first:last]
        made = np.empty((asked.horizon, 2 + len(asked.quantiles)), dtype=object)
        made[:, 0] = self.labels[first:last]
        made[:, 1] = numbers[:, 0]
        for column, quantile in enumerate(asked.quantiles, start=2):
            if self._has_spread:
                made[:, column] = numbers[:, 0] + numbers[:, 1] * _NORMAL.inv_cdf(quantile)
            else:
                made[:, column] = numbers[:, 1 + self.quantiles.index(quantile)]
        if np.isnan(numbers).any():  # seldom
            rest = made[:, 1:]
            rest[rest != rest] = None  # noqa: PLR0124 - NaN differs from itself
        return made

    @property
    def _has_spread(self) -> bool:
        return not self.quantiles and self.numbers.shape[1] > 1

    def _before(self, asked: ForecastRequest) -> int | None:
        """Return how many steps come before the first one that is asked for; None: the table can't say."""
        if asked.start is None:
            return 0
        # Another way to write the same time is left to the original, as every wrong time is.
        if not self.starts or asked.start not in self.labels:
            return None
        return self.labels.index(asked.start)
