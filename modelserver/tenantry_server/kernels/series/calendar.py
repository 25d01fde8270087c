"""When the steps of a series are, where arithmetic knows it: numbers, seconds, or months.

Knows no calendar of pandas, so that the serving process can name steps and read those of a request.
"""

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

NUMBERS, SECONDS, MONTHS, MONTH_ENDS = "numbers", "seconds", "months", "month ends"
UNITS = (NUMBERS, SECONDS, MONTHS, MONTH_ENDS)
_YEARS = range(1900, 2200)  # which every library's calendar has
_LONGEST = {NUMBERS: 1 << 40, SECONDS: 400 * 86_400, MONTHS: 84, MONTH_ENDS: 84}
_EPOCH = 719_163  # days before 1970-01-01
_DATE = len("2026-11-30")
_DAYS = 28  # that each month has


@dataclass(frozen=True, slots=True)
class Calendar:
    """Steps of equal length.

    Attributes:
        first: the label of the first step after the series, as an answer writes it.
        unit: one of UNITS.
        every: how many of the unit lie between two steps.

    Example:
        >>> Calendar("2026-11-30", MONTH_ENDS, 1).labels(0, 3)
        ['2026-11-30', '2026-12-31', '2027-01-31']
        >>> Calendar("2026-11-30", SECONDS, 86_400).place_of("2026-12-02")
        2
    """

    first: str | int
    unit: str
    every: int

    def is_sound(self) -> bool:
        """Return whether a thousand steps follow each time of `_YEARS`, and the first step is one itself.

        A stranger may have made the calendar.
        """
        if type(self.every) is not int or not 0 < self.every <= _LONGEST.get(self.unit, 0):
            return False
        if self.unit == NUMBERS or type(self.first) is not str:
            return self.unit == NUMBERS and type(self.first) is int
        try:
            begin = datetime.fromisoformat(self.first)
            fits = self.unit != MONTHS or begin.day <= _DAYS
            return fits and begin.year in _YEARS and self.labels(0, 1) == [self.first]
        except (ValueError, OverflowError):
            return False

    def labels(self, place: int, count: int) -> list[Any]:
        """Return the labels of `count` steps; `place` is how many steps the first of them is after `first`.

        Raises:
            ValueError, OverflowError: the calendar ends before the last one.
        """
        if isinstance(self.first, int):
            return [self.first + self.every * step for step in range(place, place + count)]
        begin, every = datetime.fromisoformat(self.first), self.every
        if self.unit == SECONDS:
            days, rest = divmod(every, 86_400)
            if not rest and len(self.first) == _DATE:
                numbers = np.arange(place, place + count) * days + (begin.toordinal() - _EPOCH)
                texts: list[str] = np.datetime_as_string(numbers.astype("datetime64[D]")).tolist()
                return texts
            step = timedelta(seconds=every)
            return [_label(begin + step * number) for number in range(place, place + count)]
        months = begin.year * 12 + begin.month - 1
        ends = self.unit == MONTH_ENDS
        return [_in_month(begin, months + every * each, ends=ends) for each in range(place, place + count)]

    def place_of(self, label: Any) -> int | None:
        """Return how many steps a label is after `first`; None: it is not a step's label."""
        first = self.first
        if isinstance(first, int):
            if type(label) is not int:
                return None
            place, rest = divmod(label - first, self.every)
            return None if rest else place
        if not isinstance(label, str):
            return None
        try:
            begin, time = datetime.fromisoformat(first), datetime.fromisoformat(label)
            if self.unit == SECONDS:
                place = (time - begin) // timedelta(seconds=self.every)
            else:
                place = ((time.year - begin.year) * 12 + time.month - begin.month) // self.every
            return place if time.year in _YEARS and self.labels(place, 1) == [label] else None
        except (ValueError, OverflowError, TypeError):  # such as one with a time zone and one without
            return None


def of_labels(labels: Sequence[Any]) -> Calendar | None:
    """Return the calendar that has exactly these labels one after another; None: none here has.

    Example:
        >>> of_labels(["2026-11-30T22:00:00", "2026-11-30T23:00:00", "2026-12-01"]).every
        3600
        >>> of_labels(["2026-11-27", "2026-11-30", "2026-12-01"])  # days of business
    """
    for unit in UNITS:
        try:
            found = Calendar(labels[0], unit, _between(labels, unit))
            if found.is_sound() and found.labels(0, len(labels)) == list(labels):
                return found
        except (ValueError, OverflowError, TypeError):
            continue
    return None


def _between(labels: Sequence[Any], unit: str) -> int:
    if unit == NUMBERS:
        return int(labels[1] - labels[0])
    one, other = map(datetime.fromisoformat, labels[:2])
    if unit == SECONDS:
        return int((other - one).total_seconds())
    return (other.year - one.year) * 12 + other.month - one.month


def _in_month(time: datetime, months: int, *, ends: bool) -> str:
    year, month = divmod(months, 12)
    last = monthrange(year, month + 1)[1]
    if ends:
        return _label(time.replace(year=year, month=month + 1, day=last))
    return _label(time.replace(year=year, month=month + 1))


def _label(time: datetime) -> str:
    """As `scoring.timelines.label` writes it."""
    if time.tzinfo is None and not (time.hour or time.minute or time.second or time.microsecond):
        return time.date().isoformat()
    return time.isoformat()
