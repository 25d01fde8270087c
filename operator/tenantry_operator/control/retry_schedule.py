"""When to try something again: in memory, with backoff and jitter, nothing lost or doubled."""

import heapq
import math

from tenantry.processes import backoff


class Schedule:
    """Keys and the times when they are due.

    Args:
        first_s: wait before the first retry.
        last_s: the longest wait; it doubles up to this.

    Example:
        >>> schedule = Schedule(first_s=1.0, last_s=60.0)
        >>> schedule.after("a", now_s=100.0, delay_s=5.0)
        >>> schedule.due(104.0), schedule.due(105.0), schedule.due(106.0)
        (set(), {'a'}, set())
    """

    def __init__(self, first_s: float, last_s: float) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._due_s: dict[str, float] = {}
        self._tries: dict[str, int] = {}
        self._heap: list[tuple[float, str]] = []

    def retry(self, key: str, now_s: float) -> None:
        """Schedule a retry, later than the last one; a retry that is already scheduled stays."""
        if key in self._due_s:
            return
        tries = self._tries.get(key, 0)
        self._tries[key] = tries + 1
        wait_s = backoff.delay_s(tries + 1, first_s=self._first_s, last_s=self._last_s)
        self._put(key, now_s + wait_s)

    def after(self, key: str, now_s: float, delay_s: float) -> None:
        """Schedule a key once, `delay_s` from now; forget earlier failures."""
        self._tries.pop(key, None)
        self._put(key, now_s + delay_s)

    def __contains__(self, key: str) -> bool:
        return key in self._due_s

    def forget(self, key: str) -> None:
        """Drop a key."""
        self._due_s.pop(key, None)
        self._tries.pop(key, None)

    @property
    def next_due_s(self) -> float:
        """Before when no key is due; infinite where none is scheduled."""
        return self._heap[0][0] if self._heap else math.inf

    def due(self, now_s: float) -> set[str]:
        """Remove and return every key that is due."""
        ready: set[str] = set()
        while self._heap and self._heap[0][0] <= now_s:
            due_s, key = heapq.heappop(self._heap)
            if self._due_s.get(key) == due_s:
                del self._due_s[key]
                ready.add(key)
        return ready

    def _put(self, key: str, due_s: float) -> None:
        if self._due_s.get(key) != due_s:
            self._due_s[key] = due_s
            heapq.heappush(self._heap, (due_s, key))
