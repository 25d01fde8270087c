"""The limits of one user (``spec.limits``): how much may be asked for it, and how much its model may take.

Owns their fields, how those of several sources become one, and their form in the registry. Refuses to
count.
"""

import json
from dataclasses import fields
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass as pydantic_dataclass

from tenantry.manifest.fields import FIELDS, NullIsAbsent, Positive, PositiveInteger


# One for each user who has limits, so with slots.
@pydantic_dataclass(frozen=True, slots=True, kw_only=True, config=FIELDS)
class Limits(NullIsAbsent):
    """What all servers of a fleet together allow one user; None: any amount.

    Attributes:
        requests_per_second: predictions and forecasts, in the long run.
        burst: requests at once after a pause; None: as many as a second allows, at least one.
        concurrency: requests that wait for an answer at the same time.
        rows: of one request.
        cache_bytes: of memory that the user's model takes on one server.

    Example:
        >>> Limits(rows=100).over(Limits(rows=1000, concurrency=4))
        Limits(requests_per_second=None, burst=None, concurrency=4, rows=100, cache_bytes=None)
    """

    requests_per_second: Positive | None = None
    burst: PositiveInteger | None = None
    concurrency: PositiveInteger | None = None
    rows: PositiveInteger | None = None
    cache_bytes: PositiveInteger | None = None

    @classmethod
    def read(cls, text: str) -> "Limits":
        """Return what `to_text` wrote; a newer release may have written fields that this one does not know.

        Example:
            >>> Limits.read(Limits(burst=5).to_text()) == Limits(burst=5)
            True
        """
        return _read(text)

    def to_text(self) -> str:
        """Write these for the registry; without any limit it is the empty text."""
        given = _LIMITS.dump_python(self, by_alias=True, exclude_none=True)
        return json.dumps(given, separators=(",", ":"), sort_keys=True) if given else ""

    def over(self, others: "Limits") -> "Limits":
        """Return these, and where one is None that of `others`."""
        return _made({name: getattr(self, name) or getattr(others, name) for name in _NAMES})

    def within(self, ceiling: "Limits") -> "Limits":
        """Return the smaller of each pair.

        Example:
            >>> Limits(rows=100, burst=2).within(Limits(rows=10)).to_text()
            '{"burst":2,"rows":10}'
        """
        return _made({name: _smaller(getattr(self, name), getattr(ceiling, name)) for name in _NAMES})

    def beyond(self, ceiling: "Limits") -> list[tuple[str, float, float]]:
        """Return each field, as a manifest spells it, that `ceiling` does not allow, and both values."""
        pairs = [(_ALIASES[name], getattr(self, name), getattr(ceiling, name)) for name in _NAMES]
        return [(name, own, most) for name, own, most in pairs if None not in (own, most) and own > most]

    @property
    def counts_requests(self) -> bool:
        """Whether requests have to be counted in one place."""
        return self.requests_per_second is not None or self.concurrency is not None


NO_LIMITS = Limits()
_NAMES = [field.name for field in fields(Limits)]
_ALIASES = {name: to_camel(name) for name in _NAMES}
_LIMITS = TypeAdapter(Limits)


@lru_cache(maxsize=1024)  # thousands of users have the same
def _read(text: str) -> Limits:
    if not text:
        return NO_LIMITS
    try:
        given = json.loads(text)
        return _LIMITS.validate_python({n: value for n, value in given.items() if n in _ALIASES.values()})
    except (ValueError, AttributeError, ValidationError, RecursionError):
        return NO_LIMITS  # the operator checked what it wrote; a row that was edited by hand limits nothing


def _made(values: dict[str, Any]) -> Limits:
    return Limits(**values)


def _smaller(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
