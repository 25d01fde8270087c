"""Threads for calls that may never return: one that hangs is replaced, so that it stops no other call.

Python can't end a thread. What hangs goes on until the process ends; the number of such threads is bounded.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, cast

from tenantry.processes.stacks import place

_T = TypeVar("_T")
_HUNG_FOR_EACH = 4
_WATCH_EVERY_S = 0.25


@dataclass(slots=True, eq=False)
class _Call(Generic[_T]):
    run: Callable[[], _T]
    done: "Future[_T]" = field(default_factory=Future)
    ends_s: float = 0.0
    thread_id: int | None = None


class _Worker(threading.Thread):
    """A thread that says whether it makes a call; `runtime.leave_threads` asks."""

    busy = False


class Threads:
    """Runs calls in a bounded number of threads, in the order in which they were submitted.

    Args:
        count: of calls that run at once.
        name: of the threads.
        timeout_s: a call that runs for longer gives its place to another one. Of those that do, at most
            four times `count` are replaced; then calls wait.
        late: makes the error that such a call's future gets at once, of where it hangs; None: its future
            waits for it.

    Example:
        >>> threads = Threads(2, "example", timeout_s=60.0)
        >>> threads.submit(lambda: 6 * 7).result()
        42
    """

    def __init__(
        self,
        count: int,
        name: str,
        *,
        timeout_s: float,
        late: Callable[[str], Exception] | None = None,
    ) -> None:
        self._count = count
        self._name = name
        self._timeout_s = timeout_s
        self._late = late
        self._queue: SimpleQueue[_Call[Any] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)  # threads that wait for a call
        self._running: set[_Call[Any]] = set()  # changed without the lock, in single steps
        self._end = threading.Event()
        self._lock = threading.Lock()  # for what follows
        self._hung: set[_Call[Any]] = set()
        self._live = 0  # threads, without those that hang
        self._watched = False

    @property
    def hung(self) -> int:
        """How many calls run for longer than they may."""
        return len(self._hung)

    def submit(self, run: Callable[[], _T]) -> "Future[_T]":
        """Call soon, and return the future of the result.

        Raises:
            RuntimeError: `close` was called.
        """
        call = _Call(run)
        with self._lock:
            if self._end.is_set():
                raise RuntimeError(f"the threads {self._name!r} are closed")
            self._queue.put(call)
            if not self._idle.acquire(blocking=False):
                self._start()
            if not self._watched:
                self._watched = True
                threading.Thread(target=self._watch, name=f"{self._name}-watch", daemon=True).start()
        return call.done

    def close(self) -> None:
        """Start no more calls; those that wait are cancelled, and those that run finish by themselves."""
        with self._lock:
            self._end.set()
            with suppress(Empty):
                while True:
                    call = self._queue.get_nowait()
                    if call is not None:
                        call.done.cancel()
            for _ in range(self._live):
                self._queue.put(None)

    def _start(self) -> None:
        """Start a thread, if there may be one more; with the lock held."""
        if self._live < self._count and len(self._hung) <= _HUNG_FOR_EACH * self._count:
            self._live += 1
            _Worker(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        worker = cast("_Worker", threading.current_thread())
        while True:
            try:
                call = self._queue.get_nowait()
            except Empty:
                self._idle.release()
                call = self._queue.get()
            if call is None:
                return
            if not call.done.set_running_or_notify_cancel():
                continue
            call.thread_id = threading.get_ident()
            call.ends_s = time.monotonic() + self._timeout_s
            self._running.add(call)
            worker.busy = True
            _run(call)
            worker.busy = False
            try:
                self._running.remove(call)
            except KeyError:  # it took too long, and another thread may have its place
                with self._lock:
                    self._hung.discard(call)
                    if self._live >= self._count or self._end.is_set():
                        return
                    self._live += 1

    def _watch(self) -> None:
        # Looks by the clock: to be woken by each call would cost more than many calls.
        while not self._end.wait(min(_WATCH_EVERY_S, self._timeout_s / 4)):
            now_s = time.monotonic()
            for call in [each for each in list(self._running) if each.ends_s <= now_s]:
                with self._lock, suppress(KeyError):  # it has just ended
                    self._running.remove(call)
                    self._give_up(call)

    def _give_up(self, call: _Call[Any]) -> None:
        """Count a call as hung, and give its place to another thread; with the lock held."""
        self._hung.add(call)
        self._live -= 1
        if not self._end.is_set():
            self._start()
        self._tell(call)

    def _tell(self, call: _Call[Any]) -> None:
        if self._late is not None:
            with suppress(InvalidStateError):
                call.done.set_exception(self._late(place(call.thread_id)))


def _run(call: _Call[Any]) -> None:
    try:
        result = call.run()
    except BaseException as error:
        with suppress(InvalidStateError):  # it was given up meanwhile
            call.done.set_exception(error)
    else:
        with suppress(InvalidStateError):
            call.done.set_result(result)
