"""The files of a folder of manifests, and what each held when it was read last.

Reads a file again only where it looks changed, and judges nothing broken that may only be half saved.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tenantry.errors import InvalidManifest
from tenantry_operator.folder import manifest_files
from tenantry_operator.folder.manifest_files import ManifestFile

SETTLE_S = 0.5  # editors save in two steps: nothing is gone, or broken, before this has passed
_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class _Read:
    """A file as it was read last, and the signs by which a change shows; no signs: read it again."""

    signs: tuple[int, ...]
    content: ManifestFile


class FolderTree:
    """Every manifest file in a folder and below it; hidden files are left out.

    Args:
        folder: of .yaml, .yml and .json files, each with one or more documents.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _Read] = {}

    @property
    def contents(self) -> Mapping[str, ManifestFile]:
        """What each file held when it was read last, by its path below the folder."""
        return {origin: read.content for origin, read in self._files.items()}

    @property
    def settled(self) -> bool:
        """False while a file may still be in the middle of being saved."""
        return all(read.signs for read in self._files.values())

    def read_changed(self, now_s: float) -> bool:
        """Read the files that look changed; return whether the content of any differs.

        Raises:
            OSError: the folder can't be listed; that says nothing about what is in it.
        """
        files: dict[str, _Read] = {}
        for origin, path, refused in self._paths():
            before = self._files.get(origin)
            if refused is not None:
                files[origin] = _unreadable(before, path, refused)
                continue
            try:
                found = self._read(path, before, now_s)
            except FileNotFoundError:
                continue  # gone since it was listed
            except OSError as error:
                found = _unreadable(before, path, error)
            if found is not None:
                files[origin] = found
        former, self._files = self._files, files
        return files.keys() != former.keys() or any(
            read.content is not former[origin].content for origin, read in files.items()
        )

    def _read(self, path: str, before: _Read | None, now_s: float) -> _Read | None:
        status = os.stat(path)  # noqa: PTH116 - a Path for each of 10,000 files costs more than the look
        if not stat.S_ISREG(status.st_mode):
            return None
        signs = (status.st_mtime_ns, status.st_size, status.st_ino)
        if before is not None and before.signs == signs:
            return before
        content = manifest_files.read(Path(path))
        # A file that is written again within one tick of the file system's clock shows no sign of it.
        fresh = abs(now_s - status.st_mtime) < SETTLE_S
        if before is not None and content.broken is not None and fresh:
            return replace(before, signs=())  # perhaps half saved
        if before is not None and _same(before.content, content):
            content = before.content
        return _Read(() if fresh else signs, content)

    def _paths(self) -> Iterator[tuple[str, str, OSError | None]]:
        """Iterate over files, and over folders that can't be listed, whose origin ends with a slash."""
        todo = [""]
        while todo:
            origin = todo.pop()
            folder = os.path.join(self._folder, origin)  # noqa: PTH118 - as above
            try:
                with os.scandir(folder) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except FileNotFoundError:
                if not origin:
                    raise
                continue  # gone since it was listed
            except OSError as error:
                if not origin:
                    raise
                yield text_of(origin), folder, error
                continue
            below: list[str] = []
            for entry in found:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(f"{origin}{entry.name}/")
                elif entry.name.endswith(_SUFFIXES):
                    yield text_of(origin + entry.name), entry.path, None
            todo += reversed(below)


def _unreadable(before: _Read | None, path: str, error: OSError) -> _Read:
    content = ManifestFile([], InvalidManifest("", f"{text_of(path)}: {error.strerror}"))
    if before is not None and _same(before.content, content):
        content = before.content
    return _Read((), content)


def _same(one: ManifestFile, other: ManifestFile) -> bool:
    return _summary(one) == _summary(other)


def _summary(content: ManifestFile) -> list[object]:
    """Return everything that a file holds; errors as text, as they are never equal."""
    summary: list[object] = [str(content.broken)]
    for document in content.documents:
        summary += (document.namespace, document.name, document.model, str(document.problem))
    return summary


def text_of(path: str) -> str:
    """Return a file name as text that can be shown and stored; file names are bytes."""
    return path.encode(errors="backslashreplace").decode()
