"""What code of tenants may touch: little of the files, no network, no other process.

Landlock of Linux does it (https://docs.kernel.org/userspace-api/landlock.html), from 5.13 on for files,
6.7 for TCP and 6.12 for signals. It holds for a process and its children and can't be undone. Where the
kernel has none, only the rest holds.
"""

import contextlib
import ctypes
import enum
import functools
import os
import resource
import site
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_OF_VERSION = 1
_BENEATH_PATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE = 1 << 14
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_FILES_OF_VERSION = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many of the bits of rights it knows
_TCP_FROM, _TCP = 4, 0b11
_SCOPES_FROM, _SCOPES = 6, 0b11  # abstract sockets and signals

_SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/sys/devices/system", "/sys/fs/cgroup",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm", "/proc/filesystems",
    "/dev/random", "/dev/urandom",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full")
_PR_SET_DUMPABLE = 4
_MOST_FILES = 1024  # open at once
_LARGEST_BYTES = 4 << 30  # of a file that is written


class Mode(enum.StrEnum):
    """Whether workers are held in a sandbox."""

    AUTO = "auto"
    REQUIRE = "require"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What workers may touch beside Python's own files and a temporary folder.

    Attributes:
        folders: that they may read and write.
        network: whether they may open TCP connections and listen.
    """

    folders: Sequence[str] = ()
    network: bool = False


def version() -> int:
    """Return the version of Landlock that the kernel has; 0: none, or it is switched off."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_system_call(_CREATE_RULESET, None, 0, _OF_VERSION)))


def missing(known: int) -> str:
    """Return in words what this version of Landlock does not keep models from; empty: nothing."""
    if not known:
        return "this kernel has no Landlock: models read what the server reads, and reach what it reaches"
    if known < _TCP_FROM:
        return "this kernel's Landlock knows files only: models may open TCP connections and signal others"
    if known < _SCOPES_FROM:
        return "this kernel's Landlock knows no signals: models may send them to the server"
    return ""


def enter(sandbox: Sandbox, own_folder: Path) -> None:
    """Hold this process in a sandbox from now on; `no_new_privs` is set already.

    Args:
        own_folder: for its temporary files, and its home; made here. Where it can't be made, it has none.

    Raises:
        OSError: the kernel refused.
    """
    readable = list(_readable())
    with contextlib.suppress(OSError):
        own_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["TMPDIR"] = os.environ["HOME"] = tempfile.tempdir = str(own_folder)
    os.environ.pop("KERAS_HOME", None)
    for what, wanted in ((resource.RLIMIT_NOFILE, _MOST_FILES), (resource.RLIMIT_FSIZE, _LARGEST_BYTES)):
        _, hard = resource.getrlimit(what)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(what, (most, most))
    known = version()
    if known:
        _restrict(known, readable, (str(own_folder), *sandbox.folders), network=sandbox.network)
    _libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # last: its own files in /proc are root's then


def _restrict(known: int, readable: Sequence[str], writable: Sequence[str], *, network: bool) -> None:
    files = (1 << _FILES_OF_VERSION.get(known, 16)) - 1
    tcp = _TCP if known >= _TCP_FROM and not network else 0
    scopes = _SCOPES if known >= _SCOPES_FROM else 0
    handled = struct.pack("=QQQ", files, tcp, scopes)
    size = 24 if known >= _SCOPES_FROM else 16 if known >= _TCP_FROM else 8
    rules = _checked(_system_call(_CREATE_RULESET, handled, size, 0), "landlock_create_ruleset")
    try:
        for path in readable:
            _allow(rules, path, _READ & files)
        for path in _DEVICES:
            _allow(rules, path, files)
        for path in writable:
            _allow(rules, path, files)
        _checked(_system_call(_RESTRICT_SELF, rules, 0), "landlock_restrict_self")
    finally:
        os.close(rules)


def _readable() -> Iterator[str]:
    yield from _SYSTEM
    yield os.path.realpath("/etc/resolv.conf")  # often a link to a folder of somebody else's
    yield from dict.fromkeys((sys.prefix, sys.base_prefix, sys.exec_prefix, *site.PREFIXES))
    named = [
        path for name in ("PYTHONPATH", "LD_LIBRARY_PATH") for path in os.environ.get(name, "").split(":")
    ]
    yield from filter(None, named)
    # `python -m` puts the folder where the server was started first, and that may be anything.
    private = {Path("/"), Path.home(), Path.cwd(), Path(tempfile.gettempdir())}
    yield from (path for path in sys.path if path and Path(path) not in private)


def _allow(rules: int, path: str, rights: int) -> None:
    """Allow so much at a file, or below a folder; nothing where it is not there."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                rights &= _OF_FILES
            rule = struct.pack("=Qi", rights, fd)
            _checked(_system_call(_ADD_RULE, rules, _BENEATH_PATH, rule, 0), f"landlock_add_rule {path}")
        finally:
            os.close(fd)


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _system_call(number: int, *arguments: int | bytes | None) -> int:
    libc = _libc()
    typed = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return int(libc.syscall(ctypes.c_long(number), *typed))


def _checked(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result
