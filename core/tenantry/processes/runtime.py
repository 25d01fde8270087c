"""What every process of Tenantry needs of Python's runtime: event loops, a clock, and an orderly end."""

import asyncio
import faulthandler
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

_T = TypeVar("_T")


boot_clock_s: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Returns seconds that also pass while the machine sleeps, where the system has such a clock.

Leases are trusted by this clock: a laptop that was closed for an hour must not believe its own.
"""


def run_async(main: Coroutine[Any, Any, _T]) -> _T:
    """Run `main` as `asyncio.run` does, in any thread; on uvloop where it is installed.

    uvloop halves the cost of each read and write.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


async def set_within(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for `event`, at most `timeout_s`; return whether it was set.

    `asyncio.wait_for` of Python 3.11 loses a cancellation that arrives just as the event is set, and the
    task that cancelled then waits forever. This function does not lose it.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False


def when_closed(lifeline: int, act: Callable[[], None]) -> None:
    """Call `act`, in a daemon thread, once the other end of the pipe `lifeline` is closed.

    A process that starts another one keeps the other end open and never writes, so the child learns of
    its parent's death, kill -9 included.
    """

    def wait() -> None:
        # Not a read: another process that shares the pipe may have made it non-blocking.
        select.select([lifeline], [], [])
        act()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def leave_threads(grace_s: float) -> list[str]:
    """Wait for the threads that still run, at most `grace_s`, and return the names of those that go on.

    Python itself waits for them without a bound, or ends in the middle of what a daemon computes. Where the
    list is not empty, describe it and call `exit_now`.
    """
    ends_s = time.monotonic() + grace_s
    others = [each for each in threading.enumerate() if each is not threading.current_thread()]
    for thread in others:
        while _at_work(thread) and time.monotonic() < ends_s:
            thread.join(0.01)
    return sorted(thread.name for thread in others if _at_work(thread))


def _at_work(thread: threading.Thread) -> bool:
    """Return whether ending now would cut it short: not a daemon, or one of `threads` that makes a call."""
    return thread.is_alive() and (not thread.daemon or getattr(thread, "busy", False))


def exit_now() -> None:
    """End this process with status 0, although threads of it hang."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def exit_within(timeout_s: float) -> None:
    """End this process after `timeout_s` if it is still there, with the stacks of its threads in the log.

    Call it when everything has stopped: what may still hold the process up is a thread inside a call to a
    store or a database.
    """
    faulthandler.dump_traceback_later(timeout_s, exit=True)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not built for every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
