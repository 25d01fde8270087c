"""One worker process as the front sees it: one call at a time, and an end to one that takes too long."""

import asyncio
import contextlib
import enum
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from tenantry_server.kernels.arrays import Buffer
from tenantry_server.workers import usage
from tenantry_server.workers.channel import Channel
from tenantry_server.workers.forking import Forked, how_it_ended
from tenantry_server.workers.frames import KEY, SHOW_STACK, Kind
from tenantry_server.workers.output import Output

log = structlog.get_logger(__name__)

SLOW_S = 0.1  # others stop waiting for a call that takes longer
_STACK_S = 0.2  # for a process that is about to be ended to print where it is
_STATUS_S = 1.0  # for the zygote to say how a process ended whose channel has closed
_NICE = 10


class Displaced(Exception):
    """A call was not begun here; its model is to be loaded again, where others don't hold it up."""


class Ended(Exception):
    """The worker ended in the middle of this call; the message says how."""


class Overran(Exception):
    """The worker was ended, because this call took longer than it may; the message says where it was."""


class _State(enum.Enum):
    """Of a worker, in this order."""

    OPEN = enum.auto()  # it takes calls
    ENDING = enum.auto()  # it takes no more, and its end is on the way
    GONE = enum.auto()


@dataclass(slots=True, eq=False)
class Call:
    """One frame that a worker answers.

    Attributes:
        about: the model, for messages.
        kind: of the frame.
        buffers: its body.
        timeout_s: how long the worker may take, from when it gets the call.
        fds: descriptors that go with it.
        done: kind and body of the answer.
        began_s: when the worker got it.
    """

    about: str
    kind: Kind
    buffers: Sequence[Buffer]
    timeout_s: float
    fds: Sequence[int] = ()
    done: "asyncio.Future[tuple[Kind, Buffer]]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    began_s: float = 0.0

    def fail(self, error: Exception) -> None:
        """Give up, unless nobody waits for it any more."""
        if not self.done.done():
            self.done.set_exception(error)


class Worker:
    """A worker, its calls and what it prints.

    Args:
        forked: the process.
        gone: called once, when its process has ended.

    Attributes:
        group: what its models need beside the known libraries; None: it loads models, and keeps none.
        sizes: of the models in it, in bytes, by their keys.
        slow: whether a call in it held up others.
        at_first_bytes: what it took before it held a model, without what belongs to files.
        used_s: when it was used last, on `time.monotonic`'s clock.
    """

    def __init__(self, forked: Forked, gone: Callable[["Worker"], None]) -> None:
        self.group: str | None = None
        self.sizes: dict[int, int] = {}
        self.slow = False
        self.at_first_bytes = usage.own_bytes(forked.pid)
        self.used_s = time.monotonic()
        self._forked = forked
        self._gone = gone
        self._state = _State.OPEN
        self._about = ""
        self._current: Call | None = None
        self._waiting: deque[Call] = deque()
        self._loop = asyncio.get_running_loop()
        self._channel = Channel(forked.channel, self._received, self._lost)
        self._output = Output(forked.output, lambda: self._about)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._forked.pid

    @property
    def open(self) -> bool:
        """Whether it takes calls."""
        return self._state is _State.OPEN

    @property
    def busy(self) -> bool:
        """Whether it makes a call."""
        return self._current is not None

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return len(self._waiting)

    def submit(self, call: Call) -> None:
        """Make a call when it is its turn.

        Its future raises Displaced, Ended or Overran where there is no answer.
        """
        current = self._current
        if not self.open:
            call.fail(Displaced())
        elif current is None:
            self._begin(call)
        else:
            self._waiting.append(call)
            self.check(time.monotonic())

    def drop(self, key: int) -> None:
        """Give up a model."""
        self.sizes.pop(key, None)
        if self.open:
            self._channel.send(Kind.DROP, [KEY.pack(key)])

    def check(self, now_s: float) -> None:
        """End it if its call takes longer than it may; let others wait elsewhere if it takes long."""
        call = self._current
        if call is None or not self.open:
            return
        if now_s - call.began_s >= call.timeout_s:
            self._overrun()
        elif self._waiting and self.group is not None and now_s - call.began_s > SLOW_S:
            self._displace()

    def exited(self, status: int) -> None:
        """Take note of how the process ended."""
        self._end(Ended(how_it_ended(status)))

    def end(self) -> None:
        """End it now; no call of it was at fault."""
        self._end(Displaced())

    def _begin(self, call: Call) -> None:
        self._current = call
        self._about = call.about
        call.began_s = self.used_s = time.monotonic()
        self._channel.send(call.kind, call.buffers, call.fds)
        call.buffers = ()

    def _received(self, kind: Kind, body: Buffer) -> None:
        call, self._current = self._current, None
        if call is None:
            log.error("a worker spoke without being asked; it is ended", pid=self.pid, model=self._about)
            self._lost()
            return
        if not call.done.done():
            call.done.set_result((kind, body))
        while self._waiting and self._current is None and self.open:
            following = self._waiting.popleft()
            if not following.done.done():
                self._begin(following)

    def _displace(self) -> None:
        """Let the calls that wait be made elsewhere."""
        if not self.slow:
            self.slow = True
            with contextlib.suppress(OSError):  # from now on it yields to everything that is quick
                os.setpriority(os.PRIO_PROCESS, self.pid, _NICE)
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            call.fail(Displaced())

    def _overrun(self) -> None:
        """Ask where it is, then end it."""
        self._state = _State.ENDING
        self._displace()
        self._output.forget()
        self._forked.send(SHOW_STACK)
        self._loop.call_later(_STACK_S, lambda: self._end(Overran(self._output.place())))

    def _lost(self) -> None:
        """The channel is of no more use; wait a moment to learn how the process ended."""
        if self._state is _State.OPEN:
            self._state = _State.ENDING
            self._displace()
            self._loop.call_later(_STATUS_S, self._end, Ended("it closed its connection"))

    def _end(self, error: Exception) -> None:
        if self._state is _State.GONE:
            return
        self._state = _State.GONE
        self._forked.kill()
        self._displace()
        call, self._current = self._current, None
        self._channel.close()
        self._output.close()
        self._forked.close()
        self._gone(self)
        if call is not None:
            call.fail(error)
