"""Event loops: uvloop where it is installed, as it halves the price of each read and write; and waits."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """As `asyncio.run`, in any thread."""
    with asyncio.Runner(loop_factory=_factory()) as runner:
        return runner.run(main)


async def set_within(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether `event` is set before so many seconds are over.

    `asyncio.wait_for` of Python 3.11 loses a cancellation that comes just as the event is set, and whoever
    cancelled waits forever; this one does not.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not built for every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
