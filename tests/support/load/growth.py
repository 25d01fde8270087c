"""What loaded models take in memory, from the C allocator's own count in a process of its own.

In the process of the tests, other threads allocate meanwhile: the same model was measured there with
anything from -137 to 905 kB, where it takes 378.
"""

import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tenantry import ModelId
from tenantry_server.formats import load_model
from tenantry_server.memory.model_size import size_bytes

_COUNT = 20
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


def ratios(artifacts: Sequence[bytes], suffix: str, folder: Path) -> list[float]:
    """Return, for each artifact, the size that its model states over the bytes that it takes."""
    paths = [folder / f"{number}{suffix}" for number in range(len(artifacts))]
    for path, data in zip(paths, artifacts, strict=True):
        path.write_bytes(data)
    argv = [sys.executable, "-m", "tests.support.load.growth", *map(str, paths)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    sizes: list[tuple[int, float]] = json.loads(done.stdout)
    return [stated / taken for stated, taken in sizes]


def _sizes_of(path: Path) -> tuple[int, float]:
    data, model_id = path.read_bytes(), ModelId(path.as_uri())
    return size_bytes(load_model(data, model_id)), _bytes_each(lambda: load_model(data, model_id))


def _bytes_each(make: Callable[[], object]) -> float:
    """Bytes that one of many objects takes once a first one is there (glibc 2.33 and newer).

    Python's own small objects are not in it, as the allocator sees them as a few large blocks.
    """
    first = make()
    gc.collect()
    before = _in_use_bytes()
    kept = [make() for _ in range(_COUNT)]
    gc.collect()
    grown = _in_use_bytes() - before
    del first, kept
    return grown / _COUNT


def _in_use_bytes() -> int:
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    seen = mallinfo2()
    return int(seen.uordblks + seen.hblkhd)


if __name__ == "__main__":
    print(json.dumps([_sizes_of(Path(name)) for name in sys.argv[1:]]))
