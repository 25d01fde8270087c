"""The memory that a process and a load take, and whether that is more than its models explain."""

import os
from contextlib import suppress
from pathlib import Path

from tenantry import ModelId
from tenantry_server.artifacts import headroom
from tenantry_server.artifacts.needs import Needs

_FREE_GROWTH_BYTES = 128 << 20  # libraries that a model imports, and what calls need for a while
_WEIGHED_BYTES = 64 << 10  # of an artifact: to read these files costs as much as a small load
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SHARE = 2.0  # of what its models were measured to take: allocators keep holes


class Weighed:
    """What one load takes of the machine's memory, as the server sees it from outside its worker.

    Args:
        needs: learns what it takes.
        artifact_bytes: a small artifact is not measured.
    """

    def __init__(self, needs: Needs, exact: ModelId, artifact_bytes: int) -> None:
        self._needs = needs
        self._exact = exact
        self._artifact_bytes = artifact_bytes
        self._counts = artifact_bytes >= _WEIGHED_BYTES
        self._resident_bytes = self._peak_bytes = 0
        if self._counts:
            self._kills = headroom.kills()
            self._available_bytes = headroom.machine_available_bytes() or 0

    def begins(self, pid: int) -> None:
        """It is about to begin in this worker."""
        if self._counts:
            self._resident_bytes, self._peak_bytes = resident_bytes(pid), peak_bytes(pid)

    def ended(self, pid: int, written_bytes: int) -> None:
        """It ended well in that worker, which wrote so much for the server to read."""
        most_bytes = peak_bytes(pid) if self._counts else 0
        if most_bytes > self._peak_bytes:  # else an earlier load took more
            # Beside the worker's own: the artifact in a memory file, what it wrote, and its copy here.
            beside_bytes = self._artifact_bytes + 2 * written_bytes
            self._needs.learn(self._exact, most_bytes - self._resident_bytes + beside_bytes)

    def failed(self) -> None:
        """The worker was ended in it."""
        if self._counts and headroom.kills() > self._kills:
            self._needs.was_not_enough(self._exact, self._available_bytes)


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, much of which it may share with others; 0: it is gone."""
    return _pages(pid)[0]


def peak_bytes(pid: int) -> int:
    """Return the most resident memory that a process ever had; 0: it is gone, or not known."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) << 10
    return 0


def own_bytes(pid: int) -> int:
    """Return the resident memory of a process that belongs to no file; 0: it is gone."""
    resident, shared = _pages(pid)
    return resident - shared


def has_outgrown(own_bytes: int, at_first_bytes: int, held_bytes: int) -> bool:
    """Return whether a worker takes more than its models explain.

    Args:
        own_bytes: what it takes now.
        at_first_bytes: what it took before it held a model.
        held_bytes: what its models were measured to take.

    Example:
        >>> mib = 1 << 20
        >>> has_outgrown(200 * mib, 100 * mib, 0), has_outgrown(300 * mib, 100 * mib, 0)
        (False, True)
        >>> has_outgrown(500 * mib, 100 * mib, 200 * mib)
        False
    """
    return own_bytes - at_first_bytes > _FREE_GROWTH_BYTES + _SHARE * held_bytes


def waited_for_processor_s(pid: int) -> float:
    """Return for how long a process could have run and had no processor; 0: it is gone, or not known."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _pages(pid: int) -> tuple[int, int]:
    try:
        fd = os.open(f"/proc/{pid}/statm", os.O_RDONLY)  # a third of the cost of a Path: once a load
        try:
            _, resident, shared, *_ = os.read(fd, 256).split()
        finally:
            os.close(fd)
    except (OSError, ValueError):
        return 0, 0
    return int(resident) * _PAGE_BYTES, int(shared) * _PAGE_BYTES
