"""NDJSON: a row a line."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from tenantry_cli.scoring.places import Place
from tenantry_cli.scoring.table import Table

if TYPE_CHECKING:
    import pandas as pd


class LinesTable(Table):
    """Values are what they are in JSON; a column that a row lacks is missing in it."""

    def __init__(self, place: Place, user_column: str) -> None:
        self.name = place.name
        self._user_column = user_column
        self._place = place
        with place.opened() as file:
            if not file.read(1 << 16).strip():
                raise click.ClickException(f"{place.name} has no rows")

    def pieces(self, skip: int, rows: int) -> Iterator["pd.DataFrame"]:
        """As `Table`."""
        import pandas as pd  # noqa: PLC0415 - as above

        with self._place.opened() as file:
            lines = (line for line in file if not line.isspace())
            for _ in islice(lines, skip):
                pass
            first = skip
            while some := list(islice(lines, rows)):
                records = self._records(some, first)
                self._check_users(records, first)
                names = list(dict.fromkeys(name for record in records for name in record))
                yield pd.DataFrame(
                    {
                        name: pd.Series([record.get(name) for record in records], dtype=object)
                        for name in names
                    }
                )
                first += len(some)

    def _records(self, lines: Sequence[bytes], first: int) -> list[dict[str, Any]]:
        try:
            records = json.loads(b"[" + b",".join(lines) + b"]")
            if len(records) == len(lines) and {*map(type, records)} == {dict}:
                return records  # type: ignore[no-any-return]
        except ValueError:
            pass
        return [self._record(line, number) for number, line in enumerate(lines, first)]

    def _check_users(self, records: Sequence[dict[str, Any]], first: int) -> None:
        users = [record.get(self._user_column) for record in records]
        if {*map(type, users)} <= {str, type(None)}:
            return
        for number, user in enumerate(users, first):
            if not isinstance(user, str) and user is not None:
                raise click.ClickException(
                    f"{self.name}: row {number}, column {self._user_column!r}: a user must be a "
                    f"string, got {json.dumps(user)[:40]}; a number may have lost leading zeros: write "
                    "users in quotation marks"
                )

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError as error:
            raise click.ClickException(
                f"{self.name}: row {number} is not JSON ({error}); the file was cut short, or is not NDJSON"
            ) from None
        if not isinstance(record, dict):
            raise click.ClickException(f"{self.name}: row {number} must be an object, got {line[:40]!r}")
        return record
