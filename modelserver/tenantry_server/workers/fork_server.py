"""The fork server as servers, and what starts them, see it: one process that forks every zygote.

A zygote takes seconds and a hundred megabytes to import the libraries; those that one process forks share
both. There is no address: the socket to it is inherited, and workers have it closed, as a zygote that a
model could ask for would be held in nothing.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tenantry.processes import inherited
from tenantry_server.workers.child.sandbox import Sandbox
from tenantry_server.workers.frames import FORK_SERVER_BYTES

VARIABLE = "TENANTRY_FORK_SERVER"
"""Names the inherited socket to one: by descriptor and inode, so that no other file is taken for it."""
_MAIN = (
    "import sys; sys.path[:] = {path!r}; from tenantry_server.workers.child import fork_server; "
    "fork_server.main({fd})"
)


class ForkServer(inherited.Asked):
    """A process that forks zygotes for this process and those that inherit the socket to it.

    Args:
        environment: of the process; the libraries read it as they are imported.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(_MAIN, environment)


class Forked:
    """A reaper that a fork server made, as far as its front sees it."""

    def __init__(self) -> None:
        self._process: int | None = None

    def started(self, pid: int) -> None:
        """Its zygote said its process id just now."""
        with contextlib.suppress(OSError):
            self._process = os.pidfd_open(pid)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not, after `timeout` seconds.
        """
        if self._process is None:
            return
        ending = select.poll()
        ending.register(self._process, select.POLLIN)
        if not ending.poll(None if timeout is None else timeout * 1000):
            raise subprocess.TimeoutExpired("reaper", timeout or 0.0)
        os.close(self._process)
        self._process = None


def ask(
    control: socket.socket, lifeline: int, folder: str, held_in: Sandbox | None, env: Mapping[str, str]
) -> Forked | None:
    """Ask the fork server that this process was given for a zygote; None: there is none to ask.

    Args:
        control: the zygote's end of the socket to it.
        lifeline: a pipe that closes when this process ends.
        folder: for temporary files of workers.
        held_in: what workers are held in; None: nothing.
        env: the zygote's environment.
    """
    given = inherited.found(os.environ, VARIABLE)
    if given is None:
        return None
    umask = os.umask(0)
    os.umask(umask)
    asked = {
        "environment": dict(env),
        "path": sys.path,
        "cwd": os.getcwd(),  # noqa: PTH109 - a word of JSON
        "umask": umask,
        "folder": folder,
        "held_in": held_in and {"folders": list(held_in.folders), "network": held_in.network},
    }
    with socket.socket(fileno=os.dup(given)) as asking, contextlib.suppress(OSError):
        asking.setblocking(False)
        message = json.dumps(asked).encode()
        if len(message) <= FORK_SERVER_BYTES:
            socket.send_fds(asking, [message], [control.fileno(), lifeline, 1, 2])
            return Forked()
    return None  # it is gone, or held up: then the front starts a zygote of its own


def inheritable(environment: Mapping[str, str]) -> Sequence[int]:
    """Return the descriptors that a process with this environment has to inherit."""
    return inherited.inheritable(environment, VARIABLE)


@contextmanager
def shared(environment: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Run a fork server unless this process was given one; yields what to add to others' environment."""
    if inherited.found(os.environ, VARIABLE) is not None:
        yield {}
        return
    started = ForkServer(environment)
    try:
        yield {VARIABLE: started.named}
    finally:
        started.close()
