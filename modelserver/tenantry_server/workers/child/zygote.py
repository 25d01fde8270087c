"""The zygote: a process that has imported the libraries, runs no model, and forks workers when asked.

It has one thread. It ends with the front that started it, as every worker does; workers go on without it.
Its parent is the reaper (`reaper.py`); when that one ends, it ends all workers, and itself.
"""

import contextlib
import ctypes
import faulthandler
import fcntl
import gc
import importlib
import mmap
import os
import resource
import select
import shutil
import signal
import socket
import sys
import traceback
import warnings
from pathlib import Path
from typing import NoReturn

import orjson

from tenantry_server.scoring import bounds, surroundings
from tenantry_server.workers.child import reaper, sandbox, worker
from tenantry_server.workers.child.sandbox import Sandbox
from tenantry_server.workers.frames import SHOW_STACK, BlockingChannel, ChannelClosed, Kind

# What most models need. Libraries that are not safe to fork once they are imported are not among them.
_LIBRARIES = (
    "pandas",
    "scipy.special",
    "joblib",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.feature_extraction.text",
    "sklearn.gaussian_process",
    "sklearn.linear_model",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "sklearn.pipeline",
    "sklearn.svm",
    "tenantry_server.formats.sklearn.reader",
    "tenantry_server.rows.json_payload",
    "tenantry_server.rows.tensors",
    "tenantry_server.toys",
)
_PR_SET_NO_NEW_PRIVS = 38
_F_SETSIG = 10  # of Linux; Python names it from 3.13 on
_FREE = 500  # descriptors from here on are not in use: none of the libraries keeps so many
_FIRST_TO_GO = b"800"  # of 1000: when memory runs out, the kernel takes a worker before a front


def main(control_fd: int, reaper_fd: int, folder: str, held_in: Sandbox | None) -> NoReturn:
    """Fork workers as the front asks over this socket, until it closes.

    Args:
        reaper_fd: where `reaper.tell` says which workers there are.
        folder: for temporary files of workers; removed at the end.
        held_in: what workers are held in; None: nothing.
    """
    import_libraries()
    serve(control_fd, reaper_fd, folder, held_in)


def import_libraries() -> None:
    """Import what most models need, as processes that are forked later share it."""
    for library in _LIBRARIES:
        importlib.import_module(library)
    surroundings.hold_to_one_core()
    _warm_up()
    gc.collect()
    gc.freeze()  # a collection in a worker would copy every page of the libraries


def serve(control_fd: int, reaper_fd: int, folder: str, held_in: Sandbox | None) -> NoReturn:
    """Fork workers, in a process that has imported the libraries; see `main`."""
    surroundings.hold_to_one_core()  # for the environment, which a fork server replaces
    warnings.filterwarnings(
        "ignore", message="Trying to unpickle estimator"
    )  # said once, with both versions
    surroundings.keep()
    _Zygote(control_fd, reaper_fd, folder, held_in).run()


def _warm_up() -> None:
    """Import what scikit-learn imports with the first frame that it sees."""
    import pandas as pd  # noqa: PLC0415 - of `_LIBRARIES`
    from sklearn.preprocessing import OneHotEncoder  # noqa: PLC0415 - as above

    frame = pd.DataFrame({"text": ["a", "b"]})
    OneHotEncoder().fit(frame).transform(frame)


