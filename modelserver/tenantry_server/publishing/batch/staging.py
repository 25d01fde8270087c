"""Files that a disk writes together: written aside, flushed at once, and then put in place one by one.

`files.replace` flushes each file by itself, which costs a disk's answer and most of the CPU of writing a
small one. Linux flushes a whole file system for about the price of one (`syncfs`).
"""

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from tenantry.processes import files

_PREFIX = ".publishing-"
# f_type of statfs(2): ext, XFS, Btrfs, tmpfs, overlayfs, F2FS, ZFS. Of others it is unknown whether syncfs
# flushes them: one in user space (FUSE) is not asked.
_FLUSHED_WHOLE = frozenset({0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x794C7630, 0xF2F52010, 0x2FC12FC1})


class Staging:
    """A folder inside `root` for files that have no name there yet.

    It is locked as long as this process lives. What a process left that was killed is removed by the next
    one that publishes there.

    Args:
        root: made if it is missing; on one file system with where its files go.

    Attributes:
        device: number of its file system.

    Raises:
        OSError: the folder can't be written to.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        self._folder, self._descriptor = _locked(root)
        self.device = os.fstat(self._descriptor).st_dev
        self._made = 0
        self._folders: set[str] = set()
        self._flush_whole = _whole_flusher(self._descriptor)

    def write(self, data: bytes) -> str:
        """Write a file aside, and return its path; the disk may not have it yet.

        Raises:
            OSError: the disk is full, or refuses.
        """
        self._made += 1
        path = f"{self._folder}/{self._made}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except BaseException:
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - as below
            raise
        finally:
            os.close(descriptor)
        return path

    def flush(self, paths: Sequence[str], threads: Executor) -> None:
        """Return once the disk has these files, of any staging on the same device.

        Raises:
            OSError: it has not; which of them is unknown.
        """
        if not paths:
            return
        if self._flush_whole is None:
            for _ in threads.map(_flush, paths):
                pass
        else:
            self._flush_whole()

    def put(self, path: str, place: Path) -> None:
        """Give a file its name, in the place of one that has it.

        Raises:
            OSError: it can't have that name; the file is removed.
        """
        folder = os.path.dirname(place)  # noqa: PTH120 - a thousand of them, and Path takes ten times as long
        try:
            if folder not in self._folders:
                os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - as above
                self._folders.add(folder)
            os.replace(path, place)  # noqa: PTH105 - as above
        except OSError as error:
            if error.errno == errno.EXDEV:  # the folder is a link to another disk
                files.replace(place, Path(path).read_bytes())
            self.drop([path])
            if error.errno != errno.EXDEV:
                raise

    def drop(self, paths: Iterable[str]) -> None:
        """Remove files that get no name."""
        for path in paths:
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - as above

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._descriptor)


def _locked(root: Path) -> tuple[str, int]:
    """Make a folder, and lock it; another process that sweeps may be between the two."""
    while True:
        folder = f"{root}/{_PREFIX}{uuid4().hex}"
        os.mkdir(folder)  # noqa: PTH102 - as above
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        _lock(descriptor)
        if os.path.isdir(folder):  # noqa: PTH112 - as above
            return folder, descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Return whether this process has the lock now; None: this file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sweep(root: Path) -> None:
    """Remove what processes left that were killed."""
    for left in root.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if _lock(descriptor):
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _whole_flusher(descriptor: int) -> Callable[[], None] | None:
    """Return what flushes the file system of a folder; None: it has to be done file by file."""
    libc: Any = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs") or not hasattr(libc, "fstatfs"):  # only Linux has both
        return None
    status = ctypes.create_string_buffer(256)  # struct statfs has 120 bytes, and begins with f_type, a long
    if libc.fstatfs(descriptor, status) != 0:
        return None
    kind = ctypes.c_long.from_buffer(status).value & 0xFFFFFFFF
    if kind not in _FLUSHED_WHOLE:
        return None

    def flush() -> None:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"the disk did not take it ({os.strerror(number)})")

    return flush
