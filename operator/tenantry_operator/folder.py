"""TenantModels from a folder of manifests: what an API server does for the cluster, for one machine.

Gives each document an identity, a generation and a creation time, keeps what a file held while the
file can't be read, and takes nothing for deleted that may only be in the middle of being saved.
"""

import os
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog
import watchfiles

from tenantry.errors import InvalidManifest
from tenantry.registry.rows import Claim
from tenantry_operator import manifests
from tenantry_operator.listing import Listing
from tenantry_operator.manifests import Document, ManifestFile
from tenantry_operator.reconcile import Declaration

log = structlog.get_logger(__name__)

SETTLE_S = 0.5  # editors save in two steps: nothing is gone, or broken, before this has passed
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
    """A file as it was last read, and the signs by which a change shows."""

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
        self._known = {c.uid: _Known(c.generation, c.created_at, c.origin, c.spec, "") for c in claims}
        started_s = clock_s()
        self._last_seen_s = dict.fromkeys(self._known, started_s)
        self._absent: frozenset[str] = frozenset()

    def scan(self) -> Listing:
        """What the folder holds now.

        Raises:
            OSError: the folder can't be listed; that says nothing about what is in it.
        """
        now_s = self._clock_s()
        contents = self._read_changed(now_s)
        declared: dict[str, Declaration] = {}
        for origin, content in contents.items():
            for number, document in enumerate(content.documents):
                self._declare(declared, document, origin, number, now_s)
        for origin, content in contents.items():
            if content.broken is not None:
                self._keep(declared, origin, content.broken, now_s)
        self._last_seen_s |= dict.fromkeys(declared, now_s)
        missing = {uid: s for uid, s in self._last_seen_s.items() if uid not in declared}
        absent = frozenset(uid for uid, seen_s in missing.items() if now_s - seen_s >= SETTLE_S)
        self._absent = absent
        return Listing(declared, absent)

    def _read_changed(self, now_s: float) -> dict[str, ManifestFile]:
        files: dict[str, _Read] = {}
        for origin, path in self._paths():
            try:
                status = path.stat()
                if not stat.S_ISREG(status.st_mode):
                    continue
                signs: tuple[int, ...] = (status.st_mtime_ns, status.st_size, status.st_ino)
                before = self._files.get(origin)
                if before is not None and before.signs == signs:
                    files[origin] = before
                    continue
                content = manifests.read(path)
                fresh = now_s - status.st_mtime < SETTLE_S
            except FileNotFoundError:
                continue  # gone since it was listed
            except OSError as error:
                before, signs, fresh = self._files.get(origin), (), False
                content = ManifestFile([], InvalidManifest("", f"{path}: {error.strerror}"))
            if content.broken is not None and fresh and before is not None:
                files[origin] = replace(before, signs=())  # perhaps half saved: look again
                continue
            files[origin] = _Read(signs, content)
        self._files = files
        return {origin: read.content for origin, read in files.items()}

    def _paths(self) -> Iterable[tuple[str, Path]]:
        def refuse(error: OSError) -> None:
            raise error

        for root, folders, names in os.walk(self._folder, onerror=refuse):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if name.endswith(_SUFFIXES) and not name.startswith("."):
                    path = Path(root, name)
                    yield str(path.relative_to(self._folder)), path

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
            problem = InvalidManifest(
                "",
                f"{self._folder / origin}: {document.namespace}/{name} is also declared in "
                f"{self._folder / declared[uid].origin}; give one of them another metadata.name",
            )
            name, model = f"{name} ({origin}#{number + 1})", None
            uid = _uid(document.namespace, name)
        declared[uid] = self._versioned(
            Declaration(uid, document.namespace, name, 0, now_s, model, problem, origin)
        )

    def _versioned(self, new: Declaration) -> Declaration:
        """Give it the generation and the creation time that an API server would."""
        spec = None if new.model is None else new.model.to_manifest()["spec"]
        problem = "" if new.problem is None else str(new.problem)
        known = self._known.get(new.uid)
        if known is None:
            known = _Known(1, new.created_at, new.origin, spec, problem)
        else:
            changed = problem != known.problem or (spec is not None and spec != known.spec)
            known = _Known(
                known.generation + changed,
                new.created_at if new.uid in self._absent else known.created_at,
                new.origin,
                known.spec if spec is None else spec,
                problem,
            )
        self._known[new.uid] = known
        return replace(new, generation=known.generation, created_at=known.created_at)

    def _keep(
        self,
        declared: dict[str, Declaration],
        origin: str,
        broken: InvalidManifest,
        now_s: float,
    ) -> None:
        """Whatever a file held before it broke is still declared, with the reason why it waits."""
        held = [
            (uid, known)
            for uid, known in self._known.items()
            if known.origin == origin
            and known.spec is not None
            and uid not in declared
            and uid not in self._absent
        ]
        for uid, _known in held:
            # Its name stands in the registry's claim; here only the uid is known.
            declared[uid] = self._versioned(Declaration(uid, "", "", 0, now_s, None, broken, origin))
        if not held:
            uid = _uid("default", origin)
            declared[uid] = self._versioned(
                Declaration(uid, "default", origin, 0, now_s, None, broken, origin)
            )


def _uid(namespace: str, name: str) -> str:
    return str(uuid.uuid5(_UIDS, f"{namespace}/{name}"))


def follow(
    source: FolderSource,
    folder: Path,
    publish: Callable[[Listing], None],
    stop: threading.Event,
) -> None:
    """Publish a listing now, after every change, and at least twice a second; until stopped."""
    lost = False
    while not stop.is_set():
        try:
            publish(source.scan())
            lost = False
            for _ in watchfiles.watch(
                folder,
                watch_filter=None,
                debounce=200,
                step=20,
                rust_timeout=int(SETTLE_S * 1000),
                yield_on_timeout=True,
                stop_event=stop,
                raise_interrupt=False,
            ):
                publish(source.scan())
        except OSError as error:
            if not lost:
                log.error(  # noqa: TRY400 - the traceback would say no more than the message
                    "the folder of manifests can't be read; every tenant stays as it is",
                    folder=str(folder),
                    error=str(error),
                )
            lost = True
            stop.wait(1.0)
