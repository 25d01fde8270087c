"""TenantModels from a folder of manifests: what an API server does for the cluster, for one machine.

Gives each document an identity, a generation and a creation time, and keeps what a file held while the file
can't be read. Never concludes that something was deleted that may only be in the middle of being saved.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from tenantry.errors import InvalidManifest
from tenantry.processes.logs import OnChange
from tenantry.registry.rows import Claim
from tenantry_operator.conditions import INVALID_MANIFEST
from tenantry_operator.declared import Declaration, Listing
from tenantry_operator.folder.manifest_files import Document
from tenantry_operator.folder.tree import SETTLE_S, FolderTree, text_of

log = structlog.get_logger(__name__)

_UIDS = uuid.UUID("5f0c2f5e-6c1e-4f0e-9a3c-7e4a47210000")


@dataclass(frozen=True, slots=True)
class _Known:
    """What decides whether a document is new, changed or unchanged."""

    generation: int
    created_at: float
    origin: str
    spec: dict[str, Any] | None
    problem: str


class FolderSource:
    """Lists the TenantModels in a folder and everything below it; hidden files are left out.

    Args:
        folder: of .yaml, .yml and .json files, each with one or more documents.
        claims: what the registry remembers of this folder.
        may_empty: whether all of several tenants may go at once; a person confirmed it.
        clock_s: seconds since the epoch, for creation times only.
        steady_s: seconds of a clock that is never set back, for every wait.
    """

    def __init__(
        self,
        folder: Path,
        claims: Iterable[Claim],
        *,
        may_empty: bool = False,
        clock_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._may_empty = may_empty
        self._clock_s = clock_s
        self._steady_s = steady_s
        self._emptied = OnChange(log)
        self._root: tuple[int, int] | None = None
        self._tree = FolderTree(folder)
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
        """Whether the next scan can wait until a file changes."""
        waits = self._missing_since_s.keys() - self._listing.absent
        return (not waits or not self._tree.contents) and self._tree.settled

    def scan(self) -> Listing:
        """Return what the folder holds now; the same object as the last time where nothing changed.

        Raises:
            OSError: the folder can't be listed; that says nothing about what is in it.
        """
        now_s, wall_s = self._steady_s(), self._clock_s()
        changed = self._tree.read_changed(now_s, wall_s)
        if changed or not self._scanned:
            declared: Mapping[str, Declaration] = self._declared(wall_s)
            self._missing_since_s = {
                uid: self._missing_since_s.get(uid, now_s) for uid in self._known.keys() - declared.keys()
            }
        else:
            declared = self._listing.declared
        absent = {uid for uid, since_s in self._missing_since_s.items() if now_s - since_s >= SETTLE_S}
        if self._is_emptied(absent - self._listing.absent):
            absent &= self._listing.absent
        if changed or not self._scanned or absent != self._listing.absent:
            self._listing = Listing(declared, frozenset(absent), complete=True)
        self._scanned = True
        return self._listing

    def _is_emptied(self, gone: AbstractSet[str]) -> bool:
        """Return whether the folder looks like one that was not mounted, or is being checked out.

        Not a single manifest file is left, where several tenants were or where another folder stood. Then
        nothing is removed: any manifest file, also one without a TenantModel, shows that it is meant.
        """
        status = self._folder.stat()
        root = (status.st_dev, status.st_ino)
        if self._tree.contents:
            self._root = root
            self._emptied.over("the folder of manifests holds manifests again", folder=str(self._folder))
            return False
        if self._may_empty or not gone or (len(gone) == 1 and self._root in (None, root)):
            return False
        self._emptied.error(
            "the folder of manifests is empty, so its tenants stay; if all of them are meant to go, leave "
            "a file such as none.yaml with a comment in it, or restart with --allow-mass-delete",
            folder=str(self._folder),
            tenants=len(gone),
        )
        return True

    def _declared(self, now_s: float) -> dict[str, Declaration]:
        declared: dict[str, Declaration] = {}
        contents = self._tree.contents
        for origin, content in contents.items():
            for number, document in enumerate(content.documents):
                self._declare(declared, document, origin, number, now_s)
        broken = {origin: content.broken for origin, content in contents.items() if content.broken}
        empty = {origin: content.empty for origin, content in contents.items() if content.empty}
        if broken or empty:
            held = self._held(declared)
            for origin, problem in (broken | {at: why for at, why in empty.items() if at in held}).items():
                self._keep(declared, held, origin, problem, now_s)
        return declared

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
            folder = text_of(str(self._folder))
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
        """Give a declaration the generation and the creation time that an API server would.

        Where nothing changed, return the same object as the last time, which is quick to compare.
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
        """Return the uids that no file shows now, by the file that they stood in."""
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
        """Go on declaring what a file held before it broke, with the reason why it waits."""
        uids = held.get(origin, [])
        if origin.endswith("/"):  # a folder
            uids = [uid for file, below in held.items() if file.startswith(origin) for uid in below]
        for uid in uids:
            # Only the uid is known here; the name stands in the registry's claim.
            stood_in = self._known[uid].origin
            declared[uid] = self._versioned(Declaration(uid, "", "", 0, now_s, None, broken, stood_in))
        if not uids:
            uid = _uid("default", origin)
            declared[uid] = self._versioned(
                Declaration(uid, "default", origin, 0, now_s, None, broken, origin)
            )


def _problem_of(claim: Claim) -> str:
    """Return the rule that the manifest broke when it was read last; empty where it broke none."""
    status = claim.status
    return "" if status is None or status.reason != INVALID_MANIFEST else status.message


def _uid(namespace: str, name: str) -> str:
    return str(uuid.uuid5(_UIDS, f"{namespace}/{name}"))
