"""What Linux shows of a process, also while that opens, closes and ends."""

from contextlib import suppress
from pathlib import Path


def descriptors(pid: int) -> set[str]:
    """Return what a process has open, as /proc names it: a path, `socket:[12]`, `anon_inode:[eventpoll]`.

    Raises:
        FileNotFoundError: there is no process `pid`.
    """
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            found.add(str(each.readlink()))
    return found


def parent(pid: int) -> int:
    """Return the id of a process's parent.

    Raises:
        OSError: there is no process `pid`.
    """
    return int(_stat(pid)[1])


def lives(pid: int) -> bool:
    """Whether a process runs; one that ended and that nobody waited for does not."""
    with suppress(OSError):
        return _stat(pid)[0] != "Z"
    return False


def _stat(pid: int) -> list[str]:
    """Return the fields after the process's name, which may hold any character."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
