"""Threads for calls that may never return: one that hangs is replaced, so that it stops no other call.

Python can't end a thread. What hangs goes on until the process ends; the number of such threads is bounded.
"""

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

_T = TypeVar("_T")
_HUNG_FOR_EACH = 4


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
        self._state = threading.Condition()
        self._waiting: deque[_Call[Any]] = deque()
        self._running: set[_Call[Any]] = set()
        self._hung: set[_Call[Any]] = set()
        self._idle = 0
        self._closed = False
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
        with self._state:
            if self._closed:
                raise RuntimeError(f"the threads {self._name!r} are closed")
            self._waiting.append(call)
            self._serve()
        return call.done

    def close(self) -> None:
        """Start no more calls; those that wait are cancelled, and those that run finish by themselves."""
        with self._state:
            self._closed = True
            for call in self._waiting:
                call.done.cancel()
            self._waiting.clear()
            self._state.notify_all()

    def _serve(self) -> None:
        """Wake or start a thread for what waits, and the watcher; with the lock held."""
        if not self._waiting:
            return
        self._state.notify_all()
        while self._idle < len(self._waiting) and self._has_room():
            self._idle += 1
            _Worker(target=self._work, name=self._name, daemon=True).start()
        if not self._watched:
            self._watched = True
            threading.Thread(target=self._watch, name=f"{self._name}-watch", daemon=True).start()

    def _has_room(self) -> bool:
        return len(self._running) + self._idle < self._count and len(self._hung) <= (
            _HUNG_FOR_EACH * self._count
        )

    def _work(self) -> None:
        worker = cast("_Worker", threading.current_thread())
        while True:
            with self._state:
                while not self._waiting:
                    if self._closed:
                        return
                    self._state.wait()
                call = self._waiting.popleft()
                self._idle -= 1
                if not call.done.set_running_or_notify_cancel():
                    self._idle += 1
                    continue
                call.thread_id = threading.get_ident()
                call.ends_s = time.monotonic() + self._timeout_s
                self._running.add(call)
                self._state.notify_all()  # the watcher has a new end to wait for
            worker.busy = True
            _run(call)
            worker.busy = False
            with self._state:
                if call in self._hung:  # another thread has its place
                    self._hung.discard(call)
                    self._serve()
                    return
                self._running.discard(call)
                self._idle += 1

    def _watch(self) -> None:
        with self._state:
            while not self._closed:
                now_s = time.monotonic()
                for call in [each for each in self._running if each.ends_s <= now_s]:
                    self._running.discard(call)
                    self._hung.add(call)
                    self._tell(call)
                self._serve()
                ends_s = min((call.ends_s for call in self._running), default=None)
                self._state.wait(None if ends_s is None else max(0.0, ends_s - now_s))

    def _tell(self, call: _Call[Any]) -> None:
        if self._late is not None:
            with suppress(InvalidStateError):
                call.done.set_exception(self._late(_place(call.thread_id)))


def _run(call: _Call[Any]) -> None:
    try:
        result = call.run()
    except BaseException as error:
        with suppress(InvalidStateError):  # it was given up meanwhile
            call.done.set_exception(error)
    else:
        with suppress(InvalidStateError):
            call.done.set_result(result)


def _place(thread_id: int | None) -> str:
    """Return where a thread is now: function, file and line."""
    frame = sys._current_frames().get(thread_id or 0)  # noqa: SLF001 - documented, for diagnosis
    if frame is None:
        return "at its end"
    last = traceback.extract_stack(frame, limit=1)[0]
    return f"in {last.name}, {last.filename}:{last.lineno}"
