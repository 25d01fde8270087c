"""Says what holds the event loop up, and tells the process that started this one that it goes on.

A task that holds the loop, or a thread that holds the interpreter, makes every tenant wait. What other
processes of a busy machine take is none of either, and is not counted.
"""

import asyncio
import contextlib
import os
import threading
import time
import traceback
from collections.abc import Callable

import structlog

from tenantry.processes.stacks import frame_of

log = structlog.get_logger(__name__)

HELD_S = 0.02
"""A loop that is held for longer is counted."""

_BEAT_S = 0.02
_BEAT_AT_REST_S = 0.2  # of a process that does next to nothing: 20 ms take a hundredth of a core
_BUSY_SHARE = 0.1  # of a core
_PULSE_S = 0.5
_LONG_S = 0.5  # a warning each time; what is shorter is described to those who look for it
_QUIET_S = 10.0  # between descriptions of shorter ones
_ON_TIME_S = 0.005  # who wakes up so late at most had the interpreter
_STACK_CHARACTERS = 4000
_NOT_SEEN = "none was seen: what ran held the interpreter too, or this process had no processor"


class Holds:
    """How often and how long an event loop was held for more than `HELD_S`, since it was watched.

    Attributes:
        count: of holds.
        longest_s: of them; 0: there was none.
    """

    def __init__(self) -> None:
        self.count = 0
        self.longest_s = 0.0
        self._quiet_until_s = 0.0
        self._since_said = 0

    def begin(self) -> None:
        """Forget what was counted: from here on, others wait."""
        self.count = self._since_said = 0
        self.longest_s = self._quiet_until_s = 0.0

    def add(self, seconds: float, stack: Callable[[], str]) -> None:
        """Count a hold, and describe it; short ones not each time."""
        self.count += 1
        self._since_said += 1
        self.longest_s = max(self.longest_s, seconds)
        now_s = time.monotonic()
        long = seconds > _LONG_S
        if long or now_s > self._quiet_until_s:
            self._quiet_until_s = now_s + _QUIET_S
            times, self._since_said = self._since_said, 0
            say = log.warning if long else log.debug
            say("the event loop was held", seconds=round(seconds, 3), holds=times, stack=stack())


async def watch(pulse: int | None = None, holds: Holds | None = None) -> None:
    """Log when the event loop was held, with its stack meanwhile; until cancelled.

    A thread takes the stack. What holds the interpreter holds that thread up too: then it sees what the
    loop does next, or only the time is known, and who feels the pulse ends this process in the end.
    `faulthandler.dump_traceback_later` would see more, yet it walks stacks that may change meanwhile, which
    can end a process that is merely slow.

    Args:
        pulse: a pipe to write to with each half second; who reads it knows that the loop goes on.
        holds: where they are counted.
    """
    holds = holds or Holds()
    clock = _Clock()
    watched = _Watched()
    watched.start()
    pulse_s, beat_s = 0.0, _BEAT_S
    try:
        while True:
            watched.beat_s, watched.due_s = beat_s, time.monotonic() + beat_s
            if pulse is not None and watched.due_s > pulse_s:
                pulse_s = watched.due_s + _PULSE_S
                with contextlib.suppress(OSError):  # full, or nobody reads: then nobody watches
                    os.write(pulse, b".")
            clock.start()
            await asyncio.sleep(beat_s)
            late_s = time.monotonic() - watched.due_s
            if late_s > HELD_S:
                held_s = clock.held_s(late_s, was_free=watched.was_free)
                if held_s > HELD_S:
                    holds.add(held_s, watched.stack)
            watched.forget()
            busy = clock.computed_s > _BUSY_SHARE * beat_s
            beat_s = _BEAT_S if busy else min(2 * beat_s, _BEAT_AT_REST_S)
    finally:
        watched.over.set()
        clock.close()


class _Clock:
    """Tells how much of the time that a loop was late it was held, and did not wait for a processor."""

    def __init__(self) -> None:
        try:
            self._waits: int | None = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:  # another system, or a kernel without it
            self._waits = None
        self._waited_s = self._before_s = 0.0

    @property
    def computed_s(self) -> float:
        """How long this process has computed since `start`."""
        return time.process_time() - self._before_s

    def start(self) -> None:
        """Begin to measure."""
        self._waited_s, self._before_s = self._waited(), time.process_time()

    def held_s(self, late_s: float, *, was_free: bool) -> float:
        """Return how long the loop was held.

        Args:
            late_s: how late it is since `start`.
            was_free: whether another thread had the interpreter meanwhile, so that a task of the loop's
                waited for something else; if not, the loop was held no longer than this process computed.
        """
        late_s -= self._waited() - self._waited_s
        return late_s if was_free else min(late_s, self.computed_s)

    def close(self) -> None:
        """Give up its descriptor."""
        if self._waits is not None:
            os.close(self._waits)

    def _waited(self) -> float:
        """Return for how long this thread could have run and had no processor."""
        return 0.0 if self._waits is None else int(os.pread(self._waits, 64, 0).split()[1]) / 1e9


class _Watched(threading.Thread):
    """Takes the stack of the thread that made it, once that is late.

    Attributes:
        due_s: when it beats again, of `time.monotonic`.
        beat_s: how long it waits until then.
        was_free: whether this thread had the interpreter while the other was late.
        over: set once nobody needs it any more.
    """

    def __init__(self) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.due_s = time.monotonic()
        self.beat_s = _BEAT_S
        self.was_free = False
        self.over = threading.Event()
        self._watched = threading.get_ident()
        self._stack = ""

    def run(self) -> None:
        """Look as often as the loop beats."""
        woken_s = time.monotonic()
        while not self.over.wait(beat_s := self.beat_s):
            now_s, before_s = time.monotonic(), woken_s
            woken_s = now_s
            if now_s - self.due_s <= HELD_S:
                continue
            self.was_free = self.was_free or now_s - before_s < beat_s + _ON_TIME_S
            if not self._stack:
                frame = frame_of(self._watched)
                self._stack = "".join(traceback.format_stack(frame))[-_STACK_CHARACTERS:]
                del frame

    def stack(self) -> str:
        """Return the stack that was taken last."""
        return self._stack or _NOT_SEEN

    def forget(self) -> None:
        """Be ready to take another."""
        self._stack, self.was_free = "", False
