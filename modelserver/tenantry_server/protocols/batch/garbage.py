"""Keeps Python's cycle collector from visiting a large batch, which leaves nothing to collect.

Ten thousand rows are ten thousand objects that are gone a moment later; because of them, Python would look
at every object of the process, for longer than the event loop may be held. What is young is collected all
the same: that takes less than a millisecond.
"""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_MOST_S = 60.0  # in which nothing old is collected, however many batches follow one another
_NEVER = 1 << 30  # collections of what is younger, before one of everything


class _Pause:
    def __init__(self) -> None:
        self.batches = 0
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


@contextmanager
def spared(size_bytes: int) -> Iterator[None]:
    """Let nothing old be collected while a large batch is answered, for a minute at most.

    Args:
        size_bytes: of the body.
    """
    if size_bytes < _LARGE_BYTES:
        yield
        return
    if _PAUSE.batches == 0:
        _PAUSE.begin()
    _PAUSE.batches += 1
    try:
        yield
    finally:
        _PAUSE.batches -= 1
        if _PAUSE.batches == 0:
            _PAUSE.end()


_LARGE_BYTES = 64 << 10
