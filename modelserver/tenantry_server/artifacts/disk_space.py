"""Room in the disk cache's folder: how much lies there, what goes first, what was left behind.

Knows names, sizes and times of files, and nothing of what is in them. Other processes write, read and
remove files at the same time, so each file may be gone by the next line.
"""

import fcntl
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FOLDER = re.compile(r"[0-9a-f]{2}")
_FILE = re.compile(r"[0-9a-f]{64}")
_BLOCK_BYTES = 4096
_MINUTE_S = 60


@contextmanager
def alone(lock: Path) -> Iterator[bool]:
    """Whether this process is the one that makes room, for the block; never waits for another.

    A lock of the kernel's (flock): a process that is killed gives it back.
    """
    with lock.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def blocks_bytes(size_bytes: int) -> int:
    """What a file of this size will take on a disk that counts in blocks, as most do."""
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES


def shrink(root: Path, limit_bytes: int) -> tuple[int, int]:
    """Remove what was used least recently until all files together take no more than `limit_bytes`.

    Looks twice where something has to go: first how much was used in which minute, then at the files
    of the minutes that go. A list of all files would take 225 bytes for each, a hundred megabytes for
    half a million models.

    Returns:
        the bytes that are left, and how many files were removed.
    """
    by_minute: Counter[int] = Counter()
    for _, minute, size_bytes in _files(root):
        by_minute[minute] += size_bytes
    left_bytes = by_minute.total()
    surplus_bytes = left_bytes - limit_bytes
    last = -1  # the newest minute that something goes of
    for minute in sorted(by_minute):
        if surplus_bytes <= 0:
            break
        last = minute
        surplus_bytes -= by_minute[minute]
    # What stays of that minute, of which any file will do.
    stays_bytes = -surplus_bytes
    removed = 0
    if last < 0:
        return left_bytes, removed
    for path, minute, size_bytes in _files(root):
        if minute == last and size_bytes <= stays_bytes:
            stays_bytes -= size_bytes
        elif minute <= last:
            with suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - a Path for each of many costs more than the call
            left_bytes -= size_bytes
            removed += 1
    return left_bytes, removed


def remove_abandoned(folder: Path, *, older_than_s: float, now_s: float) -> int:
    """Remove files that a process was writing when it was killed.

    A writer holds a lock on its file, and no process id is checked: those of another container mean
    nothing here. The age leaves a writer the time between making its file and locking it.

    Returns:
        how many were removed.
    """
    removed = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            if now_s - os.fstat(file.fileno()).st_mtime > older_than_s:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                removed += 1
    return removed


def _files(root: Path) -> Iterator[tuple[str, int, int]]:
    """Path, minute of the last use and bytes on disk of every artifact."""
    with os.scandir(root) as folders:
        names = [folder.path for folder in folders if _FOLDER.fullmatch(folder.name)]
    for name in names:
        with os.scandir(name) as files:
            for file in files:
                if _FILE.fullmatch(file.name):
                    with suppress(FileNotFoundError):
                        found = file.stat(follow_symlinks=False)
                        size_bytes = max(found.st_size, found.st_blocks * 512)
                        yield file.path, max(int(found.st_mtime) // _MINUTE_S, 0), size_bytes
