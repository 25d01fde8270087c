"""Parquet, read in batches of Arrow's own types."""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import click

from tenantry.scoring import arrow_rows, frames
from tenantry.scoring.arrow_rows import ArrowRows
from tenantry_cli.scoring.places import Place
from tenantry_cli.scoring.table import Table, in_words, pyarrow


class ParquetTable(Table):
    """Read in batches of Arrow's own types, which are sent as they are."""

    def __init__(self, place: Place, user_column: str, columns: Sequence[str] | None) -> None:
        self.name = place.name
        self._pa = pyarrow(place.name)
        self._place = place
        with self._damaged(), place.opened() as file:
            parquet = self._opened(file)
            self.rows = parquet.metadata.num_rows
            schema = parquet.schema_arrow
        with in_words(place.name):
            frames.check_names(schema.names, user_column, columns)
            arrow_rows.check_users(schema, user_column)
        if not self.rows:
            raise click.ClickException(f"{place.name} has no rows")

    def _damaged(self) -> "_Damaged":
        return _Damaged(self._pa.ArrowException, self.name)

    def _opened(self, file: BinaryIO) -> Any:
        """Return the file, of which a piece of each column is held, not whole row groups."""
        return self._pa.parquet.ParquetFile(file, buffer_size=self._place.at_once_bytes, pre_buffer=False)

    def pieces(self, skip: int, rows: int) -> Iterator[ArrowRows]:
        """As `Table`."""
        with self._damaged(), self._place.opened() as file:
            parquet = self._opened(file)
            groups, skip = _after(parquet.metadata, skip)
            for batch in parquet.iter_batches(rows, row_groups=groups):
                if skip >= batch.num_rows:
                    skip -= batch.num_rows
                    continue
                rest = batch.slice(skip)
                skip = 0
                yield ArrowRows(self._pa.Table.from_batches([rest]))


class _Damaged:
    """Turns what pyarrow says of a damaged file into the error of the command."""

    def __init__(self, kind: type[Exception], name: str) -> None:
        self._kind = kind
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, self._kind) or (type(error) is OSError and error.errno is None):
            words = str(error).rstrip(".")
            raise click.ClickException(
                f"{self._name} is not a whole Parquet file, it was cut short or is something else "
                f"({words}); write or copy it again"
            ) from None


def _after(metadata: Any, skip: int) -> tuple[list[int], int]:
    """Return the row groups that hold what comes after the first rows, and how many to skip in them."""
    groups = range(metadata.num_row_groups)
    for group in groups:
        count = metadata.row_group(group).num_rows
        if skip < count:
            return list(groups[group:]), skip
        skip -= count
    return [], 0
