"""The files of a folder of manifests, and what each held when it was read last.

Reads a file again only where it looks changed, and judges nothing broken that may only be half saved.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from tenantry.errors import InvalidManifest
from tenantry_operator.folder import manifest_files
from tenantry_operator.folder.links import Links
from tenantry_operator.folder.manifest_files import ManifestFile

log = structlog.get_logger(__name__)

SETTLE_S = 0.5  # editors save in two steps: nothing is gone, or broken, before this has passed
SHRUNK_S = 2.0  # the same for a file that has lost TenantModels, and may still be written
_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class _Read:
    """A file as it was read last.

    Attributes:
        signs: by which a change shows.
        since_s: when these signs were first seen.
        settled: whether it is read again only when the signs change.
        content: what counts, which may be older than the file while that is being saved.
    """

    signs: tuple[int, ...]
    since_s: float
    settled: bool
    content: ManifestFile


class FolderTree:
    """Every manifest file in a folder and below it; hidden files are left out.

    Args:
        folder: of .yaml, .yml and .json files, each with one or more documents.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _Read] = {}
        self._ignored: dict[str, str] = {}

    @property
    def contents(self) -> Mapping[str, ManifestFile]:
        """What each file held when it was read last, by its path below the folder."""
        return {origin: read.content for origin, read in self._files.items()}

    @property
    def settled(self) -> bool:
        """False while a file may still be in the middle of being saved."""
        return all(read.settled for read in self._files.values())

    def read_changed(self, now_s: float, wall_s: float) -> bool:
        """Read the files that look changed; return whether the content of any differs.

        Args:
            now_s: of a clock that is never set.
            wall_s: seconds since the epoch, to compare with the times of files.

        Raises:
            OSError: the folder can't be listed; that says nothing about what is in it.
        """
        files: dict[str, _Read] = {}
        ignored: dict[str, str] = {}
        for origin, path, refused in self._paths(ignored):
            before = self._files.get(origin)
            if refused is not None:
                files[origin] = _unreadable(before, path, refused)
                continue
            try:
                found = self._read(path, before, now_s, wall_s)
            except FileNotFoundError:
                continue  # gone since it was listed
            except OSError as error:
                found = _unreadable(before, path, error)
            if found is not None:
                files[origin] = found
            else:
                ignored[origin] = "it is not a regular file"
        self._say_ignored(ignored)
        former, self._files = self._files, files
        return files.keys() != former.keys() or any(
            read.content is not former[origin].content for origin, read in files.items()
        )

    def _say_ignored(self, ignored: dict[str, str]) -> None:
        """Log what is ignored, once until that changes."""
        for origin, why in ignored.items():
            if self._ignored.get(origin) != why:
                path = text_of(os.path.join(self._folder, origin))  # noqa: PTH118 - as text
                log.warning("ignored in the folder of manifests", path=path, why=why)
        self._ignored = ignored

    def _read(self, path: str, before: _Read | None, now_s: float, wall_s: float) -> _Read | None:
        status = os.stat(path)  # noqa: PTH116 - a Path for each of 10,000 files costs more than the look
        if not stat.S_ISREG(status.st_mode):
            return None
        signs = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = before is not None and before.signs == signs
        if before is not None and known and before.settled:
            return before
        since_s = before.since_s if before is not None and known else now_s
        # A file that is written again within one tick of the file system's clock shows no sign of it, so it
        # is read until it was quiet; at the start, one that is old enough by its own time is.
        quiet_s = now_s - since_s
        if before is None and wall_s - status.st_mtime >= SETTLE_S:
            quiet_s = SHRUNK_S
        content = manifest_files.read(Path(path))
        if before is not None and quiet_s < _patience_s(before.content, content):
            return _Read(signs, since_s, False, before.content)  # perhaps half saved
        if before is not None and _same(before.content, content):
            content = before.content
        return _Read(signs, since_s, quiet_s >= SETTLE_S, content)

    def _paths(self, ignored: dict[str, str]) -> Iterator[tuple[str, str, OSError | None]]:
        """Iterate over files, and over folders that can't be listed, whose origin ends with a slash.

        Args:
            ignored: gets the links that are not followed, and why.
        """
        links = Links(self._folder)
        todo = [""]
        while todo:
            origin = todo.pop()
            folder = os.path.join(self._folder, origin)  # noqa: PTH118 - as above
            try:
                with os.scandir(folder) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                if not origin:
                    raise
                if not isinstance(error, FileNotFoundError):  # else gone since it was listed
                    yield text_of(origin), folder, error
                continue
            below: list[str] = []
            for entry in found:
                at = origin + entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink() and self._lost(entry, at):
                    yield text_of(f"{at}/"), entry.path, FileNotFoundError(2, "its link leads nowhere")
                elif _is_folder(entry):
                    below += _followed(links, entry, at, ignored)
                elif entry.name.endswith(_SUFFIXES):
                    yield text_of(at), entry.path, None
            todo += reversed(below)

    def _lost(self, link: "os.DirEntry[str]", at: str) -> bool:
        """Return whether a folder was read through this link that leads nowhere now."""
        below = text_of(f"{at}/")
        return any(origin.startswith(below) for origin in self._files) and not os.path.exists(link.path)  # noqa: PTH110 - as above


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _followed(links: Links, entry: "os.DirEntry[str]", at: str, ignored: dict[str, str]) -> list[str]:
    """Return the folder to be read; none where it is behind a link that is not followed."""
    why = links.refusal(entry.path) if entry.is_symlink() else None
    if why is None:
        return [f"{at}/"]
    ignored[text_of(at)] = why
    return []


def _patience_s(before: ManifestFile, now: ManifestFile) -> float:
    """Return how long a file must have been quiet before what it says now counts."""
    if now.broken is not None:
        return SETTLE_S
    left = {(document.namespace, document.name) for document in now.documents}
    lost = any((document.namespace, document.name) not in left for document in before.documents)
    return SHRUNK_S if lost else 0.0


def _unreadable(before: _Read | None, path: str, error: OSError) -> _Read:
    content = ManifestFile([], InvalidManifest("", f"{text_of(path)}: {error.strerror}"))
    if before is not None and _same(before.content, content):
        content = before.content
    return _Read((), 0.0, False, content)


def _same(one: ManifestFile, other: ManifestFile) -> bool:
    return _summary(one) == _summary(other)


def _summary(content: ManifestFile) -> list[object]:
    """Return everything that a file holds; errors as text, as they are never equal."""
    summary: list[object] = [str(content.broken), str(content.empty)]
    for document in content.documents:
        summary += (document.namespace, document.name, document.model, str(document.problem))
    return summary


def text_of(path: str) -> str:
    """Return a file name as text that can be shown and stored; file names are bytes."""
    return path.encode(errors="backslashreplace").decode()
