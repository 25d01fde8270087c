"""TenantModels from a folder of manifests: what an API server does for the cluster, for one machine.

Gives each document an identity, a generation and a creation time, keeps what a file held while the
file can't be read, and takes nothing for deleted that may only be in the middle of being saved.
"""

import os
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog
import watchfiles

from tenantry.errors import InvalidManifest
from tenantry.registry.rows import Claim
from tenantry_operator.conditions import INVALID_MANIFEST
from tenantry_operator.declared import Declaration, Listing
from tenantry_operator.folder import manifest_files
from tenantry_operator.folder.manifest_files import Document, ManifestFile

log = structlog.get_logger(__name__)

SETTLE_S = 0.5  # editors save in two steps: nothing is gone, or broken, before this has passed
_LOOK_EVERY_S = 2.0  # network file systems tell of no change
_SUFFIXES = (".yaml", ".yml", ".json")
_UIDS = uuid.UUID("5f0c2f5e-6c1e-4f0e-9a3c-7e4a47210000")


@dataclass(frozen=True, slots=True)
class _Known:
    """What decides whether a document is new, changed or the same."""

    generation: int
    created_at: float
    origin: str
    spec: dict[str, Any] | None
    problem: str


@dataclass(frozen=True, slots=True)
class _Read:
    """A file as it was last read, and the signs by which a change shows; none: look again."""

    signs: tuple[int, ...]
    content: ManifestFile


