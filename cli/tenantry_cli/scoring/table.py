"""What a table to read is, and which formats there are: their names, and the libraries that they need."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from tenantry.client.errors import RequestRefused
from tenantry.scoring.arrow_rows import ArrowRows
from tenantry_cli.scoring.places import Place

if TYPE_CHECKING:
    import pandas as pd

PARQUET, CSV, LINES = (".parquet", ".pq"), (".csv",), (".ndjson", ".jsonl")
KNOWN = (*PARQUET, *CSV, *LINES)


Rows: TypeAlias = "pd.DataFrame | ArrowRows"
"""Some rows of a table; Arrow's own form where they were read as such."""


class Table(ABC):
    """A table to read.

    Attributes:
        name: for messages.
        rows: how many it has; None: not known before it was read.
    """

    name: str
    rows: int | None = None

    @abstractmethod
    def pieces(self, skip: int, rows: int) -> Iterator[Rows]:
        """Yield the rows after the first `skip`, at most `rows` at a time.

        Raises:
            click.ClickException: the table is damaged; names the row where it can.
            OSError: it can't be read.
        """


def check_suffix(place: Place) -> None:
    """Refuse a name whose suffix says no format.

    Raises:
        click.ClickException: names those that are known.
    """
    if place.suffix not in KNOWN:
        raise click.ClickException(
            f"{place.name}: the suffix {place.suffix!r} names no format; known are {', '.join(KNOWN)}"
        )
    if place.suffix in PARQUET:
        pyarrow(place.name)


def pyarrow(name: str) -> Any:
    """Import pyarrow, and choose the allocator that gives memory back.

    Over four million rows, mimalloc's process grew from 226 to 300 MiB with 30 in use; jemalloc's stayed,
    and is 10 MiB smaller where it gives memory back at once, for no more CPU.

    Raises:
        click.ClickException: it is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra; CSV and NDJSON need no library
        import pyarrow.parquet  # noqa: PLC0415 - as above
    except ModuleNotFoundError:
        raise click.ClickException(
            f"{name}: Parquet needs pyarrow: pip install 'tenantry[arrow]'; .csv and .ndjson don't"
        ) from None
    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())
        pa.jemalloc_set_decay_ms(0)
    return pa


class in_words:  # noqa: N801 - read as a word: with in_words(name)
    """Names the table in what `tenantry.scoring` refuses."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, RequestRefused) and error.status is None:
            hint = "" if "--user-column" in str(error) else "; --user-column names another one"
            if "to name the user" not in str(error):
                hint = ""
            raise click.ClickException(f"{self._name}: {error}{hint}") from None
