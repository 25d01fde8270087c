"""One `tenantry score`: parts of the table in order, what is done noted beside them, and the report.

A part counts once the notes name it, and the notes are replaced in one step. So an interrupted job goes on
behind the last whole part, and OUT is there whole or not at all.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from tenantry.client.errors import ClientError
from tenantry.scoring import Options
from tenantry.scoring.arrow_rows import ArrowRows
from tenantry.scoring.batches import in_order
from tenantry_cli.scoring import parts, reading
from tenantry_cli.scoring.places import Place
from tenantry_cli.scoring.table import Rows, in_words

if TYPE_CHECKING:
    import pandas as pd

PART_ROWS = 100_000
"""Rows that are scored again at most where a job was interrupted; what a job holds in memory."""

_FORM = 2  # of the notes and parts
_NOTES = "notes.json"
_FIRST = 3  # failed rows of each reason in the report


@dataclass(slots=True)
class Failures:
    """Rows without a prediction.

    Attributes:
        counts: by reason.
        first: by reason, the first few: row, user and message.
    """

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)

    def add(self, some: Rows, first_row: int, user_column: str) -> None:
        """Count the failures of some rows, which begin with row `first_row` of the table."""
        failed = some.failures(user_column) if isinstance(some, ArrowRows) else _failures(some, user_column)
        self.counts.update(reason for _, _, reason, _ in failed)
        for row, user, reason, error in failed:
            shown = self.first.setdefault(reason, [])
            if len(shown) < _FIRST:
                shown.append((first_row + row, str(user), str(error)))

    @property
    def total(self) -> int:
        """Of all reasons."""
        return self.counts.total()


def _failures(frame: "pd.DataFrame", user_column: str) -> list[tuple[int, str, str, str]]:
    """As `ArrowRows.failures`."""
    failed = frame["reason"].notna().to_numpy().nonzero()[0].tolist()
    some = frame.iloc[failed]
    return list(
        zip(failed, *(some[name].tolist() for name in (user_column, "reason", "error")), strict=True)
    )


@dataclass(slots=True)
class Notes:
    """What is done.

    Attributes:
        job: what another job would differ in.
        rows: of each whole part, in order.
        failures: in them.
        complete: whether the last part ended the table.
    """

    job: dict[str, Any]
    rows: list[int] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)
    complete: bool = False

    def to_bytes(self) -> bytes:
        """Return them as JSON."""
        failures = {"counts": self.failures.counts, "first": self.failures.first}
        document = {"form": _FORM, "job": self.job, "rows": self.rows, "complete": self.complete}
        return json.dumps({**document, "failures": failures}, ensure_ascii=False).encode()

    @classmethod
    def read(cls, data: bytes) -> "Notes":
        """Read them.

        Raises:
            ValueError: they are none.
        """
        try:
            document = json.loads(data)
            if document["form"] != _FORM:
                raise ValueError(f"of form {document['form']}")
            failures = Failures(
                Counter(document["failures"]["counts"]),
                {
                    reason: [(r, u, w) for r, u, w in rows]
                    for reason, rows in document["failures"]["first"].items()
                },
            )
            return cls(
                document["job"], [int(each) for each in document["rows"]], failures, document["complete"]
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"it lacks {error}") from None


class Job:
    """Scores one table into one file.

    Args:
        source: where the table lies.
        out: where the scored one goes.
        texts: as `reading.table` has it.
        overwrite: whether to replace what stands in `out`, and to drop parts of another job.

    Attributes:
        notes: what is done.
        total: rows of the table; None: not known.

    Raises:
        click.ClickException: the table can't be scored, or `out` can't be written; says why.
        OSError: the same, in the words of the system.
    """

    def __init__(
        self,
        source: Place,
        out: Place,
        options: Options,
        *,
        texts: tuple[str, ...] = (),
        overwrite: bool = False,
    ) -> None:
        if source.name == out.name:
            raise click.ClickException(f"{out.name} is the table to read; write to another one")
        self._format = parts.format_of(out)
        self._options = options
        self._out = out
        if out.exists() and not overwrite:
            raise click.ClickException(
                f"{out.name} exists; give another --out, or --overwrite to replace it"
            )
        self._table = reading.table(source, options.user_column, options.columns, texts=texts)
        self.total = self._table.rows
        self._folder = out.beside(".parts")
        self.notes = self._begun(self._described(source, texts), overwrite=overwrite)

    def _described(self, source: Place, texts: tuple[str, ...]) -> dict[str, Any]:
        """Return what another job would differ in, as JSON has it."""
        options = self._options
        job = {
            "table": source.name,
            "bytes": source.identity(),
            "user_column": options.user_column,
            "columns": options.columns,
            "omit_missing": options.omit_missing,
            "texts": texts,
            "servers": options.url if options.local is None else str(options.local),
        }
        found: dict[str, Any] = json.loads(json.dumps(job))
        return found

    def _begun(self, job: dict[str, Any], *, overwrite: bool) -> Notes:
        place = self._folder.below(_NOTES)
        fresh = Notes(job)
        if place.exists():
            with place.opened() as file:
                data = file.read()
            try:
                notes = Notes.read(data)
            except ValueError as error:
                raise click.ClickException(
                    f"{place.name} is not what `tenantry score` notes ({error}); delete {self._folder.name}"
                ) from None
            if notes.job == job:
                return notes
            if not overwrite:
                raise click.ClickException(self._differs(notes.job, job))
            self._folder.clear()
            place = self._folder.below(_NOTES)
        place.write(fresh.to_bytes())
        return fresh

    def _differs(self, old: dict[str, Any], new: dict[str, Any]) -> str:
        name = next(name for name in new if old.get(name) != new[name])
        what = {
            "bytes": f"{new['table']} has changed since",
            "table": f"they are of the table {old.get('table')}",
        }.get(
            name, f"they were made with other {name.replace('_', ' ')} ({old.get(name)}, now {new[name]})"
        )
        return (
            f"{self._folder.name} holds parts of an earlier run, and {what}; delete that folder, or give "
            "--overwrite, to begin again"
        )

    @property
    def done_rows(self) -> int:
        """How many rows are scored and stored."""
        return sum(self.notes.rows)

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Score what is left, and put everything together.

        Args:
            progress: called with the rows that are scored and those that failed.

        Raises:
            ClientError: no server answered; what was scored is kept.
            click.ClickException: the table is damaged, as above.
        """
        if not self.notes.complete:
            first = self.done_rows
            tables = self._table.pieces(first, self._options.rows_per_request)
            scored = self._counted(in_order(tables, self._options), first, progress)
            with in_words(self._table.name):
                self._store_all(_by_rows(scored, PART_ROWS))
            self.notes.complete = True
            self._folder.below(_NOTES).write(self.notes.to_bytes())
        self._format.join([self._part(number) for number in range(len(self.notes.rows))], self._out)
        self._folder.clear()

    def _counted(
        self, scored: Iterator[Rows], rows: int, progress: Callable[[int, int], None]
    ) -> Iterator[Rows]:
        failed = self.notes.failures.total
        for some in scored:
            rows += len(some)
            failed += some.failed() if isinstance(some, ArrowRows) else int(some["reason"].notna().sum())
            progress(rows, failed)
            yield some

    def _store_all(self, gathered: Iterator[list[Rows]]) -> None:
        """Store a part while rows of the next one are asked about; no more than one waits."""
        with ThreadPoolExecutor(1, "store") as thread:
            storing: Future[None] | None = None
            for some in gathered:
                if storing is not None:
                    storing.result()
                storing = thread.submit(self._store, some)
            if storing is not None:
                storing.result()

    def _store(self, some: list[Rows]) -> None:
        done = self.done_rows
        for each in some:
            self.notes.failures.add(each, done, self._options.user_column)
            done += len(each)
        self._part(len(self.notes.rows)).write(self._format.part(some))
        self.notes.rows.append(sum(map(len, some)))
        self._folder.below(_NOTES).write(self.notes.to_bytes())

    def _part(self, number: int) -> Place:
        return self._folder.below(f"part-{number:06}{self._format.part_suffix}")


def _by_rows(scored: Iterator[Rows], rows: int) -> Iterator[list[Rows]]:
    """Gather tables until they have so many rows."""
    some: list[Rows] = []
    for each in scored:
        some.append(each)
        if sum(map(len, some)) >= rows:
            yield some
            some = []
    if some:
        yield some


def report(notes: Notes, say: Callable[[str], None]) -> None:
    """Say which rows failed: how many of each reason, and the first few."""
    for reason, count in notes.failures.counts.most_common():
        say(f"{reason}: {count:,} rows")
        for row, user, words in notes.failures.first.get(reason, ()):
            say(f"  row {row:,}, user {user}: {words}")


def explained(error: ClientError, job: Job) -> str:
    """Return why a job stopped, and what is kept of it."""
    return (
        f"{error}; {job.done_rows:,} rows are scored and kept, and the same command goes on with the others"
    )
