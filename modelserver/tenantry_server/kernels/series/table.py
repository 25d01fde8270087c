"""Forecasts of one series as a table: what its library answered for the first steps, when it was loaded.

A forecast without a history and without exogenous columns depends on its step alone, whatever the model is.
So the steps that a worker has computed and proved are an answer to every shorter horizon too. What lies
beyond the table is answered where a rule was proven by which the steps go on (`Further`).
"""

import math
import sys
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tenantry import Model
from tenantry.errors import OnlyForecasts
from tenantry.forecaster import VALUE
from tenantry.model import Predictions
from tenantry_server.kernels.base import one_of
from tenantry_server.kernels.series import beyond
from tenantry_server.kernels.series.rule import NOTHING, REACH, Further
from tenantry_server.rows.forecast_request import TIME, ForecastRequest, Table, refuse_untaken

if TYPE_CHECKING:
    import pandas as pd

_DIGITS = 6  # of a quantile: finer ones are rounded by some libraries
_NORMAL = NormalDist()


class ForecastTable(Model):
    """The first steps of a forecast, and how it goes on.

    Args:
        labels: of each step, as an answer names it: texts, or numbers of steps.
        numbers: float64, shape (steps, 1 + columns): the mean of each step, and then its quantiles, or the
            spread of its normal distribution. NaN where the model answered no number. Exogenous columns
            are 0 here.
        quantiles: of the columns after the mean; empty: there are none, or there is the spread.
        only: the horizon that the quantiles are of, as they are others in a longer one; 0: of each.
        takes_quantiles: whether the original answers quantiles, which may be others than those here.
        takes_history: whether the original takes another history than its own.
        starts: whether a request may name its first step.
        exog_names: the exogenous columns that the original takes.
        further: what is known beyond the table; None: nothing.
    """

    __slots__ = (
        "exog_names",
        "further",
        "labels",
        "numbers",
        "only",
        "quantiles",
        "starts",
        "takes_history",
        "takes_quantiles",
    )

    may_block = False
    call_s = 2e-5  # measured: 9 to 20 us for 14 steps

    def __init__(  # noqa: PLR0913 - all that a table is
        self,
        labels: Sequence[str] | Sequence[int],
        numbers: npt.NDArray[np.float64],
        quantiles: Sequence[float] = (),
        *,
        only: int = 0,
        takes_quantiles: bool = False,
        takes_history: bool = False,
        starts: bool = True,
        exog_names: Sequence[str] = (),
        further: Further | None = None,
    ) -> None:
        self.labels: tuple[Any, ...] = one_of(tuple(labels))
        self.numbers = numbers
        self.quantiles = one_of(tuple(quantiles))
        self.only = only
        self.takes_quantiles = takes_quantiles
        self.takes_history = takes_history
        self.starts = starts
        self.exog_names = one_of(tuple(exog_names))
        self.further = further

    def predict(self, data: "pd.DataFrame") -> Predictions:  # noqa: ARG002 - the interface
        """Refuse, as every forecaster does.

        Raises:
            OnlyForecasts: always.
        """
        raise OnlyForecasts

    def own_bytes(self) -> int:
        """Return the bytes that are freed with it; stores whose series end together share their labels."""
        further = self.further
        if further is None:
            return sys.getsizeof(self) + sys.getsizeof(self.numbers)
        rules = (each for each in (further.mean, further.spread) if each is not None)
        parts = [further.calendar, *(part for rule in rules for part in (rule, rule.weights))]
        return sum(map(sys.getsizeof, (self, self.numbers, further, further.effects, *filter(_is, parts))))

    def covers(self, asked: ForecastRequest) -> bool:
        """Return whether the kernel holds the answer; else the original has to be asked.

        Whatever is wrong with a request is for the original to say, which names the row.

        Raises:
            InvalidRequest, FeatureMismatch: the original takes no such request either.
        """
        refuse_untaken(self, asked)
        before = self._before(asked)
        if before is None:
            return False
        end = before + asked.horizon
        if asked.history is not None and not self._goes_on_from(asked.history):
            return False
        if end > len(self.labels) and not self._reaches(end):
            return False
        if self.exog_names and not self._has_exog(asked, end):
            return False
        return not asked.quantiles or self._covers_quantiles(asked, before, end)

    def answer(self, asked: ForecastRequest) -> Predictions:
        """Answer a request that it covers.

        Returns:
            objects of shape (horizon, 2 + quantiles), as `scoring.forecasts.forecast` does.
        """
        first = self._before(asked) or 0
        last = first + asked.horizon
        is_plain = last <= len(self.labels) and asked.history is None and not self.exog_names
        labels: Sequence[Any] = self.labels
        numbers = self.numbers
        if not is_plain:
            with np.errstate(all="ignore"):
                labels = beyond.labels(self, asked, last)
                numbers = beyond.numbers(self, asked, last)
        numbers = numbers[first:last]
        made = np.empty((asked.horizon, 2 + len(asked.quantiles)), dtype=object)
        made[:, 0] = labels[first:last]
        made[:, 1] = numbers[:, 0]
        for column, quantile in enumerate(asked.quantiles, start=2):
            if self._has_spread:
                made[:, column] = numbers[:, 0] + numbers[:, 1] * _NORMAL.inv_cdf(quantile)
            else:
                made[:, column] = numbers[:, 1 + self.quantiles.index(quantile)]
        if not np.isfinite(numbers).all():  # seldom
            rest = made[:, 1:]
            rest[~np.isfinite(rest.astype(np.float64))] = None
        return made

    @property
    def _has_spread(self) -> bool:
        return not self.quantiles and self.numbers.shape[1] > 1

    def _before(self, asked: ForecastRequest) -> int | None:
        """Return how many steps come before the first one that is asked for; None: the kernel can't say."""
        if asked.start is None:
            return 0
        # Another way to write the same time is left to the original, as every wrong time is.
        if not self.starts or asked.history is not None:
            return None
        if asked.start in self.labels:
            return self.labels.index(asked.start)
        calendar = (self.further or NOTHING).calendar
        place = None if calendar is None else calendar.place_of(asked.start)
        return None if place is None or place < 0 else place

    def _reaches(self, end: int) -> bool:
        further = self.further or NOTHING
        return end <= REACH and further.mean is not None and further.calendar is not None

    def _goes_on_from(self, history: Table) -> bool:
        """Return whether a history is one that the rule goes on from, each step written as answers are."""
        further, times = self.further or NOTHING, history.get(TIME)
        if not further.fewest or further.calendar is None or times is None:
            return False
        if not further.fewest <= len(times) <= REACH or history.keys() != {TIME, VALUE, *self.exog_names}:
            return False
        place = further.calendar.place_of(times[0])
        if place is None or further.calendar.place_of(times[-1]) != place + len(times) - 1:
            return False
        if not all(_are_numbers(values) for name, values in history.items() if name != TIME):
            return False
        return _are_same(times, further.calendar.labels(place, len(times)))

    def _has_exog(self, asked: ForecastRequest, end: int) -> bool:
        """Return whether a request has each exogenous column for each step, and no other."""
        given = asked.exog
        if given is None or given.keys() - {TIME} != set(self.exog_names):
            return False
        columns = [given[name] for name in self.exog_names]
        if any(len(values) != end or not _are_numbers(values) for values in columns):
            return False
        if TIME not in given:
            return True
        return _are_same(given[TIME], beyond.labels(self, asked, end))

    def _covers_quantiles(self, asked: ForecastRequest, before: int, end: int) -> bool:
        further = self.further or NOTHING
        if self._has_spread:
            known = asked.history is None or further.spread_stays
            goes_on = further.spread_echoes or further.spread is not None
            known = known and (end <= len(self.labels) or goes_on)
            return known and all(round(each, _DIGITS) == each for each in asked.quantiles)
        if self.exog_names or asked.history is not None or end > len(self.labels):
            return False
        if self.only and (before, asked.horizon) != (0, self.only):
            return False
        return all(each in self.quantiles for each in asked.quantiles)


def _is(part: object) -> bool:
    return part is not None


def _are_same(seen: Sequence[Any], labels: Sequence[Any]) -> bool:
    return list(seen) == list(labels) and len({*map(type, seen)}) == 1  # 1.0 equals 1, and is not a step


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(type(value) in (int, float) and math.isfinite(value) for value in values)
