"""Thousands of models in one call: in parallel, resumable, with one report of what failed."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tenantry import TenantryError
from tenantry.errors import NotPublished
from tenantry_server.publishing.stores import local_folder

if TYPE_CHECKING:
    from tenantry import TenantModel
    from tenantry_server.publishing.publisher import Where
    from tenantry_server.signing.making import Signer

_FIELDS = frozenset({"model", "user_id", "name", "namespace", "model_format", "method", "spec", "example"})
_AHEAD = 4  # items that are read for each thread, so that ten thousand models are never in memory at once


@dataclass(frozen=True, slots=True)
class Failure:
    """One item that was not published.

    Attributes:
        number: of the item, counted from 0.
        user_id: as far as it has one.
        problem: what was seen, and what to do.
    """

    number: int
    user_id: str
    problem: str


@dataclass(slots=True)
class Report:
    """What became of all items.

    Attributes:
        published: what was stored and declared, in the order in which that was done.
        failed: in the order of the items.
        skipped: how many had been published before, with these very bytes.
    """

    published: "list[TenantModel]" = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    skipped: int = 0


def publish_many(  # noqa: PLR0913 - as `publish`
    items: Iterable[Mapping[str, Any]],
    *,
    to: str | Path,
    manifests: str | Path | None = None,
    sign: "Signer | str | Path | None" = None,
    s3_endpoint_url: str | None = None,
    check: bool = True,
    threads: int = 8,
    journal: str | Path | None = None,
    done: Callable[[Report], object] | None = None,
) -> Report:
    """Publish many models; one that fails stops no other.

    Args:
        items: of each model what `publish` takes: ``model`` and ``user_id``, and where they are wanted
            ``name``, ``namespace``, ``model_format``, ``method``, ``spec``, ``example``. Read as they are
            needed, so that a generator may train them.
        to, manifests, sign, s3_endpoint_url, check: as for `publish`, of all.
        threads: how many are published at once.
        journal: a file that notes what was published; an item that stands there with the same bytes and the
            same words is skipped. None: nothing is noted.
        done: called after each item, in the thread that called this; None: nothing is.

    Returns:
        what became of them; look at its `failed`.

    Raises:
        NotPublished: `manifests` is an address, or `journal` is another file; nothing was stored.

    Example:
        >>> from sklearn.linear_model import LinearRegression
        >>> folder = getfixture("tmp_path")
        >>> fitted = LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])
        >>> items = [{"user_id": "ann", "model": fitted}, {"user_id": "no good", "model": fitted}]
        >>> report = publish_many(items, to=folder / "models", manifests=folder)
        >>> len(report.published), [each.user_id for each in report.failed]
        (1, ['no good'])
    """
    from tenantry_server.publishing import publisher  # noqa: PLC0415 - as in `publish`
    from tenantry_server.signing import making  # noqa: PLC0415 - as in `publish`

    folder = None if manifests is None else local_folder(manifests)
    where = publisher.Where(to, folder, s3_endpoint_url, making.signer_of(sign))
    notes = _Journal(None if journal is None else Path(journal))
    report = Report()

    def one(number: int, item: Mapping[str, Any]) -> "TenantModel | Failure | None":
        try:
            return _publish(item, where, notes, check=check)
        except (TenantryError, OSError) as error:
            return Failure(number, str(item.get("user_id", "")), str(error))
        except Exception as error:  # a model's own code may raise anything
            return Failure(number, str(item.get("user_id", "")), f"{type(error).__name__}: {error}")

    with notes, ThreadPoolExecutor(threads, "publish") as pool:
        for result in _in_parallel(pool, one, enumerate(items), threads * _AHEAD):
            if isinstance(result, Failure):
                report.failed.append(result)
            elif result is None:
                report.skipped += 1
            else:
                report.published.append(result)
            if done is not None:
                done(report)
    report.failed.sort(key=lambda failure: failure.number)
    return report


def _in_parallel(
    pool: ThreadPoolExecutor,
    call: Callable[..., Any],
    items: Iterable[tuple[int, Mapping[str, Any]]],
    most: int,
) -> Iterator[Any]:
    """Yield results as they come, with at most so many under way."""
    running: set[Future[Any]] = set()
    for each in items:
        running.add(pool.submit(call, *each))
        if len(running) >= most:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ended)
    while running:
        ended, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in ended)


def _publish(
    item: Mapping[str, Any], where: "Where", notes: "_Journal", *, check: bool
) -> "TenantModel | None":
    """Publish one item; None: it was before."""
    from tenantry_server.publishing import publisher  # noqa: PLC0415 - as in `publish`

    unknown = sorted(item.keys() - _FIELDS)
    missing = sorted({"model", "user_id"} - item.keys())
    if unknown or missing:
        problem = f"unknown {', '.join(unknown)}" if unknown else f"missing {', '.join(missing)}"
        raise NotPublished("the item", f"{problem}; an item has {', '.join(sorted(_FIELDS))}")
    user = publisher.text_of(item["user_id"])
    model = item["model"]
    what = str(model) if isinstance(model, str | Path) else f"the {type(model).__name__} for user {user!r}"
    said = publisher.Said(
        user,
        item.get("name"),
        item.get("namespace"),
        item.get("model_format"),
        item.get("method"),
        item.get("spec") or {},
    )
    artifact = publisher.artifact_of(model, what)
    key = [user, artifact.sha256, str(where.to), str(where.manifests), repr(said)]
    if notes.has(key):
        return None
    declared = publisher.store(artifact, said, where, example=item.get("example"), check=check)
    notes.add(key)
    return declared


class _Journal:
    """The file that notes what was published, one line each; a line that was cut off counts for nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file: TextIO | None = None
        self._known: set[str] = set()
        if path is not None and path.exists():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            if lines and not lines[0].startswith('["'):
                raise NotPublished(str(path), "it is not a journal of publish_many; name another file")
            self._known = set(lines)

    def __enter__(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
            self._file.write("\n" if self._known else "")  # after a line that was cut off

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def has(self, key: list[str]) -> bool:
        """Return whether this was published before."""
        return json.dumps(key) in self._known

    def add(self, key: list[str]) -> None:
        """Note that it is published."""
        if self._file is not None:
            with self._lock:
                self._file.write(f"{json.dumps(key)}\n")
                self._file.flush()
