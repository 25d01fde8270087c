"""Checks manifests as an operator would, and stores nothing.

Owns what can be known without a registry: the rules of each document, names and users that two documents
claim, policies, and whether the artifacts are there and are the pinned bytes.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tenantry import TenantModel
from tenantry.errors import (
    ArtifactAccessDenied,
    ArtifactDigestMismatch,
    ArtifactError,
    ArtifactUnavailable,
    UnknownFormat,
)
from tenantry.manifest.spec import ModelSource
from tenantry.stores.file_roots import FileRoots
from tenantry_operator.artifacts.resolver import Resolve, Resolver
from tenantry_operator.folder import manifest_files
from tenantry_operator.folder.manifest_files import ManifestFile
from tenantry_operator.folder.tree import FolderTree
from tenantry_operator.policies.rules import Policies

_THREADS = 16
_CARD_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """One TenantModel that was read.

    Attributes:
        where: ``FILE:LINE`` of its document.
    """

    where: str
    model: TenantModel

    def says(self, problem: str) -> str:
        """Return a problem as it is shown."""
        return f"{self.where}: {self.model.namespace}/{self.model.name}: {problem}"


@dataclass(slots=True)
class Checked:
    """What was seen in all files.

    Attributes:
        found: the TenantModels that break no rule of their own, in order.
        files: how many files were read.
        errors: what an operator would refuse, each with its place.
        notes: what could not be checked.
    """

    found: list[Found]
    files: int
    errors: list[str]
    notes: list[str]


def read(paths: Iterable[Path]) -> Checked:
    """Read files and folders of manifests; a folder as an operator reads it, with all that is below.

    Raises:
        OSError: a path can't be read.
    """
    checked = Checked([], 0, [], [])
    for path in paths:
        for shown, content in _contents(path):
            checked.files += 1
            checked.errors += [str(problem) for problem in (content.broken, content.empty) if problem]
            for document in content.documents:
                if document.problem is not None:
                    checked.errors.append(str(document.problem))
                elif document.model is not None:
                    checked.found.append(Found(f"{shown}:{document.line}", document.model))
            if not (content.documents or content.broken or content.empty):
                checked.notes.append(f"{shown}: holds no TenantModel")
    checked.errors += _claimed_twice(checked.found)
    return checked


def _contents(path: Path) -> Iterator[tuple[str, ManifestFile]]:
    if not path.is_dir():
        yield str(path), manifest_files.read(path)
        return
    tree = FolderTree(path)
    tree.read_changed(0.0, time.time())
    for origin, content in tree.contents.items():
        yield str(path / origin), content


def _claimed_twice(found: Sequence[Found]) -> Iterator[str]:
    """Yield what of two documents only one can have: a name, or a user."""
    names: dict[tuple[str, str], Found] = {}
    users: dict[str, Found] = {}
    for each in found:
        first = names.setdefault((each.model.namespace, each.model.name), each)
        if first is not each:
            yield each.says(f"is also declared in {first.where}; give one of them another metadata.name")
            continue
        owner = users.setdefault(each.model.spec.user_id, each)
        if owner is not each:
            user = each.model.spec.user_id
            yield each.says(
                f"spec.userId: {user!r} is the user of {owner.where} too; one of them would stall"
            )


def denied(found: Iterable[Found], policies: Policies) -> Iterator[str]:
    """Yield what policies don't permit."""
    for each in found:
        denial = policies.denial(each.model)
        if denial is not None:
            yield each.says(denial)


def unreadable(found: Iterable[Found]) -> Iterator[str]:
    """Yield artifacts of which no server has a loader, by their names."""
    from tenantry_server.formats import format_of  # noqa: PLC0415 - it imports NumPy

    for each in found:
        try:
            format_of(each.model.spec.model.pinned())
        except UnknownFormat as error:
            yield each.says(str(error))


class Artifacts:
    """Looks at the artifacts and cards that TenantModels declare, several at once.

    Args:
        s3: looks up ``s3://`` sources.
        roots: where files may lie.
        max_bytes: of one file.
    """

    def __init__(self, s3: Resolve, roots: FileRoots, *, max_bytes: int = 1 << 30) -> None:
        self._artifact = Resolver(s3, roots, max_bytes=max_bytes)
        self._card = Resolver(s3, roots, max_bytes=_CARD_BYTES)
        self._silent: dict[str, ArtifactUnavailable] = {}  # buckets: each would be waited for once more

    def look(self, found: Sequence[Found]) -> tuple[list[str], list[str]]:
        """Return errors, and notes about what could not be checked."""
        errors: list[str] = []
        notes: list[str] = []
        with ThreadPoolExecutor(_THREADS, "validate") as pool:
            for each, problem in zip(found, pool.map(self._problem, found), strict=True):
                if isinstance(problem, ArtifactUnavailable | ArtifactAccessDenied):
                    notes.append(each.says(f"not checked: {problem}"))
                elif problem is not None:
                    errors.append(each.says(str(problem)))
        return errors, notes

    def _problem(self, found: Found) -> ArtifactError | None:
        source = found.model.spec.model
        store = source.uri.rpartition("://")[2].partition("/")[0]
        if store in self._silent:
            return self._silent[store]
        try:
            _match(self._artifact, source.uri, source.sha256, source.version_id)
            if source.card is not None:
                _match(self._card, source.card.uri, source.card.sha256)
        except ArtifactError as error:
            if store and isinstance(error, ArtifactUnavailable):
                self._silent[store] = error
            return error
        return None


def _match(resolve: Resolve, uri: str, sha256: str, version_id: str = "") -> None:
    """Look the bytes up, and hash a file whose digest is pinned: an operator leaves that to the servers."""
    source = ModelSource(uri=uri, version_id=version_id) if version_id else ModelSource(uri=uri)
    found = resolve(source)
    if found.sha256 is not None and sha256 not in ("", found.sha256):
        raise ArtifactDigestMismatch(uri, sha256, found.sha256)
