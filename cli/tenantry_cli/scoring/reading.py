"""Opens a table to read: Parquet, CSV or NDJSON, as its name says.

A file that is not whole is an error before or while it is read, and never a shorter table.
"""

from collections.abc import Sequence

import click

from tenantry_cli.scoring.csv_table import CsvTable
from tenantry_cli.scoring.lines_table import LinesTable
from tenantry_cli.scoring.parquet_table import ParquetTable
from tenantry_cli.scoring.places import Place
from tenantry_cli.scoring.table import CSV, PARQUET, Table, check_suffix


def table(
    place: Place, user_column: str, columns: Sequence[str] | None, *, texts: Sequence[str] = ()
) -> Table:
    """Open a table, and refuse one that can't be scored as far as that shows.

    Args:
        texts: columns of a CSV file that are texts, whatever stands in them.

    Raises:
        click.ClickException: it is empty, damaged, of another format, or lacks a column.
        OSError: it can't be read.
    """
    check_suffix(place)
    if texts and place.suffix not in CSV:
        raise click.ClickException(
            f"{place.name}: --text-column is for .csv files; other formats store the types of columns"
        )
    if place.suffix in PARQUET:
        return ParquetTable(place, user_column, columns)
    if place.suffix in CSV:
        return CsvTable(place, user_column, columns, texts)
    return LinesTable(place, user_column)
