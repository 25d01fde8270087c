"""Files that another process reads: replaced in one step, so that a reader never finds half of one."""

import os
import tempfile
from pathlib import Path


def replace(path: Path, data: bytes) -> None:
    """Put `data` in the place of the file at `path`, or of none.

    The data is written beside it, flushed to disk and renamed: after a crash the old file stands, or the
    new one, whole. Every user may read the file.

    Raises:
        OSError: the folder is missing, full or read-only; the old file stands.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> replace(folder / "up.json", b"{}")
        >>> [path.name for path in folder.iterdir()], (folder / "up.json").read_bytes()
        (['up.json'], b'{}')
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
