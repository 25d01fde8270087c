"""The order in which users get what is scarce: who had less of it comes first.

Start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair Queuing: A Scheduling Algorithm for
Integrated Services Packet Switching Networks", 1996): each job has a start tag, the later of the virtual
time and the end of its user's job before, and the smallest goes first. A job's cost counts once it is
known, at its end. Who was idle saves nothing up, and who took much waits for those who took little.
"""

import heapq
from dataclasses import dataclass, field
from statistics import median_low
from typing import Generic, TypeVar

_T = TypeVar("_T")
_MOST_ENDS = 4096


@dataclass(order=True, slots=True)
class _Job(Generic[_T]):
    start: float
    number: int  # of those with equal tags the first goes first
    user: str = field(compare=False)
    what: _T = field(compare=False)


class FairQueue(Generic[_T]):
    """Jobs of many users; used by one thread.

    Example:
        >>> queue = FairQueue()
        >>> queue.spent("greedy", 5.0)
        >>> for user in ("greedy", "greedy", "modest"):
        ...     queue.put(user, f"a job of {user}")
        >>> [queue.get() for _ in range(3)]
        ['a job of modest', 'a job of greedy', 'a job of greedy']
    """

    def __init__(self) -> None:
        self._jobs: list[_Job[_T]] = []
        self._ends: dict[str, float] = {}  # user -> where the user's last job ends in virtual time
        self._now = 0.0  # virtual
        self._number = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, user: str, what: _T) -> None:
        """Add a job."""
        self._number += 1
        start = max(self._now, self._ends.get(user, 0.0))
        heapq.heappush(self._jobs, _Job(start, self._number, user, what))

    def get(self) -> _T:
        """Take out the job that is next.

        Raises:
            IndexError: there is none.
        """
        job = heapq.heappop(self._jobs)
        self._now = max(self._now, job.start)
        return job.what

    def spent(self, user: str, cost: float) -> None:
        """Count what a job of this user took, in any unit that all jobs share."""
        if len(self._ends) >= _MOST_ENDS:
            self._forget_half()
        self._ends[user] = max(self._now, self._ends.get(user, 0.0)) + cost

    def _forget_half(self) -> None:
        """Let virtual time pass the ends of half of the users: from here on they are as good as new.

        It stands still as long as each job is of another user. Then there would soon be an end for each
        of a hundred thousand users, none of whom has taken more than the others.
        """
        self._now = max(self._now, median_low(self._ends.values()))
        self._ends = {user: end for user, end in self._ends.items() if end > self._now}

    def drain(self) -> list[_T]:
        """Take out every job, the next one first."""
        jobs, self._jobs = sorted(self._jobs), []
        return [job.what for job in jobs]
