"""Keeps Python's cycle collector from visiting a large batch, which leaves nothing to collect.

Ten thousand rows are ten thousand objects that are gone a moment later; because of them, Python would look
at every object of the process, for longer than the event loop may be held.
"""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_MOST_S = 1.0  # in which nothing is collected, however long a batch waits for models


class _Pause:
    def __init__(self) -> None:
        self.batches = 0
        self.over: asyncio.TimerHandle | None = None


_PAUSE = _Pause()  # of this process, as the collector is


@contextmanager
def spared(size_bytes: int) -> Iterator[None]:
    """Let no collection begin while a large batch is answered, for a second at most.

    Args:
        size_bytes: of the body.
    """
    if size_bytes < _LARGE_BYTES:
        yield
        return
    if _PAUSE.batches == 0 and gc.isenabled():
        gc.disable()
        _PAUSE.over = asyncio.get_running_loop().call_later(_MOST_S, gc.enable)
    _PAUSE.batches += 1
    try:
        yield
    finally:
        _PAUSE.batches -= 1
        if _PAUSE.batches == 0 and _PAUSE.over is not None:
            _PAUSE.over.cancel()
            _PAUSE.over = None
            gc.enable()


_LARGE_BYTES = 64 << 10
