"""Where a database of a test keeps its files: in memory where there is room, as none outlasts it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - in it, a folder of a name that nobody knows
_ROOM_BYTES = 4 << 30  # a run takes 0.5 GiB for each of its workers


@contextmanager
def data_folder(mode: int) -> Iterator[Path]:
    """A new folder, removed at the end of the block.

    Args:
        mode: of the folder: the server may have a user of its own.
    """
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
    folder = Path(tempfile.mkdtemp(prefix="tenantry-pg-", dir=_MEMORY if has_room else None))
    folder.chmod(mode)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
