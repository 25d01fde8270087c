"""Judges each prediction by its user's limits, as this server's share of what the fleet allows.

A limit is one number for all servers together. So the requests of a user who has one are answered where the
user's model is held, and nowhere else while those servers live; each of several holders has an equal share.
A server that was told by a holder that nothing is left refuses by itself until then.
"""

import contextlib
import enum
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tenantry.errors import ModelOverLimit, QuotaExceeded, RowsTooMany
from tenantry_server.quotas.rate import Rates
from tenantry_server.quotas.told import Told

if TYPE_CHECKING:  # 6 MiB, which a sidecar of a fleet without limits goes without
    from tenantry.manifest.limits import Limits

_FREE = contextlib.nullcontext()  # a context of a generator takes 3 us more, for each call of a worker
_BUSY_WAIT_S = 1.0  # for a request under way to end: nobody knows when


@dataclass(frozen=True, slots=True)
class Share:
    """Which of the servers that hold a user's model this one is.

    Attributes:
        place: from 0.
        count: of those servers.
    """

    place: int
    count: int


ALL = Share(0, 1)
"""This server holds it, and no other one."""


Mark: TypeAlias = tuple[float, dict[str, int]]
"""When a user's next request is due, and what was refused, as they stood at one moment."""


class Left(enum.Enum):
    """What is left of a user's limits on this server."""

    UNLIMITED = enum.auto()  # any server may answer
    SOME = enum.auto()
    NONE = enum.auto()


