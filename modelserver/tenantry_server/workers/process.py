"""One worker process as the front sees it: calls in their order, and an end to one that takes too long."""

import asyncio
import contextlib
import enum
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from tenantry_server.kernels.arrays import Buffer
from tenantry_server.quotas.fair_queue import FairQueue
from tenantry_server.workers import usage
from tenantry_server.workers.channel import Channel
from tenantry_server.workers.child.output import Output
from tenantry_server.workers.forking import Forked, how_it_ended
from tenantry_server.workers.frames import KEY, PROGRESS, SHOW_STACK, Kind

log = structlog.get_logger(__name__)

SLOW_S = 0.1  # others stop waiting for a call that takes longer
_WATCHED_S = 0.04  # of those at least, without the time that the process waited for a processor
_TRUSTED = 2.0  # times a deadline, for which a worker is believed that says it makes no call
_STACK_S = 0.2  # for a process that is about to be ended to print where it is
_STATUS_S = 1.0  # for the zygote to say how a process ended whose channel has closed
_NICE = 10
# In a worker's hands: it makes these in their order, without a change of process between them.
_SENT = 32  # calls
_SENT_S = 0.002  # that they will take together; a call that comes later waits so long at least
_UNKNOWN_S = 0.001  # what a call is taken for until its model has answered one
_REMEMBERED = 4096  # models whose last call is known


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


Outcome: TypeAlias = "tuple[Kind, Buffer] | Exception"
"""Kind and body of an answer; or Displaced, Ended, Overran."""


@dataclass(slots=True, eq=False)
class Call:
    """One frame that a worker answers.

    Attributes:
        about: the model, for messages.
        kind: of the frame.
        buffers: its body.
        timeout_s: how long the worker may take, from when it begins.
        done: called once with what came of it.
        fds: descriptors that go with it.
        number: which one it is in its worker.
        expected_s: what it will take, by the call before of its model.
        over: whether `done` was called.
    """

    about: str
    kind: Kind
    buffers: Sequence[Buffer]
    timeout_s: float
    done: Callable[[Outcome], None]
    fds: Sequence[int] = ()
    number: int = 0
    expected_s: float = 0.0
    over: bool = False

    def end(self, outcome: Outcome) -> None:
        """Say what came of it, once."""
        if not self.over:
            self.over = True
            self.done(outcome)


