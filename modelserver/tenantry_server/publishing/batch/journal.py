"""What a batch has published, noted so that an interrupted one goes on where it was."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TextIO

from tenantry.errors import NotPublished

_DONE = 5  # parts of the key of an item


class Journal:
    """A file with a line for each item before it is stored, and one after it is declared.

    The line before names where the item goes. Where the process ends between the two, the next run finds
    whether it was declared, and else stores it at that same place, so that no artifact lies there twice.
    A line that was cut off counts for nothing.

    Args:
        path: None: nothing is noted.

    Raises:
        NotPublished: it is a file of another kind.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file: TextIO | None = None
        self._known: set[str] = set()
        self._begun: dict[str, str] = {}
        if path is not None and path.exists():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            if lines and not lines[0].startswith('["'):
                raise NotPublished(str(path), "it is not a journal of publish_many; name another file")
            for line in lines:
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            parts = json.loads(line)
        except ValueError:
            return
        if len(parts) == _DONE:
            self._known.add(json.dumps(parts))
        elif len(parts) == _DONE + 1:
            self._begun[json.dumps(parts[:_DONE])] = parts[_DONE]

    def __enter__(self) -> Self:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
            self._file.write("\n" if self._known or self._begun else "")  # after a line that was cut off
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def has(self, key: Sequence[str]) -> bool:
        """Return whether this was published before."""
        return bool(self._known) and json.dumps(key) in self._known

    def begun(self, key: Sequence[str]) -> str | None:
        """Return the URI where an interrupted run was about to store this; None: none was."""
        return self._begun.get(json.dumps(key)) if self._begun else None

    def begin(self, key: Sequence[str], uri: str) -> None:
        """Note where it will be stored."""
        self._write([[*key, uri]])

    def add(self, keys: Sequence[Sequence[str]]) -> None:
        """Note that these are published."""
        self._write(keys)

    def _write(self, lines: Sequence[Sequence[str]]) -> None:
        if self._file is not None and lines:
            text = "".join(f"{json.dumps(line)}\n" for line in lines)
            with self._lock:
                self._file.write(text)
                self._file.flush()