class Quotas:
    """Counts what has a limit; used on the event loop.

    Args:
        limits: user id -> what was declared, of those users alone who have limits; read at each request.
        defaults: for everyone, field by field where nothing was declared; None: no limits.
        share: returns which share of a user's limits is this server's; None: the user's model is held
            elsewhere.
        clock_s: seconds, never going back; a parameter so that tests can move it.

    Attributes:
        refused: how many requests were refused, by the field of the limit.

    Example:
        >>> from tenantry.manifest.limits import Limits
        >>> quotas = Quotas({"ann": Limits(rows=10)})
        >>> quotas.take("ann", rows=11)
        Traceback (most recent call last):
        tenantry.errors.requests.RowsTooMany: 11 rows; user 'ann' may send 10 in one request: send fewer...
    """

    def __init__(
        self,
        limits: "Mapping[str, Limits] | None" = None,
        defaults: "Limits | None" = None,
        share: Callable[[str], Share | None] = lambda _: ALL,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._declared = {} if limits is None else limits
        self._default: Limits | None = None
        self.default_to(defaults)
        self.share = share
        self._clock_s = clock_s
        self._rates = Rates(clock_s)
        self._under_way: dict[str, int] = {}
        self._told = Told(clock_s)
        self.refused = dict.fromkeys(("requests_per_second", "concurrency", "rows"), 0)

    def default_to(self, defaults: "Limits | None") -> None:
        """Use other limits for everyone, field by field where nothing was declared; None: no limits."""
        self._default = defaults if defaults is not None and defaults.to_text() else None

    def of(self, user_id: str) -> "Limits | None":
        """Return the limits in force; None: there are none."""
        declared = self._declared.get(user_id)
        if declared is None:
            return self._default
        return declared if self._default is None else declared.over(self._default)

    def limited(self, user_ids: Sequence[str]) -> Sequence[str]:
        """Return those of the users who have limits."""
        if self._default is not None:
            return user_ids
        if not self._declared:
            return ()
        declared = self._declared
        return [user_id for user_id in user_ids if user_id in declared]

    def take(self, user_id: str, *, rows: int) -> None:
        """Count one request that is answered here.

        Raises:
            QuotaExceeded: the user's rate is used up.
            RowsTooMany: no request of this user may have so many rows.
        """
        limits = self.of(user_id)
        if limits is None:
            return
        if limits.rows is not None and rows > limits.rows:
            self.refused["rows"] += 1
            raise RowsTooMany(user_id, rows, limits.rows)
        if limits.requests_per_second is not None:
            wait_s = self._rates.of(user_id).take(
                *self._shared_rate(user_id, limits), now_s=self._clock_s()
            )
            if wait_s:
                raise self._too_fast(user_id, limits, wait_s)

    def check_rate(self, user_id: str) -> None:
        """Refuse what `take` would refuse in any case, before the request is read; count nothing.

        Raises:
            QuotaExceeded: the user's rate is used up here.
        """
        rate = self._rates.get(user_id)
        limits = None if rate is None else self.of(user_id)
        if rate is None or limits is None or limits.requests_per_second is None:
            return
        wait_s = rate.wait_s(*self._shared_rate(user_id, limits), now_s=self._clock_s())
        if wait_s:
            raise self._too_fast(user_id, limits, wait_s)

    def mark(self, user_id: str) -> Mark:
        """Return what was counted so far, for `restore`."""
        rate = self._rates.get(user_id)
        return 0.0 if rate is None else rate.due_s, self.refused.copy()

    def restore(self, user_id: str, mark: Mark) -> None:
        """Forget what was counted since `mark`, in which nothing else was."""
        rate = self._rates.get(user_id)
        if rate is not None:
            rate.due_s = mark[0]
        self.refused.update(mark[1])

    def check_size(self, user_id: str, size_bytes: int) -> None:
        """Refuse a model that takes more memory than its user may.

        Raises:
            ModelOverLimit: it does.
        """
        limits = self.of(user_id)
        if limits is not None and limits.cache_bytes is not None and size_bytes > limits.cache_bytes:
            raise ModelOverLimit(size_bytes, limits.cache_bytes)

    def entered(
        self, user_id: str, *, rows: int, counted: bool = True
    ) -> contextlib.AbstractContextManager[None]:
        """Count one request that may have to wait, and that it is under way until the context ends.

        Args:
            counted: False: it is a part of one that was counted before.

        Raises:
            QuotaExceeded: the rate is used up, or as many requests of this user as may be are under way.
            RowsTooMany: as `take`.
        """
        limits = self.of(user_id) if counted else None
        return _FREE if limits is None else self._entered(user_id, limits, rows)

    @contextlib.contextmanager
    def _entered(self, user_id: str, limits: "Limits", rows: int) -> Iterator[None]:
        if limits.concurrency is not None and self._is_full(user_id, limits.concurrency):
            self.refused["concurrency"] += 1
            raise QuotaExceeded(
                user_id, f"{limits.concurrency} requests under way at once", wait_s=_BUSY_WAIT_S
            )
        self.take(user_id, rows=rows)
        self._under_way[user_id] = self._under_way.get(user_id, 0) + 1
        try:
            yield
        finally:
            left = self._under_way.pop(user_id) - 1
            if left:
                self._under_way[user_id] = left

    def left(self, user_id: str) -> Left:
        """Return what is left here, counting nothing."""
        limits = self.of(user_id)
        if limits is None or not limits.counts_requests:
            return Left.UNLIMITED
        if limits.concurrency is not None and self._is_full(user_id, limits.concurrency):
            return Left.NONE
        if limits.requests_per_second is None:
            return Left.SOME
        rate = self._rates.get(user_id)
        if rate is None:
            return Left.SOME
        per_second, burst = self._shared_rate(user_id, limits)
        return Left.NONE if rate.wait_s(per_second, burst, now_s=self._clock_s()) else Left.SOME

    def is_elsewhere(self, user_id: str) -> bool:
        """Return whether other servers count this user's requests: a copy of the model must not answer."""
        limits = self.of(user_id)
        return limits is not None and limits.counts_requests and self.share(user_id) is None

    def told(self, user_id: str, wait_s: float) -> None:
        """Take note that a server which counts for this user has nothing left for so many seconds."""
        self._told.put(user_id, wait_s)

    def check_told(self, user_id: str) -> None:
        """Refuse what another server would refuse.

        Raises:
            QuotaExceeded: it said so, and the time that it named is not over.
        """
        wait_s = self._told.left_s(user_id)
        limits = self.of(user_id) if wait_s else None
        if limits is not None and limits.counts_requests:
            raise self._too_fast(user_id, limits, wait_s)

    def _too_fast(self, user_id: str, limits: "Limits", wait_s: float) -> QuotaExceeded:
        self.refused["requests_per_second"] += 1
        per_second, burst = _rate_and_burst(limits)
        return QuotaExceeded(user_id, f"{per_second:g} requests a second, {burst:g} at once", wait_s=wait_s)

    def _shared_rate(self, user_id: str, limits: "Limits") -> tuple[float, float]:
        per_second, burst = _rate_and_burst(limits)
        count = (self.share(user_id) or ALL).count  # who holds it is gone: this server stands in
        return per_second / count, max(1.0, burst / count)

    def _is_full(self, user_id: str, concurrency: int) -> bool:
        share = self.share(user_id) or ALL
        own = concurrency * (share.place + 1) // share.count - concurrency * share.place // share.count
        return self._under_way.get(user_id, 0) >= own


def _rate_and_burst(limits: "Limits") -> tuple[float, float]:
    """Return requests a second and at once; endless where only the requests under way are limited."""
    if limits.requests_per_second is None:
        return float("inf"), float("inf")
    return limits.requests_per_second, float(limits.burst or max(1.0, limits.requests_per_second))
