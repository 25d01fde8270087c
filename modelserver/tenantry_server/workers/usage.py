"""The memory that a process takes, and whether it is more than its models explain."""

import os
from pathlib import Path

_FREE_GROWTH_BYTES = 128 << 20  # libraries that a model imports, and what calls need for a while
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SHARE = 2.0  # of what its models were measured to take: allocators keep holes


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, much of which it may share with others; 0: it is gone."""
    return _pages(pid)[0]


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
