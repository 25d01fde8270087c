"""What a thing takes in memory, from the C allocator's own count."""

import ctypes
import gc
from collections.abc import Callable

_COUNTS = (
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keep",
)


class _Mallinfo2(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in _COUNTS)


def bytes_each(make: Callable[[], object], *, count: int = 20) -> float:
    """Bytes that one of `count` objects takes once a first one is there (glibc 2.33 and newer).

    Python's own small objects are not in it, which the allocator sees as a few large blocks.
    """
    first = make()
    gc.collect()
    before = _in_use_bytes()
    kept = [make() for _ in range(count)]
    gc.collect()
    grown = _in_use_bytes() - before
    del first, kept
    return grown / count


def _in_use_bytes() -> int:
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    seen = mallinfo2()
    return int(seen.uordblks + seen.hblkhd)
