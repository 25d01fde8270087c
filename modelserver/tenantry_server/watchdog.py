"""Says what holds the event loop up, and tells the process that started this one that it goes on."""

import asyncio
import contextlib
import faulthandler
import os
import tempfile
import time
from typing import IO

import structlog

log = structlog.get_logger(__name__)

_BEAT_S = 0.5
_HELD_S = 1.0  # from a beat on, so that half a second of being held up is seen at the latest
_STACK_BYTES = 8000


async def watch(pulse: int | None = None) -> None:
    """Log each time that the event loop was held, with the stacks of all threads; until cancelled.

    The stacks are written by a thread of C, which needs no lock of the interpreter: what holds that lock is
    seen too. It costs 50 us a beat.

    Args:
        pulse: a pipe to write to with each beat; who reads it knows that the loop goes on.
    """
    with tempfile.TemporaryFile() as file:
        try:
            while True:
                began_s = time.monotonic()
                faulthandler.dump_traceback_later(_HELD_S, file=file)
                if pulse is not None:
                    with contextlib.suppress(OSError):  # full, or nobody reads: then nobody watches
                        os.write(pulse, b".")
                await asyncio.sleep(_BEAT_S)
                took_s = time.monotonic() - began_s
                if took_s > _HELD_S:
                    log.warning("the event loop was held", seconds=round(took_s, 2), stacks=_taken(file))
        finally:
            faulthandler.cancel_dump_traceback_later()


def _taken(file: IO[bytes]) -> str:
    """Return what was written, bounded, and empty the file."""
    faulthandler.cancel_dump_traceback_later()  # waits for a dump that is being written
    file.seek(max(0, file.seek(0, os.SEEK_END) - _STACK_BYTES))  # the loop's own thread comes last
    text = file.read().decode(errors="replace")
    file.seek(0)
    file.truncate()
    return text
