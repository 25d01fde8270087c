"""When a follower reads the registry again: at once, often for a second, at its pace, or after a rest.

At rest, readings that find nothing cost a server more than all else together.
"""

import asyncio
from collections.abc import Callable

from tenantry.processes.runtime import set_within
from tenantry.registry.following.stillness import Stillness
from tenantry_server.assignments.renewals import Renewals

_REST_S = 1.0  # the longest time without a reading, whatever files and wake-ups tell
_HURRY_S = 1.0
_HURRIED_POLL_S = 0.02


class Pace:
    """Used on the event loop.

    Args:
        stillness: whether anybody has written to the registry since it was read.
        lease: of this server, which is renewed by a reading.
        poll_s: between two readings where nothing else is known; at most 1.
        clock_s: seconds, never going back.

    Attributes:
        poll_s: as given.
        rests: whether the last reading ended well, so that a rest may follow.
    """

    def __init__(
        self, stillness: Stillness, lease: Renewals, *, poll_s: float, clock_s: Callable[[], float]
    ) -> None:
        self._stillness = stillness
        self._lease = lease
        self.poll_s = poll_s
        self._clock_s = clock_s
        self._wake = asyncio.Event()
        self._hurry_until_s = float("-inf")
        self._read_by_s = float("-inf")
        self.rests = False

    def wake(self) -> None:
        """Read now: something is known to have changed, or there is something to report."""
        self._wake.set()

    def hurry(self) -> None:
        """Read often for a second: something is about to change in the registry."""
        self._hurry_until_s = self._clock_s() + _HURRY_S
        self._wake.set()

    async def until_due(self) -> None:
        """Wait until a reading may find something, a second has passed, or the lease has to be renewed."""
        self._read_by_s = self._clock_s() + _REST_S
        while not await set_within(self._wake, self._pause_s()) and self._may_rest():
            pass
        self._wake.clear()

    def _pause_s(self) -> float:
        """Return how long to wait before the next look."""
        now_s = self._clock_s()
        if now_s < self._hurry_until_s:
            return min(self.poll_s, _HURRIED_POLL_S)
        if self._stillness.announced and self._may_rest():
            return max(self.poll_s, min(self._read_by_s - now_s, self._lease.due_in_s(now_s)))
        return self.poll_s

    def _may_rest(self) -> bool:
        """Return whether a reading would find nothing."""
        now_s = self._clock_s()
        return (
            self.rests
            and now_s < self._read_by_s
            and not self._lease.is_due(now_s)
            and self._stillness.holds()
            and not self._lease.is_news
        )
