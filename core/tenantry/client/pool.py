"""Connections that are kept between requests, by server. Safe with several threads, and after a fork."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

IDLE_S = 20.0
"""How long a connection is kept: servers close theirs after 75 s, and balancers after 60 s."""

_MOST = 32  # for each server
_C = TypeVar("_C")


class IdlePool(Generic[_C]):
    """The newest are used first, so those that are not needed grow old.

    Args:
        clock_s: seconds, never going back.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[str, deque[tuple[float, _C]]] = {}
        self._pid = os.getpid()

    def get(self, url: str) -> _C | None:
        """Take a connection to a server out; None: there is none."""
        if self._pid != os.getpid():
            self._start()  # they are the parent's: two processes on one would read each other's answers
        with self._lock:
            kept = self._idle.get(url)
            return kept.pop()[1] if kept else None

    def put(self, url: str, connection: _C) -> list[_C]:
        """Keep a connection; return those that are now to be closed."""
        now_s = self._clock_s()
        with self._lock:
            self._idle.setdefault(url, deque()).append((now_s, connection))
            return [old for kept in self._idle.values() for old in _old(kept, now_s)]

    def drain(self) -> list[_C]:
        """Take all of them out."""
        with self._lock:
            taken = [connection for kept in self._idle.values() for _, connection in kept]
            self._idle.clear()
            return taken


def _old(kept: deque[tuple[float, _C]], now_s: float) -> list[_C]:
    old: list[_C] = []
    while kept and (len(kept) > _MOST or kept[0][0] < now_s - IDLE_S):
        old.append(kept.popleft()[1])
    return old
