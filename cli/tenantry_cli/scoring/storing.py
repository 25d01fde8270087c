"""Rows into parts, as they come: what waits to be stored does not grow with a part or the table."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Self

from tenantry_cli.scoring.notes import Notes
from tenantry_cli.scoring.parts import Format
from tenantry_cli.scoring.places import Place
from tenantry_cli.scoring.table import Rows

_WAITING = 2  # pieces that are scored, and not yet written
_NOTES = "notes.json"


class Parts:
    """The parts of one job, and the notes beside them.

    Args:
        folder: where they lie.
        format: how rows are written.
        user_column: names the user of each row.
    """

    def __init__(self, folder: Place, format: Format, user_column: str) -> None:  # noqa: A002 - its name
        self.folder = folder
        self.format = format
        self.user_column = user_column

    @property
    def notes(self) -> Place:
        """Where what is done is noted."""
        return self.folder.below(_NOTES)

    def part(self, number: int) -> Place:
        """Return where a part lies."""
        return self.folder.below(f"part-{number:06}{self.format.part_suffix}")

    def store(self, scored: Iterable[Rows], notes: Notes, part_rows: int) -> None:
        """Write rows into parts of so many, while others are asked about, and note each whole part.

        The part that is begun where this ends by an error is dropped.

        Raises:
            OSError: they can't be stored.
            click.ClickException: the format has no place for what is in the table.
        """
        with _Part(self, notes, part_rows) as begun, ThreadPoolExecutor(1, "store") as thread:
            waiting: deque[Future[None]] = deque()
            for some in scored:
                waiting.append(thread.submit(begun.add, some))
                if len(waiting) > _WAITING:
                    waiting.popleft().result()
            waiting.append(thread.submit(begun.finish))
            for each in waiting:
                each.result()


class _Part:
    """The part that is written now; used by one thread."""

    def __init__(self, parts: Parts, notes: Notes, rows: int) -> None:
        self._parts = parts
        self._notes = notes
        self._most = rows
        self._rows = 0
        self._open = ExitStack()
        self._write: Callable[[Rows], None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.__exit__(*error)  # type: ignore[arg-type]

    def add(self, some: Rows) -> None:
        """Write these rows, and end the part where it is long enough."""
        parts, notes = self._parts, self._notes
        if self._write is None:
            file = self._open.enter_context(parts.part(len(notes.rows)).writing())
            self._write = self._open.enter_context(parts.format.part(file))
        notes.failures.add(some, notes.done_rows + self._rows, parts.user_column)
        self._write(some)
        self._rows += len(some)
        if self._rows >= self._most:
            self.finish()

    def finish(self) -> None:
        """End the part that is begun, if one is, and note it."""
        if self._write is None:
            return
        self._open.close()
        self._notes.rows.append(self._rows)
        self._parts.notes.write(self._notes.to_bytes())
        self._rows, self._write = 0, None
