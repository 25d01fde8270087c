"""Sockets that a process inherits and finds by its environment, and processes that are asked over them."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence


def named(fd: int) -> str:
    """Return a name for an environment: descriptor and inode, so no other file is taken for the socket."""
    return f"{fd}:{os.fstat(fd).st_ino}"


def found(environment: Mapping[str, str], variable: str) -> int | None:
    """Return the descriptor of the socket that a variable names; None: this process did not inherit it."""
    fd, _, inode = environment.get(variable, "").partition(":")
    if not (fd.isdecimal() and inode.isdecimal()):
        return None
    try:
        file = os.fstat(int(fd))
    except OSError:
        return None
    return int(fd) if stat.S_ISSOCK(file.st_mode) and file.st_ino == int(inode) else None


def inheritable(environment: Mapping[str, str], variable: str) -> Sequence[int]:
    """Return the descriptors that a process with this environment has to inherit."""
    fd = found(environment, variable)
    return () if fd is None else (fd,)


class Asked:
    """A process of this Python that others ask over a socket, which they inherit.

    Args:
        main: its program; `{path!r}` stands for the path of modules, `{fd}` for its end of the socket.
        environment: all of it; modules read it as they are imported.
    """

    def __init__(self, main: str, environment: Mapping[str, str]) -> None:
        self._asking, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-c", main.format(path=sys.path, fd=there.fileno())],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=dict(environment),
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def fd(self) -> int:
        """What processes inherit that may ask it."""
        return self._asking.fileno()

    @property
    def named(self) -> str:
        """How their environment names it."""
        return named(self.fd)

    def close(self) -> None:
        """Ask no more, and end it; what it forked goes on unless it is tied to it."""
        self._asking.close()
        self._process.kill()
        self._process.wait()