class _Zygote:
    def __init__(self, control_fd: int, reaper_fd: int, folder: str, held_in: Sandbox | None) -> None:
        self._folder = Path(folder)
        self._sandbox = held_in
        self._control = BlockingChannel(socket.socket(fileno=control_fd))
        self._control_fd = control_fd
        self._reaper_fd = reaper_fd
        self._workers: set[int] = set()
        self._sweepers: set[int] = set()  # which remove what workers left in their folders
        self._ended, ends = os.pipe()
        for fd in (self._ended, ends):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(ends, warn_on_full_buffer=False)
        for signum in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(signum, lambda *_: None)
        self._libc = ctypes.CDLL(None)
        reaper.adopt_orphans()  # of what models fork

    def run(self) -> NoReturn:
        waiting = select.poll()
        waiting.register(self._control_fd, select.POLLIN)
        waiting.register(self._ended, select.POLLIN)
        with contextlib.suppress(ChannelClosed):
            self._control.send(
                [(Kind.IMPORTED, [orjson.dumps({"pid": os.getpid(), "reaper": os.getppid()})])]
            )
            while True:
                ready = {fd for fd, _ in waiting.poll()}
                if self._ended in ready:
                    if signal.SIGTERM in os.read(self._ended, 4096):  # the reaper is gone
                        break
                    self._reap()
                if self._control_fd in ready:
                    self._fork()
                    while self._control.waits():
                        self._fork()
        try:
            reaper.end_all()
            shutil.rmtree(self._folder, ignore_errors=True)
        finally:
            os._exit(0)

    def _fork(self) -> None:
        _, body, fds = self._control.receive()
        asked = orjson.loads(body)
        try:
            pid = os.fork()
        except OSError as error:
            pid, problem = -1, f"{error}"
        else:
            problem = ""
        if pid == 0:
            self._become_worker(asked["most_answer_bytes"], *fds)
        for fd in fds:
            os.close(fd)
        if pid > 0:
            self._workers.add(pid)
            reaper.tell(self._reaper_fd, pid)
        told = {"number": asked["number"], "pid": pid, "problem": problem}
        self._control.send([(Kind.FORKED, [orjson.dumps(told)])])

    def _reap(self) -> None:
        """Report workers that ended, and end what they left behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                reaper.end_strangers(self._workers | self._sweepers)
                return
            self._sweepers.discard(pid)
            if pid in self._workers:
                self._workers.discard(pid)
                reaper.tell(self._reaper_fd, -pid)
                told = orjson.dumps({"pid": pid, "status": status})
                self._control.send([(Kind.EXITED, [told])])
                self._sweep(pid)

    def _sweep(self, worker_pid: int) -> None:
        """Remove a worker's folder, in a process of its own: it may hold anything."""
        own = self._own_folder(worker_pid)
        if not own.exists():
            return
        try:
            pid = os.fork()
        except OSError:  # it is removed at the end
            return
        if pid != 0:
            self._sweepers.add(pid)
            return
        try:
            os.close(self._control_fd)  # the front must see the zygote's end, whatever is still removed
            os.setpriority(os.PRIO_PROCESS, 0, 19)
            shutil.rmtree(own, ignore_errors=True)
        finally:
            os._exit(0)

    def _own_folder(self, worker_pid: int) -> Path:
        return self._folder / str(worker_pid)

    def _become_worker(
        self, most_answer_bytes: int, channel: int, output: int, lifeline: int, progress: int
    ) -> NoReturn:
        """Turn the forked process into a worker, and serve; never returns."""
        try:
            signal.set_wakeup_fd(-1)
            for signum in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(signum, signal.SIG_DFL)
            os.setsid()
            page = mmap.mmap(progress, mmap.PAGESIZE)
            with contextlib.suppress(OSError):  # to be woken interrupts no front
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            own = _alone_with(channel, output, lifeline)
            self._libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash writes no memory to a disk
            if self._sandbox is not None:
                sandbox.enter(self._sandbox, self._own_folder(os.getpid()))
            bounds.bound_answers(most_answer_bytes)
            worker.main(own, page)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)


def _die_with(lifeline: int) -> None:
    """Let the kernel end this process and its group when the front closes its end of a pipe."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):  # which says that the front still holds its end
        os.read(lifeline, 1)
        os._exit(1)


def _alone_with(channel_fd: int, output_fd: int, lifeline_fd: int) -> socket.socket:
    """Keep two descriptors of those that were inherited, and send what is printed to the front."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    kept, lifeline = (fcntl.fcntl(fd, fcntl.F_DUPFD, _FREE) for fd in (channel_fd, lifeline_fd))
    os.closerange(3, _FREE)
    os.closerange(_FREE + 2, os.sysconf("SC_OPEN_MAX"))
    _die_with(lifeline)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    faulthandler.enable()
    faulthandler.register(SHOW_STACK)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as file:  # noqa: PTH123
        file.write(_FIRST_TO_GO)
    return socket.socket(fileno=kept)
