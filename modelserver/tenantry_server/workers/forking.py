"""The zygote as the front sees it: started below a reaper, asked for workers, replaced when it ends."""

import asyncio
import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import structlog

from tenantry.processes import backoff
from tenantry_server.kernels.arrays import Buffer
from tenantry_server.scoring.bounds import MOST_BYTES
from tenantry_server.workers import fork_server
from tenantry_server.workers.channel import Channel
from tenantry_server.workers.child.sandbox import Sandbox
from tenantry_server.workers.frames import Kind, memory_file

log = structlog.get_logger(__name__)

_MAIN = (
    "import sys; sys.path[:] = {path!r}; from tenantry_server.workers.child import reaper; "
    "reaper.main({fd}, {lifeline}, {folder!r}, {held_in})"
)
# Credentials and settings of the server are not for the code of tenants.
_NOT_FOR_MODELS = ("AWS_", "TENANTRY_", "KUBERNETES_", "OTEL_")
_FIRST_RETRY_S = 0.2
_LAST_RETRY_S = 10.0
_END_S = 2.0  # for the reaper to remove what the workers left; it goes on after that


@dataclass(frozen=True, slots=True)
class Forked:
    """A worker process that was just made.

    Attributes:
        pid: of the process.
        process: a descriptor that names this very process, however its number is used again.
        channel: this end of the socket to it.
        output: where what it prints can be read.
        lifeline: the kernel ends the process when this is closed, as it is when this server ends.
        progress: a page in which it says which call it makes.
    """

    pid: int
    process: int
    channel: socket.socket
    output: int
    lifeline: int
    progress: mmap.mmap

    def kill(self) -> None:
        """End it now, whatever it does; nothing where it has ended."""
        self.send(signal.SIGKILL)

    def send(self, signum: int) -> None:
        """Send it a signal; nothing where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.process, signum)

    def close(self) -> None:
        """Give up its descriptors; channel and output have owners by now."""
        with contextlib.suppress(ChildProcessError):  # an orphan's parent may be this process
            os.waitid(os.P_PIDFD, self.process, os.WEXITED | os.WNOHANG)
        os.close(self.process)
        os.close(self.lifeline)
        self.progress.close()


@dataclass(frozen=True, slots=True)
class _Reaper:
    """The parent of a zygote, which stays as long as one of its workers.

    Attributes:
        lifeline: it ends all workers, and itself, when this is closed, as it is when this server ends.
    """

    process: subprocess.Popen[bytes] | fork_server.Forked
    lifeline: int

    def ended(self, within_s: float = 0.0) -> bool:
        """Return whether it has ended; waits for that."""
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True


class Zygote:
    """Makes worker processes; used on the event loop.

    Args:
        exited: called with the process id and the wait status of each worker that ended, as long as the
            zygote is there that made it.
        held_in: what the workers are held in; None: nothing.
        most_answer_bytes: that a model in a worker may answer.
    """

    def __init__(
        self,
        exited: Callable[[int, int], None],
        held_in: Sandbox | None = None,
        *,
        most_answer_bytes: int = MOST_BYTES,
    ) -> None:
        self._exited = exited
        self._held_in = held_in
        self._most_answer_bytes = most_answer_bytes
        self._folder = ""
        self._pid: int | None = None
        self._reapers: list[_Reaper] = []  # the last one is the parent of the zygote that runs
        self._control: Channel | None = None
        self._asked: dict[int, asyncio.Future[int]] = {}
        self._number = 0
        self._pids: set[int] = set()
        self._failures = 0
        self._closed = False
        self._imported = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Its process id; None: there is none now that has imported the libraries."""
        return self._pid

    def start(self) -> None:
        """Start it, unless it runs. It imports the libraries meanwhile, which takes a second or two.

        Where this process was given a fork server, that one makes it, which takes milliseconds.
        """
        if self._control is not None or self._closed:
            return
        self._forget_reapers()
        here, there = socket.socketpair()
        held, lifeline = os.pipe()
        self._folder = self._folder or tempfile.mkdtemp(prefix="tenantry-workers-")
        with there:
            self._reapers.append(_Reaper(self._started(there, held), lifeline))
        os.close(held)
        self._control = Channel(here, self._received, self._lost)

    def _started(
        self, control: socket.socket, lifeline: int
    ) -> subprocess.Popen[bytes] | fork_server.Forked:
        env = environment(os.environ)
        forked = fork_server.ask(control, lifeline, self._folder, self._held_in, env)
        if forked is not None:
            return forked
        held_in = self._held_in and (list(self._held_in.folders), self._held_in.network)
        code = _MAIN.format(
            path=sys.path, fd=control.fileno(), lifeline=lifeline, folder=self._folder, held_in=held_in
        )
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-c", code],
            pass_fds=[control.fileno(), lifeline],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process, which ends that one
            env=env,
        )

    async def until_imported(self) -> None:
        """Wait until one has imported the libraries."""
        await self._imported.wait()

    async def fork(self) -> Forked:
        """Make a worker; waits for a zygote that still starts.

        Raises:
            OSError: no process, or no socket, can be made.
        """
        self.start()
        control = self._control
        if control is None:
            raise OSError("this server is stopping")
        self._number += 1
        number = self._number
        forked = self._asked[number] = asyncio.get_running_loop().create_future()
        here, there = socket.socketpair()
        output, prints = os.pipe()
        lifeline, kept = os.pipe()
        progress = memory_file("progress", [bytes(mmap.PAGESIZE)])
        try:
            fds = [there.fileno(), prints, lifeline, progress]
            asked = {"number": number, "most_answer_bytes": self._most_answer_bytes}
            control.send(Kind.FORK, [orjson.dumps(asked)], fds)
            pid = await forked
            page = mmap.mmap(progress, mmap.PAGESIZE)
            return Forked(pid, os.pidfd_open(pid), here, output, kept, page)
        except BaseException:
            here.close()
            os.close(output)
            os.close(kept)
            raise
        finally:
            self._asked.pop(number, None)
            there.close()
            os.close(prints)
            os.close(lifeline)
            os.close(progress)

    def close(self) -> None:
        """End it, all workers and what these forked."""
        self._closed = True
        self._stop()
        for reaper in self._reapers:
            os.close(reaper.lifeline)
        ends_s = time.monotonic() + _END_S
        for reaper in self._reapers:  # they remove the workers' folders before they end
            reaper.ended(max(0.0, ends_s - time.monotonic()))
        self._reapers.clear()
        with contextlib.suppress(OSError):  # it is gone, or one of them still removes it
            Path(self._folder).rmdir()

    def _stop(self) -> None:
        control, self._control = self._control, None
        self._pid = None
        if control is not None:
            control.close()
        for forked in self._asked.values():
            if not forked.done():
                forked.set_exception(OSError("the process that makes workers ended"))
        self._pids.clear()

    def _received(self, kind: Kind, body: Buffer) -> None:
        self._failures = 0
        told = orjson.loads(body)
        if kind is Kind.IMPORTED:
            self._pid = told["pid"]
            process = self._reapers[-1].process
            if isinstance(process, fork_server.Forked):
                process.started(told["reaper"])
            self._imported.set()
            return
        if kind is Kind.EXITED:
            if told["pid"] in self._pids:
                self._pids.discard(told["pid"])
                self._exited(told["pid"], told["status"])
            return
        forked = self._asked.get(told["number"])
        if told["pid"] > 0:
            self._pids.add(told["pid"])
        if forked is None or forked.done():
            return
        if told["pid"] > 0:
            forked.set_result(told["pid"])
        else:
            forked.set_exception(OSError(f"can't make a worker process: {told['problem']}"))

    def _forget_reapers(self) -> None:
        """Give up those whose last worker has ended."""
        for reaper in [each for each in self._reapers if each.ended()]:
            self._reapers.remove(reaper)
            os.close(reaper.lifeline)

    def _lost(self) -> None:
        """Replace it; the workers go on."""
        self._stop()
        if self._closed:
            return
        self._failures += 1
        wait_s = backoff.delay_s(self._failures, first_s=_FIRST_RETRY_S, last_s=_LAST_RETRY_S)
        log.error("the process that makes workers ended; starting another")
        asyncio.get_running_loop().call_later(wait_s, self.start)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for code of tenants: without credentials and settings of the server."""
    return {name: value for name, value in given.items() if not name.startswith(_NOT_FOR_MODELS)}


def how_it_ended(status: int) -> str:
    """Return a wait status in words.

    Example:
        >>> how_it_ended(11), how_it_ended(9 << 8)
        ('signal SIGSEGV', 'exit status 9')
    """
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
    return f"signal {name}" + (" (perhaps out of memory)" if -code == signal.SIGKILL else "")
