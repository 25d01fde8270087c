"""Sockets that a process inherits and finds by its environment."""

import os
import stat
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
