"""One `tenantry score`: parts of the table in order, what is done noted beside them, and the report.

A part counts once the notes name it, and the notes are replaced in one step. So an interrupted job goes on
behind the last whole part, and OUT is there whole or not at all.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import click

from tenantry.client.errors import ClientError
from tenantry.scoring import Options
from tenantry.scoring.arrow_rows import ArrowRows
from tenantry.scoring.batches import in_order
from tenantry_cli.scoring import parts, reading
from tenantry_cli.scoring.notes import Notes
from tenantry_cli.scoring.places import Place
from tenantry_cli.scoring.storing import Parts
from tenantry_cli.scoring.table import Rows, in_words

PART_ROWS = 100_000
"""Rows that are scored again at most where a job was interrupted."""


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
        self._parts = Parts(out.beside(".parts"), self._format, options.user_column)
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
        place = self._parts.notes
        fresh = Notes(job)
        if place.exists():
            with place.opened() as file:
                data = file.read()
            try:
                notes = Notes.read(data)
            except ValueError as error:
                raise click.ClickException(
                    f"{place.name} is not what `tenantry score` notes ({error}); "
                    f"delete {self._parts.folder.name}"
                ) from None
            if notes.job == job:
                return notes
            if not overwrite:
                raise click.ClickException(self._differs(notes.job, job))
            self._parts.folder.clear()
            place = self._parts.notes
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
            f"{self._parts.folder.name} holds parts of an earlier run, and {what}; delete that folder, or "
            "give --overwrite, to begin again"
        )

    @property
    def done_rows(self) -> int:
        """How many rows are scored and stored."""
        return self.notes.done_rows

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
                self._parts.store(scored, self.notes, PART_ROWS)
            self.notes.complete = True
            self._parts.notes.write(self.notes.to_bytes())
        self._format.join([self._parts.part(number) for number in range(len(self.notes.rows))], self._out)
        self._parts.folder.clear()

    def _counted(
        self, scored: Iterator[Rows], rows: int, progress: Callable[[int, int], None]
    ) -> Iterator[Rows]:
        failed = self.notes.failures.total
        for some in scored:
            rows += len(some)
            failed += some.failed() if isinstance(some, ArrowRows) else int(some["reason"].notna().sum())
            progress(rows, failed)
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