class Worker:
    """A worker, its calls and what it prints.

    Args:
        forked: the process.
        gone: called once, when its process has ended.
        most_bytes: of a frame from it; one that sends a larger one is ended.

    Attributes:
        pid: its process id.
        group: what its models need beside the known libraries; None: it loads models, and keeps none.
        sizes: of the models in it, in bytes, by their keys.
        slow: whether a prediction in it held up others; from then on, no model is added to it.
        loads_long: whether it does so now because it loads a model.
        at_first_bytes: what it took before it held a model, without what belongs to files.
        used_s: when it was used last, on `time.monotonic`'s clock.
    """

    def __init__(self, forked: Forked, gone: Callable[["Worker"], None], *, most_bytes: int) -> None:
        self.pid = forked.pid
        self.group: str | None = None
        self.sizes: dict[int, int] = {}
        self.slow = self.loads_long = self._held_up = False
        self.at_first_bytes = usage.own_bytes(forked.pid)
        self.used_s = time.monotonic()
        self._forked, self._gone = forked, gone
        self._state = _State.OPEN
        self._about, self._number = "", 0
        self._sent: deque[Call] = deque()  # in the worker's hands; it makes them in this order
        self._sent_s = 0.0  # what these will take
        self._waiting: FairQueue[Call] = FairQueue()  # by models
        self._took_s: dict[str, float] = {}  # model -> its last call
        self._since_s = 0.0  # when the first of those began, as far as is known
        self._watched = 0, 0.0, 0.0  # a call that holds others up: its number, since when, what it waited
        self._loop = asyncio.get_running_loop()
        self._channel = Channel(forked.channel, self._received, self._lost, most_bytes=most_bytes)
        self._output = Output(forked.output, lambda: self._about)

    @property
    def open(self) -> bool:
        """Whether it takes calls."""
        return self._state is _State.OPEN

    @property
    def welcoming(self) -> bool:
        """Whether one more model may live in it."""
        return self.open and not self.slow and not self.loads_long

    @property
    def busy(self) -> bool:
        """Whether it makes a call."""
        return bool(self._sent)

    @property
    def waiting(self) -> int:
        """How many calls wait for another one."""
        return len(self._waiting) + max(0, len(self._sent) - 1)

    def submit(self, call: Call) -> None:
        """Make a call in its turn; its `done` gets Displaced, Ended or Overran where there is no answer."""
        if not self.open:
            call.end(Displaced())
        elif self._has_room:
            self._send(call)
        else:
            self._waiting.put(call.about, call)
        if self._held_up:
            self._displace()

    def drop(self, key: int) -> None:
        """Give up a model."""
        self.sizes.pop(key, None)
        if self.open:
            self._channel.send(Kind.DROP, [KEY.pack(key)])

    def check(self, now_s: float, slept_s: float) -> None:
        """End it if its call takes longer than it may; let others be made elsewhere if it takes long.

        Of the time since the last check, `slept_s` count for no call.
        """
        if not self._sent or not self.open:
            return
        self._since_s = min(now_s, self._since_s + slept_s)
        at_work, head = self._at_work(), self._sent[0]
        took_s = now_s - self._since_s
        if at_work is None and took_s < _TRUSTED * head.timeout_s:
            return  # the answer is on its way: it was this process that had no time
        if took_s >= head.timeout_s:
            self._overrun()
        elif took_s > SLOW_S and self.group is not None:
            self._watch(head.number, now_s)
            if self._held_up:
                self._displace()

    def exited(self, status: int) -> None:
        """Take note of how the process ended."""
        self._end(Ended(how_it_ended(status)))

    def end(self) -> None:
        """End it now; no call of it was at fault."""
        self._end(Displaced())

    def _watch(self, number: int, now_s: float) -> None:
        """Decide whether a call takes long by itself, or waits for a processor like everything else."""
        waited_s = usage.waited_for_processor_s(self.pid)
        if self._watched[0] != number:
            self._watched = number, now_s, waited_s
        _, since_s, waited_before_s = self._watched
        self._held_up = now_s - since_s - (waited_s - waited_before_s) >= _WATCHED_S

    @property
    def _has_room(self) -> bool:
        return not self._sent or (len(self._sent) < _SENT and self._sent_s < _SENT_S)

    def _send(self, call: Call) -> None:
        self._number += 1
        call.expected_s = self._took_s.get(call.about, _UNKNOWN_S)
        self._sent_s += call.expected_s
        call.number = self._number
        self.used_s = time.monotonic()
        if not self._sent:
            self._since_s = self.used_s
            self._about = call.about
        self._sent.append(call)
        self._channel.send(call.kind, call.buffers, call.fds)
        call.buffers = ()

    def _received(self, kind: Kind, body: Buffer) -> None:
        if not self._sent:
            log.error("a worker spoke without being asked; it is ended", pid=self.pid, model=self._about)
            self._lost()
            return
        call = self._sent.popleft()
        now_s = time.monotonic()
        self._note(call, now_s - self._since_s)
        self._since_s = now_s
        self._held_up = self.loads_long = False
        while self._waiting and self._has_room and self.open:
            self._send(self._waiting.get())
        if self._sent:
            self._about = self._sent[0].about
        call.end((kind, body))

    def _note(self, call: Call, took_s: float) -> None:
        """Take note of what a call took, for the turns of its model."""
        self._sent_s = self._sent_s - call.expected_s if self._sent else 0.0
        self._waiting.spent(call.about, took_s)
        if len(self._took_s) >= _REMEMBERED:
            self._took_s.clear()
        self._took_s[call.about] = took_s

    def _at_work(self) -> Call | None:
        """Return the call that it makes, as it says itself; answers to earlier ones may be on the way."""
        (number,) = PROGRESS.unpack_from(self._forked.progress)
        return next((call for call in self._sent if call.number == number), None)

    def _displace(self) -> None:
        """Let every call be made elsewhere that it has not begun, or whose answer it holds back."""
        at_work = self._at_work()
        if at_work is not None and at_work.kind is Kind.LOAD:
            self.loads_long = True
        elif not self.slow:
            self.slow = True
            with contextlib.suppress(OSError):  # from now on it yields to everything that is quick
                os.setpriority(os.PRIO_PROCESS, self.pid, _NICE)
        for call in (*self._sent, *self._waiting.drain()):
            if call is not at_work:
                call.end(Displaced())

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
            self._loop.call_later(
                _STATUS_S, self._end, Ended(self._channel.fault or "it closed its connection")
            )

    def _end(self, error: Exception) -> None:
        if self._state is _State.GONE:
            return
        self._state = _State.GONE
        self._forked.kill()
        self._displace()
        at_work = self._at_work()
        self._sent.clear()
        self._channel.close()
        self._output.close()
        self._forked.close()
        self._gone(self)
        if at_work is not None:
            at_work.end(error)
