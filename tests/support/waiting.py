"""Wait for conditions, never for luck."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

PATIENCE_S = 180.0
"""Spent only where a test fails; enough for a process to start while eight others want the two cores."""

_REST = 4  # so that what is waited for has most of a core


def until(get: Callable[[], _T], what: str, *, timeout_s: float = PATIENCE_S, every_s: float = 0.05) -> _T:
    """The first true value that `get` gives; one that takes CPU is asked for less often than `every_s`.

    Raises:
        AssertionError: none within `timeout_s`; shows the last value.
    """
    give_up_s = time.monotonic() + timeout_s
    while True:
        began_s = time.thread_time()
        value = get()
        if value:
            return value
        assert time.monotonic() < give_up_s, f"{what}: not within {timeout_s:g} s, last {value!r}"
        time.sleep(max(every_s, _REST * (time.thread_time() - began_s)))


async def until_soon(condition: Callable[[], object], *, timeout_s: float = PATIENCE_S) -> None:
    """Return once `condition` holds; the event loop goes on meanwhile."""
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_s, "the condition did not come"
        await asyncio.sleep(0.005)
