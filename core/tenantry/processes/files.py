"""Files that another process reads: replaced in one step, so that a reader never finds half of one."""

import os
from pathlib import Path
from uuid import uuid4


def replace(path: Path, data: bytes) -> None:
    """Put `data` in the place of the file at `path`, or of none.

    The data is written beside it, flushed to disk and renamed: after a crash the old file stands, or the
    new one, whole. Who may read it follows the umask, as
    for a file that `open` makes.

    Raises:
        OSError: the folder is missing, full or read-only; the old file stands.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> replace(folder / "up.json", b"{}")
        >>> [path.name for path in folder.iterdir()], (folder / "up.json").read_bytes()
        (['up.json'], b'{}')
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
