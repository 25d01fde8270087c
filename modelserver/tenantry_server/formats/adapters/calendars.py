"""The calendar of a fitted series, from the index that its library kept; and steps as such an index."""

from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True, slots=True)
class Calendar:
    """When the steps of a series are.

    Attributes:
        frequency: as pandas writes it; None: the steps are numbered.
        last_time: of the series: a Timestamp, or the number of the last step; None: unknown.
        period: as pandas writes it, of a series that was fitted with periods; else None.
    """

    frequency: str | None
    last_time: Any
    period: str | None = None

    def index(self, steps: Any) -> "pd.Index[Any]":
        """Return steps, as the server reads them, as an index such as the series had."""
        index: Any = pd.Index(steps)
        if self.frequency is not None:
            index = pd.DatetimeIndex(index, freq=self.frequency)
        made: pd.Index[Any] = index.to_period(self.period) if self.period is not None else index
        return made

    def like_its_own(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a frame with such an index."""
        return frame.set_axis(self.index(frame.index), axis=0)


def of_index(index: Any) -> Calendar:
    """Return the calendar of an index.

    Raises:
        ValueError: its steps are not regular.
    """
    if isinstance(index, pd.PeriodIndex):
        times = of_index(index.to_timestamp())
        return Calendar(times.frequency, times.last_time, index.freqstr)
    if not isinstance(index, pd.DatetimeIndex):
        return of_count(len(index), first=int(index[0]) if pd.api.types.is_integer_dtype(index) else 0)
    found = _frequency_of(index)
    if found is None:
        raise ValueError(
            "its series has no regular frequency, so no times follow it; fit it with one, as by "
            "series.asfreq('D')"
        )
    return Calendar(name_of(found), index[-1])


def of_last(last_time: Any, frequency: Any) -> Calendar:
    """Return a calendar from the last step and the frequency that its library kept.

    Raises:
        ValueError: numbered steps that are further apart than 1.
    """
    if isinstance(last_time, pd.Period):
        start = last_time.to_timestamp()
        between = pd.period_range(last_time, periods=3, freq=last_time.freq).to_timestamp()
        return Calendar(name_of(_frequency_of(between)), start, last_time.freqstr)
    if isinstance(last_time, pd.Timestamp):
        return Calendar(name_of(frequency), last_time)
    if frequency not in (1, None):
        raise ValueError(f"its steps are numbered {frequency!r} apart; fit it with steps 1 apart")
    return Calendar(None, int(last_time))


def of_count(count: int, first: int = 0) -> Calendar:
    """Return the calendar of a series without one."""
    return Calendar(None, first + count - 1)


def _frequency_of(index: Any) -> Any:
    return index.freq or index.inferred_freq


def name_of(frequency: Any) -> str:
    """Return a frequency as pandas writes it."""
    return str(pd.tseries.frequencies.to_offset(frequency).freqstr)
