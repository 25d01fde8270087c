"""Where another thread of this process is."""

import gc
import sys
import threading
import traceback
from types import FrameType

_one_at_a_time = threading.Lock()


def frame_of(thread_id: int) -> FrameType | None:
    """Return what a thread runs now, or None if there is none of this id.

    Nothing is collected meanwhile. Until Python 3.12, `sys._current_frames` holds a lock of the interpreter
    while it makes objects, and a collection that begins there may give another thread its turn. Once that
    thread starts or ends one, each waits for the other for good:
    https://github.com/python/cpython/issues/106883
    """
    with _one_at_a_time:
        collects = gc.isenabled()
        gc.disable()
        try:
            return sys._current_frames().get(thread_id)  # noqa: SLF001 - documented, for diagnosis
        finally:
            if collects:
                gc.enable()


def place(thread_id: int | None) -> str:
    """Return where a thread is now: function, file and line."""
    frame = None if thread_id is None else frame_of(thread_id)
    if frame is None:
        return "at its end"
    last = traceback.extract_stack(frame, limit=1)[0]
    return f"in {last.name}, {last.filename}:{last.lineno}"
