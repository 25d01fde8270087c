"""The launcher as processes see it that want others started: one process that forks them.

A server takes a second of CPU and 40 MiB to import its modules. Those that one process forks share both. As
with `subprocess`, the caller starts a process, asks whether it goes on, and ends it.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tenantry.processes import inherited

VARIABLE = "TENANTRY_LAUNCHER"
"""Names the inherited socket to one."""
MESSAGE_BYTES = 1 << 17
"""Of a process that is asked for: its environment is most of it."""
MOST_FDS = 32
UNKNOWN = 255
"""Exit status of a process that ended after its launcher did, which nobody saw."""
_MAIN = (
    "import sys; sys.path[:] = {path!r}; from tenantry.processes import launched; "
    "launched.main({fd}, {entry!r}, {modules!r})"
)
_READ_AT_START = ("LANG", "LC_", "LD_", "MALLOC_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON", "TZ")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A process that is to be started.

    Attributes:
        arguments: what follows the program's name.
        environment: all of it.
        cwd: working directory, also first on the path of modules.
        inherited: descriptors that it gets under the same numbers.
        group: id of the group that it runs under; None: the launcher's.
        tied: it is killed when its launcher ends.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    cwd: str = field(default_factory=os.getcwd)
    inherited: Sequence[int] = ()
    group: int | None = None
    tied: bool = False


class Launched:
    """A process that a launcher forked, with what `subprocess.Popen` says of one.

    Attributes:
        pid: its process id.
        returncode: its exit status, or the negative number of the signal that ended it; None: it goes on.
    """

    def __init__(self, pid: int, process: int, told: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._process = process
        self._told = told

    def poll(self) -> int | None:
        """Return `returncode` as of now."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return `returncode`.

        Raises:
            subprocess.TimeoutExpired: it goes on after `timeout` seconds.
        """
        if self.returncode is None:
            if not _readable(self._told.fileno(), timeout):
                raise subprocess.TimeoutExpired("launched", timeout or 0.0)
            word = self._told.recv(64)
            if not word and not _readable(self._process, timeout):  # the launcher is gone, and this is not
                raise subprocess.TimeoutExpired("launched", timeout or 0.0)
            self.returncode = int(word) if word else UNKNOWN
            self._told.close()
            os.close(self._process)
        return self.returncode

    def send_signal(self, signum: int) -> None:
        """Send it a signal; nothing where it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signum)

    def terminate(self) -> None:
        """Tell it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Launcher(inherited.Asked):
    """A process that forks others, until nobody is left who could ask it.

    Args:
        entry: `module:function` that a forked process runs.
        modules: what is imported beforehand.
        environment: of the process; the modules read it as they are imported.
    """

    def __init__(self, entry: str, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        main = _MAIN.replace("{entry!r}", repr(entry)).replace("{modules!r}", repr(list(modules)))
        super().__init__(main, environment)

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Return whether a process with this environment may be forked from the launcher.

        Python and its libraries read some variables only when they start; those must be the same.
        """
        return _read_at_start(environment) == _read_at_start(self._environment)


def launch(
    asking: int, wanted: Wanted, *, stdin: int | None = None, output: tuple[int, int] = (1, 2)
) -> Launched | None:
    """Have a launcher fork a process; None: it is gone, or was asked for too much.

    Args:
        asking: the socket to it.
        wanted: the process.
        stdin: descriptor of its standard input; None: nothing.
        output: of its standard output and error.
    """
    message = json.dumps(asdict(wanted)).encode()
    if len(message) > MESSAGE_BYTES or len(wanted.inherited) + 4 > MOST_FDS:
        return None
    told, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with there, socket.socket(fileno=os.dup(asking)) as asked, Path(os.devnull).open() as nothing:
            read = nothing.fileno() if stdin is None else stdin
            socket.send_fds(asked, [message], [there.fileno(), read, *output, *wanted.inherited])
        word, (process,), _, _ = socket.recv_fds(told, 64, 1)
        return Launched(int(word), process, told)
    except (OSError, ValueError):
        told.close()
        return None


@contextmanager
def shared(entry: str, modules: Sequence[str], environment: Mapping[str, str]) -> Iterator[int | None]:
    """Run a launcher, unless this process was given one; yields the socket to it; None: there is none."""
    given = inherited.found(os.environ, VARIABLE)
    if given is not None or sys.platform != "linux":  # others have no descriptors of processes
        yield given
        return
    started = Launcher(entry, modules, environment)
    try:
        yield started.fd
    finally:
        started.close()


def _readable(fd: int, timeout_s: float | None) -> bool:
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(None if timeout_s is None else timeout_s * 1000))


def _read_at_start(environment: Mapping[str, str]) -> Mapping[str, str]:
    names = (name for name in environment if name.startswith(_READ_AT_START))
    return {name: environment[name] for name in names if name != "PYTHONFAULTHANDLER"}
