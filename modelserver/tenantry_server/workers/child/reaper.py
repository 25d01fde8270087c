"""The reaper: the zygote's parent, which ends whatever models forked once nobody else can.

It imports no library and runs nothing but this. What a model forks may leave its process group, close what
it inherited and outlive its worker, yet it can't leave the tree below a subreaper of Linux
(https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html): who loses a parent becomes a
child of the zygote, and of this process once the zygote is gone.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import struct
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_WORKER = struct.Struct("=i")  # a process id: a worker was made; less than 0: it ended
_MANY = 4096  # bytes of such messages


def main(control: int, lifeline: int, folder: str, held_in: tuple[Sequence[str], bool] | None) -> NoReturn:
    """Start a zygote in a child, and watch over what descends from it.

    Args:
        control: the zygote's end of the socket to the front.
        lifeline: a pipe that closes when the front ends.
        folder: for temporary files of workers; removed when the front has ended.
        held_in: what workers are held in, as `Sandbox` takes it; None: nothing.
    """

    def be_zygote(made: int) -> NoReturn:
        from tenantry_server.workers.child import sandbox, zygote  # noqa: PLC0415 - only the child needs them

        zygote.main(control, made, folder, None if held_in is None else sandbox.Sandbox(*held_in))

    watch_over(be_zygote, control, lifeline, folder)


def watch_over(zygote: Callable[[int], NoReturn], control: int, lifeline: int, folder: str) -> NoReturn:
    """Run the zygote in a child, and return never; see `main`.

    Args:
        zygote: called in the child, with the descriptor to which `tell` writes.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    adopt_orphans()
    told, tells = os.pipe()
    reaper = os.getpid()
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # it does this work then
        if os.getppid() != reaper:
            os._exit(1)
        os.close(told)
        os.close(lifeline)
        zygote(tells)
    os.close(tells)
    os.close(control)  # the front must see the zygote's end
    try:
        _Reaper(pid, told, lifeline).run()
        if _closed(lifeline):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os._exit(0)


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def tell(reaper: int, worker_pid: int) -> None:
    """Say that this worker was made, or with a negative process id that it ended; unless nobody reads."""
    with contextlib.suppress(OSError):
        os.write(reaper, _WORKER.pack(worker_pid))


def end_strangers(known: Collection[int]) -> None:
    """Kill this process's children, except those that are known.

    The death of each makes its own children ours, and is followed by a SIGCHLD: who calls this after each
    SIGCHLD misses nobody.
    """
    pid = os.getpid()
    children = set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    for each in children.difference(known):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def end_all() -> None:
    """Kill all that descend from this process, and wait until they have ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            end_strangers(())
            os.waitpid(-1, 0)


class _Reaper:
    def __init__(self, zygote: int, told: int, lifeline: int) -> None:
        self._zygote: int | None = zygote
        self._told = told
        self._lifeline = lifeline
        self._workers: set[int] = set()
        self._ended, ends = os.pipe()
        for fd in (self._ended, ends, told):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(ends, warn_on_full_buffer=False)

    def run(self) -> None:
        """Watch until the front has ended, or there is nobody left to watch."""
        waiting = select.poll()
        for fd in (self._ended, self._told):
            waiting.register(fd, select.POLLIN)
        waiting.register(self._lifeline, 0)  # its end is reported anyway
        while self._reap():  # first: the zygote may have ended before the handler was there
            ready = {fd for fd, _ in waiting.poll()}
            if self._lifeline in ready:
                end_all()
                return
            if self._ended in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._ended, _MANY)
            if self._told in ready and not self._hear():
                waiting.unregister(self._told)

    def _hear(self) -> bool:
        """Read which workers there are; return whether there may be more to read."""
        with contextlib.suppress(BlockingIOError):
            while told := os.read(self._told, _MANY):
                for (pid,) in _WORKER.iter_unpack(told):
                    if pid > 0:
                        self._workers.add(pid)
                    else:
                        self._workers.discard(-pid)
            return False
        return True

    def _reap(self) -> bool:
        """Forget those that ended; without a zygote, end strangers. Return whether anybody is left."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                self._workers.discard(pid)
                if pid == self._zygote:
                    self._zygote = None
                    code = os.waitstatus_to_exitcode(status)
                    if code:
                        print(f"the process that makes workers ended: status {code}", file=sys.stderr)
                    self._hear()  # all that it ever said
            if self._zygote is None:
                end_strangers(self._workers)
            return True
        return False


def _closed(lifeline: int) -> bool:
    waiting = select.poll()
    waiting.register(lifeline, 0)
    return bool(waiting.poll(0))
