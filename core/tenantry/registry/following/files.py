"""Whether anybody wrote to a registry in a file, in microseconds: from the sizes and times of its files."""

import os
from typing import TypeAlias

from sqlalchemy import Engine

Stamp: TypeAlias = tuple[tuple[int, int] | None, ...]


def stamp(engine: Engine) -> Stamp | None:
    """Return what changes with every commit; None: the database is not a file.

    A commit within the same tick of the file system's clock may leave it as it was (4 ms at most, and only
    where the log of SQLite begins again), so read it now and then anyway.
    """
    path = engine.url.database
    if engine.dialect.name != "sqlite" or not path or path.startswith((":", "file:")):
        return None
    return _of(f"{path}-wal"), _of(path)


def _of(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - ten times a second: a Path costs more than the call
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
