"""One call of `publish_many`: prepares its items one by one, stores them together, and keeps the report.

Preparing is Python, so that threads would only take turns at it; they send artifacts to S3. Folders get
theirs from the committer, which puts all manifests in place too, after their artifacts.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tenantry import TenantryError
from tenantry.errors import NotPublished
from tenantry_server.publishing import publisher
from tenantry_server.publishing.batch.alike import Alike
from tenantry_server.publishing.batch.committer import Committer, Entry
from tenantry_server.publishing.batch.journal import Journal
from tenantry_server.publishing.many import Failure, Report
from tenantry_server.publishing.replaced import declares
from tenantry_server.publishing.stores import Place, local_folder, place_for

if TYPE_CHECKING:
    from tenantry_server.publishing.publisher import Prepared, Where

_FIELDS = frozenset({"model", "user_id", "name", "namespace", "model_format", "method", "spec", "example"})
_AHEAD = 4  # artifacts that are in memory for each thread, so that ten thousand never are at once


class Run:
    """What is under way, and the report.

    Args:
        where: for all items.
        journal: entered already.
        report: is filled.
        check, threads, done: as for `publish_many`.
    """

    def __init__(
        self,
        where: "Where",
        journal: Journal,
        report: Report,
        *,
        check: bool,
        threads: int,
        done: Callable[[Report], object] | None,
    ) -> None:
        self._where, self._journal, self._report = where, journal, report
        self._check, self._done = check, done
        self._alike = Alike()
        self._pool = ThreadPoolExecutor(threads, "publish")
        self._room = threading.BoundedSemaphore(threads * _AHEAD)
        self._folder = None if str(where.to).startswith("s3://") else local_folder(where.to)
        self._committer = Committer(journal, self._pool, self._ended)
        self._outcomes: SimpleQueue[tuple[Entry, Exception | None]] = SimpleQueue()
        self._under_way: set[Path | int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what is under way; also where an item could not be made, as what is stored is declared."""
        try:
            if kind is None:
                while self._under_way:
                    self._receive(wait=True)
        finally:
            self._pool.shutdown()
            self._committer.close()

    def publish(self, number: int, item: Mapping[str, Any]) -> None:
        """Prepare an item, and hand it over to be stored."""
        try:
            self._begin(number, item)
        except Exception as error:  # a model's own code may raise anything
            user_id = str(item.get("user_id", "")) if isinstance(item, Mapping) else ""
            self._report.failed.append(Failure(number, user_id, _words(error)))
            self._tell()
        while self._receive(wait=False):
            pass

    def _begin(self, number: int, item: Mapping[str, Any]) -> None:
        taken = _Item.read(item)
        artifact = publisher.artifact_of(taken.model, taken.what)
        said, where = taken.said, self._where
        key = [said.user_id, artifact.sha256, str(where.to), str(where.manifests), repr(said)]
        if self._journal.has(key):
            self._skip()
            return
        place = place_for(where.to, said.user_id, artifact.sha256, artifact.suffix)
        begun = self._journal.begun(key)
        if begun is not None and begun.rpartition("/")[0] == place.uri.rpartition("/")[0]:
            place = Place.of(begun)
        prepared = publisher.prepare(
            artifact,
            said,
            where,
            place,
            example=taken.example,
            check=self._check,
            alike=self._alike,
            settled=self._settle,
        )
        if begun is not None and prepared.manifest is not None and declares(prepared.manifest[0], begun):
            self._journal.add([key])
            self._skip()
            return
        self._journal.begin(key, place.uri)
        self._store(number, prepared, key)

    def _store(self, number: int, prepared: "Prepared", key: list[str]) -> None:
        here = [
            (self._folder, place.path, data)
            for place, data in prepared.files
            if self._folder is not None and place.path is not None
        ]
        mark: Path | int = number
        manifest = []
        if prepared.manifest is not None and self._where.manifests is not None:
            mark, text = prepared.manifest
            manifest = [(self._where.manifests, mark, text)]
        declared = prepared.declared
        entry = Entry(number, declared.spec.user_id, declared, (*here, *manifest), key)
        self._under_way.add(mark)
        if here:
            self._committer.add(entry)
            return
        self._room.acquire()
        self._pool.submit(self._send, entry, prepared.files)

    def _send(self, entry: Entry, files: tuple[tuple[Place, bytes], ...]) -> None:
        """Send artifacts to S3; in a thread of the pool."""
        try:
            for place, data in files:
                place.store(data, s3_endpoint_url=self._where.s3_endpoint_url)
        except Exception as error:
            self._ended(entry, error)
        else:
            self._committer.add(entry)
        finally:
            self._room.release()

    def _ended(self, entry: Entry, error: Exception | None) -> None:
        self._outcomes.put((entry, error))

    def _settle(self, manifest: Path) -> None:
        """Wait for an item whose manifest has this path, as the next one may keep what it says."""
        while manifest in self._under_way:
            self._receive(wait=True)

    def _receive(self, *, wait: bool) -> bool:
        """Take one outcome into the report; False: none is there."""
        if not wait and self._outcomes.empty():
            return False
        entry, error = self._outcomes.get()
        self._under_way -= {entry.number, *(path for _, path, _ in entry.files[-1:])}
        if error is None:
            self._report.published.append(entry.declared)
        else:
            self._report.failed.append(Failure(entry.number, entry.user_id, _words(error)))
        self._tell()
        return True

    def _skip(self) -> None:
        self._report.skipped += 1
        self._tell()

    def _tell(self) -> None:
        if self._done is not None:
            self._done(self._report)


@dataclass(frozen=True, slots=True)
class _Item:
    """What an item asks for."""

    model: Any
    what: str
    said: publisher.Said
    example: Any

    @classmethod
    def read(cls, item: Mapping[str, Any]) -> Self:
        """Check the names of its fields, and its user id.

        Raises:
            NotPublished: one is missing, or unknown.
            InvalidManifest: the user id is of another type.
        """
        unknown = sorted(item.keys() - _FIELDS)
        missing = sorted({"model", "user_id"} - item.keys())
        if unknown or missing:
            problem = f"unknown {', '.join(unknown)}" if unknown else f"missing {', '.join(missing)}"
            raise NotPublished("the item", f"{problem}; an item has {', '.join(sorted(_FIELDS))}")
        user = publisher.text_of(item["user_id"])
        model = item["model"]
        what = (
            str(model) if isinstance(model, str | Path) else f"the {type(model).__name__} for user {user!r}"
        )
        said = publisher.Said(
            user_id=user,
            name=item.get("name"),
            namespace=item.get("namespace"),
            model_format=item.get("model_format"),
            method=item.get("method"),
            spec=item.get("spec") or {},
        )
        return cls(model, what, said, item.get("example"))


def _words(error: Exception) -> str:
    """Return an error for the report; one that is not ours needs its name."""
    return str(error) if isinstance(error, TenantryError | OSError) else f"{type(error).__name__}: {error}"
