"""The steps of a series: which times follow which, and whether those of a request do.

Messages count rows from 0, like the body.
"""

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tenantry import Forecaster
from tenantry.errors import TimelineMismatch
from tenantry_server.rows.forecast_request import MOST_STEPS, TIME
from tenantry_server.rows.payload import shown

if TYPE_CHECKING:
    import pandas as pd

_NOT_A_STEP = -1
_ISO = re.compile(r"\d{4}-\d\d|\d{8}")
_FEWEST_TO_TELL = 3  # times of which one can say so


class Timeline:
    """The steps of a forecaster's series.

    Args:
        model: states its frequency, and the last time that it was fitted with.
    """

    def __init__(self, model: Forecaster) -> None:
        self.frequency = model.frequency
        self.last_time: Any = model.last_time
        if self.frequency is None:
            self.last_time = _NOT_A_STEP if model.last_time is None else int(model.last_time)

    def read(self, values: Sequence[Any], what: str) -> "pd.Index[Any]":
        """Return the times or numbers of a request, each the step after the one before.

        Raises:
            TimelineMismatch: one is not a time, has another time zone than the series, stands twice, or
                does not follow the one before; names the row.
        """
        import pandas as pd  # noqa: PLC0415 - the front imports this module, and no such library

        wheres = [f"{what}: row {number}, column {TIME!r}" for number in range(len(values))]
        steps = [self.one(value, where) for value, where in zip(values, wheres, strict=True)]
        self._check_place(steps[0], wheres[0])
        expected = self.steps(steps[0], len(steps), begins=True)
        for number, (step, wanted) in enumerate(zip(steps, expected, strict=True)):
            if step == wanted:
                continue
            before = steps[number - 1]
            if step <= before:
                how = "is repeated" if step == before else f"is earlier than row {number - 1}"
                problem = f"{label(step)} {how}; wanted {label(wanted)}: send each step once, in order"
            else:
                problem = self._gap(step, wanted, steps, number)
            raise TimelineMismatch(f"{wheres[number]}: {problem}")
        index: pd.Index[Any] = pd.Index(expected)
        return index

    def one(self, value: Any, where: str) -> Any:
        """Return one time or number of a request.

        Raises:
            TimelineMismatch: as `read`.
        """
        if self.frequency is None:
            if isinstance(value, bool) or not isinstance(value, int):
                wanted = "the number of a step, as the model's series has no times"
                raise TimelineMismatch(f"{where}: wanted {wanted}, got {shown(value)}")
            return value
        time = _time_of(value)
        if time is None:
            example = label(self.last_time) if self.last_time is not None else "2026-12-31"
            raise TimelineMismatch(
                f"{where}: wanted a time such as '{example}', got {shown(value)}"
            ) from None
        zone = getattr(self.last_time, "tz", None)
        if self.last_time is None or (zone is None and time.tz is None):
            return time
        if zone is None:
            raise TimelineMismatch(
                f"{where}: {value} has a time zone, and the model's series has none; write it as in "
                f"{label(self.last_time)}"
            )
        if time.tz is None:
            example = label(self.last_time)
            raise TimelineMismatch(
                f"{where}: {value} has no time zone, and the model's series is in {zone}; write it as in "
                f"{example}"
            )
        return time.tz_convert(zone)

    def steps(self, after: Any, count: int, *, begins: bool = False) -> list[Any]:
        """Return the `count` steps that follow one; with `begins`, that one is the first of them.

        Raises:
            TimelineMismatch: there is no calendar that far, or none begins there.
        """
        import pandas as pd  # noqa: PLC0415 - as above

        first = 0 if begins else 1
        if self.frequency is None:
            return list(range(after + first, after + first + count))
        try:
            times = pd.date_range(after, periods=count + first, freq=self.frequency)
        except (ValueError, OverflowError) as error:
            raise TimelineMismatch(f"no {count} steps follow {label(after)}: {error}") from None
        if len(times) and times[0] != after:  # as pandas rolls it to the next one
            raise TimelineMismatch(
                f"{label(after)} is not a step of the model's frequency {self.frequency!r}; "
                f"{label(times[0])} is"
            )
        return list(times[first:])

    def count(self, after: Any, until: Any, where: str) -> int:
        """Return how many steps lead from one to a later one; 0 or less where it is not later.

        More than MOST_STEPS may be too few.

        Raises:
            TimelineMismatch: it is not a step that follows.
        """
        if self.frequency is None:
            return int(until - after)
        if until <= after:
            return 0
        count = self._between(after, until)
        if count is None:
            raise self._no_step(until, where)
        return count

    def _check_place(self, first: Any, where: str) -> None:
        """Refuse steps that lie between those of the model's series, such as days of another time zone."""
        if self.frequency is None or self.last_time is None or first == self.last_time:
            return
        if self._between(*sorted((self.last_time, first))) is None:
            raise self._no_step(first, where)

    def _between(self, after: Any, until: Any) -> int | None:
        """Return how many steps lead from one time to a later one; None: they do not meet it."""
        import pandas as pd  # noqa: PLC0415 - as above

        offset: Any = pd.tseries.frequencies.to_offset(self.frequency)
        if isinstance(offset, pd.offsets.Tick):
            whole, rest = divmod(until - after, pd.Timedelta(offset.nanos, "ns"))
            return None if rest else int(whole)
        try:
            far = until > after + MOST_STEPS * offset
        except (ValueError, OverflowError):
            far = False  # the calendar ends before that
        if far:  # to list each step of eight thousand years takes seconds
            return MOST_STEPS + 1
        times = pd.date_range(after, until, freq=self.frequency)
        meets = len(times) and times[0] == after and times[-1] == until
        return len(times) - 1 if meets else None

    def _no_step(self, time: Any, where: str) -> TimelineMismatch:
        return TimelineMismatch(
            f"{where}: {label(time)} is not a step of the model's series: frequency {self.frequency!r}, "
            f"last at {label(self.last_time)}; wanted one such as {label(self.steps(self.last_time, 1)[0])}"
        )

    def _gap(self, step: Any, wanted: Any, steps: Sequence[Any], number: int) -> str:
        before = label(steps[number - 1])
        apart = {later - earlier for earlier, later in itertools.pairwise(steps)}
        if len(apart) == 1 and len(steps) >= _FEWEST_TO_TELL:
            return (
                f"{label(step)} follows {before}: all times are {apart.pop()} apart, and the model's "
                f"frequency is {self.frequency!r}; wanted {label(wanted)}"
            )
        if step < wanted:
            return (
                f"{label(step)} follows {before} too soon for the model's frequency "
                f"{self.frequency!r}; wanted {label(wanted)}"
            )
        return f"{label(wanted)} is missing between {before} and {label(step)}"


def _time_of(value: Any) -> Any:
    """Return a text as a Timestamp; None: it is not one."""
    import pandas as pd  # noqa: PLC0415 - as above

    if not isinstance(value, str) or _ISO.match(value) is None:  # pandas also reads "now" and "10:00"
        return None
    try:
        time: Any = pd.Timestamp(value)
    except (ValueError, OverflowError):
        return None
    return None if time is pd.NaT else time


def label(step: Any) -> str:
    """Return a step as an answer names it: days without a time of day, times in ISO 8601."""
    if isinstance(step, int) or step is None:
        return str(step)
    if step.tz is None and step == step.normalize():
        return str(step.date())
    return str(step.isoformat())
