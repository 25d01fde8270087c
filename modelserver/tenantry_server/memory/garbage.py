"""Bounds for how long Python's cycle collector holds the event loop, however many models are in memory.

A collection of everything visits each object of the process: 270 ms where a hundred thousand tenants are
warm, and hardly one of their objects is ever a part of a cycle. So what has survived one that took long is
frozen: no later one visits it, and it is freed all the same once nothing refers to it. A cycle that was
alive then, and is not any more, stays until everything is visited again: each time that what is frozen has
doubled.

Ten thousand rows of a batch are ten thousand objects that are gone a moment later, and a row may be a list
of a million: while a large request is answered, nothing old is collected at all. What is young is, as there
is little of it.
"""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

_LONG_S = 0.005
_MOST_S = 60.0  # in which nothing old is collected, however many requests follow one another
_OLDEST = 2
_LARGE_BYTES = 64 << 10
_FREE = nullcontext()
_NEVER = 1 << 30  # collections of what is younger, before one of everything


class Collections:
    """Freezes what survived a long collection of everything; a callback of Python's collector.

    Args:
        long_s: what is long, in seconds; a parameter so that tests need no clock.
    """

    def __init__(self, long_s: float = _LONG_S) -> None:
        self._long_s = long_s
        self._began_s = 0.0
        self._most = 0  # objects that are frozen before everything is visited again
        self._visits_all = True

    def __call__(self, phase: str, about: dict[str, int]) -> None:
        """See a collection begin, or end."""
        if about["generation"] < _OLDEST:
            return
        if phase == "start":
            self._began_s = time.perf_counter()
        elif time.perf_counter() - self._began_s >= self._long_s:
            self._freeze()

    def _freeze(self) -> None:
        if not self._visits_all and gc.get_freeze_count() > self._most:  # what the last ones left
            gc.unfreeze()
            self._visits_all = True
            return
        gc.freeze()
        if self._visits_all:
            self._most, self._visits_all = 2 * gc.get_freeze_count(), False


def hold_briefly() -> None:
    """Bound the collections of this process from now on; what it has until now is not visited again."""
    gc.freeze()
    gc.callbacks.append(Collections())


class _Pause:
    def __init__(self) -> None:
        self.requests = 0
        self.over: asyncio.TimerHandle | None = None
        self.thresholds = (0, 0, 0)

    def begin(self) -> None:
        self.thresholds = gc.get_threshold()
        gc.set_threshold(*self.thresholds[:2], _NEVER)
        self.over = asyncio.get_running_loop().call_later(_MOST_S, self.end)

    def end(self) -> None:
        if self.over is not None:
            self.over.cancel()
            self.over = None
            gc.set_threshold(*self.thresholds)


_PAUSE = _Pause()  # of this process, as the collector is


def spared(size_bytes: int) -> AbstractContextManager[None]:
    """Let nothing old be collected while a large request is answered, for a minute at most.

    Args:
        size_bytes: of the body.
    """
    return _FREE if size_bytes < _LARGE_BYTES else _spared()


@contextmanager
def _spared() -> Iterator[None]:
    if _PAUSE.requests == 0:
        _PAUSE.begin()
    _PAUSE.requests += 1
    try:
        yield
    finally:
        _PAUSE.requests -= 1
        if _PAUSE.requests == 0:
            _PAUSE.end()
