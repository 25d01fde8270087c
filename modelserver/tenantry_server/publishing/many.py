"""Thousands of models in one call: in groups, resumable, with one report of what failed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenantry_server.publishing.stores import local_folder

if TYPE_CHECKING:
    from tenantry import TenantModel
    from tenantry_server.signing.making import Signer


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
        to, manifests, sign, s3_endpoint_url, check: as for `publish`, of all. Of scikit-learn's linear
            models, alone or behind its scalers, one of each structure (classes, parameters, types and
            shapes) is tried, and the others are read back and compared with it.
        threads: how many artifacts are sent to S3 at once.
        journal: a file that notes what was published; an item that stands there with the same bytes and the
            same words is skipped, and what an interrupted run stored is declared. None: nothing is noted.
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
    from tenantry_server.publishing.batch.journal import Journal  # noqa: PLC0415 - as above
    from tenantry_server.publishing.batch.run import Run  # noqa: PLC0415 - as above
    from tenantry_server.signing import making  # noqa: PLC0415 - as above

    folder = None if manifests is None else local_folder(manifests)
    where = publisher.Where(to, folder, s3_endpoint_url, making.signer_of(sign))
    report = Report()
    with Journal(None if journal is None else Path(journal)) as notes:
        run = Run(where, notes, report, check=check, threads=threads, done=done)
        with run:
            for number, item in enumerate(items):
                run.publish(number, item)
    report.failed.sort(key=lambda failure: failure.number)
    return report
