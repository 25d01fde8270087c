"""Tells a registry that does not answer from a server that did not run.

A server that is stopped in the middle of a question, with its machine or by a signal, wakes to a timer that
went off and to a connection that the database gave up. Neither says anything of the registry, which may
have let the operator say Ready meanwhile.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tenantry.processes.runtime import boot_clock_s

_SILENT_S = 1.0  # an answer takes milliseconds; the driver gives a vanished host up after 5 s
_TICK_S = 0.25
_LATE_S = 0.5  # by which a tick is late where this process did not run


class Silence:
    """Watches one round of questions after the other; used on the event loop.

    Args:
        fell_silent: called where the registry does not answer, several times a second for as long as it
            does not.
        clock_s: seconds, never going back, which also pass while the machine sleeps.

    Example:
        >>> now_s, said = 100.0, []
        >>> silence = Silence(lambda: said.append(now_s), clock_s=lambda: now_s)
        >>> async def rounds():
        ...     global now_s
        ...     with silence.watched():
        ...         now_s = 104.0  # it was stopped meanwhile, and its connection is broken
        ...         print(silence.lost())
        ...     with silence.watched():
        ...         print(silence.lost())
        >>> asyncio.run(rounds())
        False
        True
        >>> said
        [104.0]
    """

    def __init__(
        self, fell_silent: Callable[[], None], *, clock_s: Callable[[], float] = boot_clock_s
    ) -> None:
        self._fell_silent = fell_silent
        self._clock_s = clock_s
        self._ticked_at_s = 0.0
        self._slept = False
        self._asked_at_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch whether this process runs; a round of questions is the block."""
        self._slept, self._ticked_at_s = False, self._clock_s()
        self._tick_soon()
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    @contextmanager
    def quick(self) -> Iterator[None]:
        """One question is the block, to which an answer takes milliseconds."""
        self._asked_at_s = self._clock_s()
        try:
            yield
        finally:
            self._asked_at_s = None

    def lost(self) -> bool:
        """A question of this round has failed; return whether that says something of the registry."""
        self._notice_sleep()
        if not self._slept:
            self._fell_silent()
        return not self._slept

    def _tick_soon(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        slept = self._notice_sleep()
        if self._asked_at_s is not None:
            if slept:
                self._asked_at_s = self._clock_s()
            elif self._clock_s() - self._asked_at_s >= _SILENT_S:
                self._fell_silent()
        self._tick_soon()

    def _notice_sleep(self) -> bool:
        """Return whether this process slept since the last call."""
        now_s = self._clock_s()
        slept = now_s - self._ticked_at_s > _TICK_S + _LATE_S
        self._ticked_at_s = now_s
        self._slept |= slept
        return slept