class FolderSource:
    """Lists the TenantModels in a folder and everything below it; hidden files are left out.

    Args:
        folder: of .yaml, .yml and .json files, each with one or more documents.
        claims: what the registry remembers of this folder.
        clock_s: seconds since the epoch.
    """

    def __init__(
        self, folder: Path, claims: Iterable[Claim], clock_s: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._clock_s = clock_s
        self._files: dict[str, _Read] = {}
        self._known = {
            claim.uid: _Known(
                claim.generation, claim.created_at, claim.origin, claim.spec, _problem_of(claim)
            )
            for claim in claims
        }
        self._missing_since_s: dict[str, float] = {}
        self._listing = Listing({}, complete=True)
        self._scanned = False

    @property
    def settled(self) -> bool:
        """Whether another look is of use only after something changed."""
        waits = self._missing_since_s.keys() - self._listing.absent
        return not waits and all(read.signs for read in self._files.values())

    def scan(self) -> Listing:
        """What the folder holds now; the very same object as the last time where nothing changed.

        Raises:
            OSError: the folder can't be listed; that says nothing about what is in it.
        """
        now_s = self._clock_s()
        changed = self._read_changed(now_s)
        if changed or not self._scanned:
            declared: Mapping[str, Declaration] = self._declared(now_s)
            self._missing_since_s = {
                uid: self._missing_since_s.get(uid, now_s) for uid in self._known.keys() - declared.keys()
            }
        else:
            declared = self._listing.declared
        absent = {uid for uid, since_s in self._missing_since_s.items() if now_s - since_s >= SETTLE_S}
        if changed or not self._scanned or absent != self._listing.absent:
            self._listing = Listing(declared, frozenset(absent), complete=True)
        self._scanned = True
        return self._listing

    def _declared(self, now_s: float) -> dict[str, Declaration]:
        declared: dict[str, Declaration] = {}
        contents = {origin: read.content for origin, read in self._files.items()}
        for origin, content in contents.items():
            for number, document in enumerate(content.documents):
                self._declare(declared, document, origin, number, now_s)
        broken = {origin: content.broken for origin, content in contents.items() if content.broken}
        if broken:
            held = self._held(declared)
            for origin, problem in broken.items():
                self._keep(declared, held, origin, problem, now_s)
        return declared

    def _read_changed(self, now_s: float) -> bool:
        """Read what looks other than before; whether anything is."""
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
        # Written again within one tick of the file system's clock, it would show no sign of it.
        fresh = abs(now_s - status.st_mtime) < SETTLE_S
        if before is not None and content.broken is not None and fresh:
            return replace(before, signs=())  # perhaps half saved
        if before is not None and _same(before.content, content):
            content = before.content
        return _Read(() if fresh else signs, content)

    def _paths(self) -> Iterator[tuple[str, str, OSError | None]]:
        """Files by origin and path, and folders that can't be listed, whose origin ends with a slash."""
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
                yield _text(origin), folder, error
                continue
            below: list[str] = []
            for entry in found:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(f"{origin}{entry.name}/")
                elif entry.name.endswith(_SUFFIXES):
                    yield _text(origin + entry.name), entry.path, None
            todo += reversed(below)

    def _declare(
        self,
        declared: dict[str, Declaration],
        document: Document,
        origin: str,
        number: int,
        now_s: float,
    ) -> None:
        name = document.name or f"{origin}#{number + 1}"
        uid = _uid(document.namespace, name)
        problem = document.problem
        model = document.model
        if uid in declared:
            folder = _text(str(self._folder))
            problem = InvalidManifest(
                "",
                f"{folder}/{origin}: {document.namespace}/{name} is also declared in "
                f"{folder}/{declared[uid].origin}; give one of them another metadata.name",
            )
            name, model = f"{name} ({origin}#{number + 1})", None
            uid = _uid(document.namespace, name)
        declared[uid] = self._versioned(
            Declaration(uid, document.namespace, name, 0, now_s, model, problem, origin)
        )

    def _versioned(self, new: Declaration) -> Declaration:
        """Give it the generation and the creation time that an API server would.

        Where nothing changed, the very same object as the last time: whoever compares is quick.
        """
        last = self._listing.declared.get(new.uid)
        same = last is not None and last.model is new.model and last.problem is new.problem
        if same and last is not None and last.origin == new.origin:
            return last
        spec = None if new.model is None else new.model.to_manifest()["spec"]
        problem = "" if new.problem is None else str(new.problem)
        known = self._known.get(new.uid)
        if known is None:
            known = _Known(1, new.created_at, new.origin, spec, problem)
        else:
            changed = problem != known.problem or (spec is not None and spec != known.spec)
            known = _Known(
                known.generation + changed,
                new.created_at if new.uid in self._listing.absent else known.created_at,
                new.origin,
                known.spec if spec is None else spec,
                problem,
            )
        self._known[new.uid] = known
        return replace(new, generation=known.generation, created_at=known.created_at)

    def _held(self, declared: Mapping[str, Declaration]) -> dict[str, list[str]]:
        """Uids by the file that they stood in, of those that no file shows now."""
        held: dict[str, list[str]] = {}
        for uid, known in self._known.items():
            if known.spec is not None and uid not in declared and uid not in self._listing.absent:
                held.setdefault(known.origin, []).append(uid)
        return held

    def _keep(
        self,
        declared: dict[str, Declaration],
        held: Mapping[str, list[str]],
        origin: str,
        broken: InvalidManifest,
        now_s: float,
    ) -> None:
        """Whatever a file held before it broke is still declared, with the reason why it waits."""
        uids = held.get(origin, [])
        if origin.endswith("/"):  # a folder
            uids = [uid for file, below in held.items() if file.startswith(origin) for uid in below]
        for uid in uids:
            # Its name stands in the registry's claim; here only the uid is known.
            stood_in = self._known[uid].origin
            declared[uid] = self._versioned(Declaration(uid, "", "", 0, now_s, None, broken, stood_in))
        if not uids:
            uid = _uid("default", origin)
            declared[uid] = self._versioned(
                Declaration(uid, "default", origin, 0, now_s, None, broken, origin)
            )


def _problem_of(claim: Claim) -> str:
    """The rule that the manifest broke when it was read last; empty where it broke none."""
    status = claim.status
    return "" if status is None or status.reason != INVALID_MANIFEST else status.message


def _unreadable(before: _Read | None, path: str, error: OSError) -> _Read:
    content = ManifestFile([], InvalidManifest("", f"{_text(path)}: {error.strerror}"))
    if before is not None and _same(before.content, content):
        content = before.content
    return _Read((), content)


def _same(one: ManifestFile, other: ManifestFile) -> bool:
    return _told(one) == _told(other)


def _told(content: ManifestFile) -> list[object]:
    """Everything that a file says; errors by their words, for they are never equal."""
    told: list[object] = [str(content.broken)]
    for document in content.documents:
        told += (document.namespace, document.name, document.model, str(document.problem))
    return told


def _text(path: str) -> str:
    """File names are bytes; what is shown and stored must be text."""
    return path.encode(errors="backslashreplace").decode()


def _uid(namespace: str, name: str) -> str:
    return str(uuid.uuid5(_UIDS, f"{namespace}/{name}"))


def follow(
    source: FolderSource,
    folder: Path,
    publish: Callable[[Listing], None],
    stop: threading.Event,
) -> None:
    """Publish a listing now and after every change, until stopped."""
    lost = False
    while not stop.is_set():
        try:
            for _ in _moments(source, folder, stop):
                publish(source.scan())
                lost = False
        except Exception as error:
            if not lost and isinstance(error, OSError):
                log.error(  # noqa: TRY400 - the traceback would say no more than the message
                    "the folder of manifests can't be read; every tenant stays as it is",
                    folder=str(folder),
                    error=str(error),
                )
            elif not lost:  # a fault of ours; the operator without its source would look well and be deaf
                log.exception("reading the folder of manifests failed; every tenant stays as it is")
            lost = True
            stop.wait(1.0)


def _moments(source: FolderSource, folder: Path, stop: threading.Event) -> Iterator[None]:
    """When to look: now, after a change, while something is not settled, and now and then."""
    yield
    looked_s = time.monotonic()
    for changes in watchfiles.watch(
        folder,
        watch_filter=None,
        debounce=200,
        step=20,
        rust_timeout=int(SETTLE_S * 1000),
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=False,
    ):
        if changes or not source.settled or time.monotonic() - looked_s >= _LOOK_EVERY_S:
            yield
            looked_s = time.monotonic()
