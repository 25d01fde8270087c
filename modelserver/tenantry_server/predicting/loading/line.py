"""Loads that wait for their turn: which come next, and how many of them together.

A group takes one call of a worker instead of many. Where a group loads nothing, because models stay in
workers, loads go one by one, until one of them ends as a kernel.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from tenantry_server.memory.resident import Resident
from tenantry_server.quotas.fair_queue import FairQueue

_MOST_TOGETHER = 32  # a load that comes meanwhile waits for them: 50 ms of CPU for small linear models


@dataclass(slots=True, eq=False)
class Flight:
    """A load that waits for its turn, or is under way.

    Attributes:
        user: whose turn it takes.
        landing: what came of it; cancelled where nobody waited any more before it had begun.
        begun: ends with the load, and can be cancelled before a thread has taken it; None: it waits.
        waiting: how many want it.
    """

    model_id: str
    user: str
    landing: "asyncio.Future[Resident]"
    begun: "Future[Sequence[Resident | None]] | None" = None
    waiting: int = 0


class Line:
    """Flights that wait; fair between users.

    Args:
        groups: whether several may be loaded together.
    """

    def __init__(self, *, groups: bool) -> None:
        self._groups = groups
        self._queue: FairQueue[Flight] = FairQueue()
        self._alone: deque[Flight] = deque()  # whose turn has come, and which no group has loaded
        self._at_once = _MOST_TOGETHER if groups else 1

    def put(self, flight: Flight) -> None:
        """Let it wait for a turn of its user."""
        self._queue.put(flight.user, flight)

    def next(self, free: int) -> list[Flight]:
        """Take out what is loaded next: one, several where more wait than `free` threads, or nothing."""
        while self._alone:
            flight = self._alone.popleft()
            if not flight.landing.done():
                return [flight]
        most = max(1, min(self._at_once, -(-len(self._queue) // free)))
        flights: list[Flight] = []
        while self._queue and len(flights) < most:
            flight = self._queue.get()
            if not flight.landing.done():  # else nobody waits for it any more
                flights.append(flight)
        return flights

    def ended(self, flights: Sequence[Flight], took_s: float) -> None:
        """These took so long together; users who took little come first."""
        for flight in flights:
            self._queue.spent(flight.user, took_s / len(flights))

    def group_ended(self, loaded: int, left: Sequence[Flight]) -> None:
        """A group has loaded so many; each of `left` is loaded alone next."""
        self._alone.extend(left)
        self._at_once = max(1, min(_MOST_TOGETHER, 2 * loaded))

    def loaded_alone(self, resident: Resident) -> None:
        """One was loaded by itself: after kernels, larger groups are worth it."""
        if resident.compiled and self._groups:
            self._at_once = min(_MOST_TOGETHER, 2 * self._at_once)

    def drain(self) -> None:
        """Drop all that wait."""
        self._queue.drain()
