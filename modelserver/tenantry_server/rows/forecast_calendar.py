"""The times of a series that is given by its first one and a frequency, as KServe's protocol writes it.

Knows the calendar of the standard library only, so that the serving process can read such a request.
"""

import calendar
from datetime import datetime, timedelta

from tenantry.errors import InvalidRequest
from tenantry_server.rows.payload import short

_SECONDS = {"S": 1, "T": 60, "H": 3600, "D": 86_400, "W": 604_800}
_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_LONG = {
    name: name[0].upper() for name in ("second", "hour", "day", "week", "month", "quarter", "year")
} | {"minute": "T"}
FREQUENCIES = (*_LONG, *_SECONDS, *_MONTHS)
"""As KServe 0.21 names them in `kserve.protocol.rest.timeseries.Frequency`."""


def times(start: str, frequency: str, count: int, where: str) -> list[str]:
    """Return `count` times from `start` on, in ISO 8601.

    Args:
        where: begins the message of an error.

    Raises:
        InvalidRequest: `start` is not a time, or the calendar ends before the last one.

    Example:
        >>> times("2026-01-31", "month", 3, "")
        ['2026-01-31T00:00:00', '2026-02-28T00:00:00', '2026-03-31T00:00:00']
    """
    try:
        first = datetime.fromisoformat(start)
    except ValueError:
        raise InvalidRequest(
            f"{where} must be a time such as 2026-12-31T00:00:00, got {short(start)}"
        ) from None
    unit = _LONG.get(frequency, frequency)
    try:
        return [_later(first, unit, number).isoformat() for number in range(count)]
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{where}: the calendar ends before {count} steps from {start}") from None


def _later(first: datetime, unit: str, steps: int) -> datetime:
    """Return the time `steps` later; a month without that day ends with its last one."""
    if unit in _SECONDS:
        return first + timedelta(seconds=steps * _SECONDS[unit])
    years, month = divmod(first.month - 1 + steps * _MONTHS[unit], 12)
    year = first.year + years
    return first.replace(
        year=year, month=month + 1, day=min(first.day, calendar.monthrange(year, month + 1)[1])
    )
