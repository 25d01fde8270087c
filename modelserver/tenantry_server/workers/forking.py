"""The zygote as the front sees it: started, asked for workers, replaced when it ends."""

import asyncio
import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import structlog

from tenantry.processes import backoff
from tenantry_server.kernels.arrays import Buffer
from tenantry_server.workers import fork_server
from tenantry_server.workers.channel import Channel
from tenantry_server.workers.child.sandbox import Sandbox
from tenantry_server.workers.frames import Kind, memory_file

log = structlog.get_logger(__name__)

_MAIN = (
    "import sys; sys.path[:] = {path!r}; from tenantry_server.workers.child import zygote; "
    "zygote.main({fd}, {folder!r}, {held_in})"
)
# Credentials and settings of the server are not for the code of tenants.
_NOT_FOR_MODELS = ("AWS_", "TENANTRY_", "KUBERNETES_", "OTEL_")
_FIRST_RETRY_S = 0.2
_LAST_RETRY_S = 10.0
_END_S = 2.0  # for the zygote to remove what the workers left


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


class Zygote:
    """Makes worker processes; used on the event loop.

    Args:
        exited: called with the process id and the wait status of each worker that ended, as long as the
            zygote is there that made it.
        held_in: what the workers are held in; None: nothing.
    """

    def __init__(self, exited: Callable[[int, int], None], held_in: Sandbox | None = None) -> None:
        self._exited = exited
        self._held_in = held_in
        self._folder = ""
        self._process: subprocess.Popen[bytes] | fork_server.Forked | None = None
        self._control: Channel | None = None
        self._asked: dict[int, asyncio.Future[int]] = {}
        self._number = 0
        self._pids: set[int] = set()
        self._failures = 0
        self._closed = False
        self._imported = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Its process id; None: there is none now."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it, unless it runs. It imports the libraries meanwhile, which takes a second or two.

        Where this process was given a fork server, that one makes it, which takes milliseconds.
        """
        if self._process is not None or self._closed:
            return
        here, there = socket.socketpair()
        self._folder = self._folder or tempfile.mkdtemp(prefix="tenantry-workers-")
        with there:
            code = _MAIN.format(
                path=sys.path, fd=there.fileno(), folder=self._folder, held_in=_as_code(self._held_in)
            )
            env = environment(os.environ)
            self._process = fork_server.ask(there, self._folder, self._held_in, env)
            if self._process is None:
                self._process = subprocess.Popen(  # noqa: S603 - our own module
                    [sys.executable, "-c", code],
                    pass_fds=[there.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for this process, which ends that one
                    env=env,
                )
        self._control = Channel(here, self._received, self._lost)

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
            control.send(Kind.FORK, [orjson.dumps({"number": number})], fds)
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
        """End it; workers that it did not make go on."""
        self._closed = True
        if self._control is not None and self._process is not None:
            self._control.close()  # it removes the workers' folders before it ends
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        self._stop()
        with contextlib.suppress(OSError):  # it is gone, or not empty: then the zygote was killed
            Path(self._folder).rmdir()

    def _stop(self) -> None:
        control, self._control = self._control, None
        process, self._process = self._process, None
        if control is not None:
            control.close()
        if process is not None:
            process.kill()
            process.wait()
        for forked in self._asked.values():
            if not forked.done():
                forked.set_exception(OSError("the process that makes workers ended"))
        self._pids.clear()

    def _received(self, kind: Kind, body: Buffer) -> None:
        self._failures = 0
        told = orjson.loads(body)
        if kind is Kind.IMPORTED:
            if isinstance(self._process, fork_server.Forked):
                self._process.started(told["pid"])
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

    def _lost(self) -> None:
        """Replace it; the workers go on."""
        status = None if self._process is None else self._process.poll()
        self._stop()
        if self._closed:
            return
        self._failures += 1
        wait_s = backoff.delay_s(self._failures, first_s=_FIRST_RETRY_S, last_s=_LAST_RETRY_S)
        log.error("the process that makes workers ended; starting another", status=status)
        asyncio.get_running_loop().call_later(wait_s, self.start)


def _as_code(held_in: Sandbox | None) -> str:
    """Return an expression for a sandbox, in a process that has imported `zygote`."""
    if held_in is None:
        return "None"
    return f"zygote.Sandbox({list(held_in.folders)!r}, {held_in.network!r})"


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
