"""Says what holds the event loop up, and tells the process that started this one that it goes on."""

import asyncio
import contextlib
import os
import sys
import threading
import time
import traceback

import structlog

log = structlog.get_logger(__name__)

_BEAT_S = 0.5
_HELD_S = 1.0  # from a beat on, so that half a second of being held up is seen at the latest
_STACK_CHARACTERS = 4000
_NOT_SEEN = "none was seen: what ran held the interpreter too, or this process had no processor"


async def watch(pulse: int | None = None) -> None:
    """Log each time that the event loop was held, with its stack meanwhile; until cancelled.

    A thread takes the stack. What holds the interpreter holds that thread up too: then only the time is
    known, and who feels the pulse ends this process in the end. `faulthandler.dump_traceback_later` would
    see that as well, yet it walks stacks that may change meanwhile, which can end a process that is merely
    slow.

    Args:
        pulse: a pipe to write to with each beat; who reads it knows that the loop goes on.
    """
    watched = _Watched()
    watched.start()
    try:
        while True:
            watched.beat_s = time.monotonic()
            if pulse is not None:
                with contextlib.suppress(OSError):  # full, or nobody reads: then nobody watches
                    os.write(pulse, b".")
            await asyncio.sleep(_BEAT_S)
            took_s = time.monotonic() - watched.beat_s
            if took_s > _HELD_S:
                log.warning("the event loop was held", seconds=round(took_s, 2), stack=watched.taken())
    finally:
        watched.over.set()


class _Watched(threading.Thread):
    """Takes the stack of the thread that made it, once it has not beaten for a while.

    Attributes:
        beat_s: of `time.monotonic`.
        over: set once nobody needs it any more.
    """

    def __init__(self) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.beat_s = time.monotonic()
        self.over = threading.Event()
        self._watched = threading.get_ident()
        self._stack = ""

    def run(self) -> None:
        """Look twice as often as the loop beats."""
        while not self.over.wait(_BEAT_S / 2):
            if not self._stack and time.monotonic() - self.beat_s > _HELD_S:
                frame = sys._current_frames().get(self._watched)  # noqa: SLF001 - meant for this
                self._stack = "".join(traceback.format_stack(frame))[-_STACK_CHARACTERS:]
                del frame

    def taken(self) -> str:
        """Return the stack, and be ready to take another."""
        stack, self._stack = self._stack, ""
        return stack or _NOT_SEEN
