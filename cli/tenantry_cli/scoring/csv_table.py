"""CSV: texts, of which whole columns are read as numbers or booleans."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from tenantry.scoring import frames
from tenantry_cli.scoring.places import Place
from tenantry_cli.scoring.table import Table, in_words

if TYPE_CHECKING:
    import pandas as pd

# What pandas.read_csv takes as missing: a model was probably fitted on what it read.
_MISSING = frozenset(
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
        *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
_TRUTH = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
_INTEGER, _NUMBER, _BOOLEAN, _TEXT = "Int64", "float64", "boolean", "object"
_LONGEST_CELL = 16 << 20  # characters


class CsvTable(Table):
    """Read twice: once for the type of each column, which no later row may change, and once for the rows.

    A column is of whole numbers, numbers or booleans where each of its cells is one or missing, and of
    texts otherwise; also where a whole number begins with a zero.
    """

    def __init__(
        self, place: Place, user_column: str, columns: Sequence[str] | None, texts: Sequence[str]
    ) -> None:
        self.name = place.name
        self._place = place
        self._user_column = user_column
        with self._rows() as (header, _):
            self._header = header
        with in_words(place.name):
            frames.check_names(header, user_column, (*(columns or ()), *texts))
        for at, name in enumerate(header):
            if name in header[:at]:
                raise click.ClickException(f"{place.name}: two columns have the name {name!r}; rename one")
        self._kinds, self.rows = self._read_kinds({user_column, *texts})
        if not self.rows:
            raise click.ClickException(f"{place.name} has no rows, only a header")

    def _rows(self) -> "_CsvRows":
        return _CsvRows(self._place)

    def _read_kinds(self, texts: set[str]) -> tuple[list[str], int]:
        kinds: list[set[str]] = [set() for _ in self._header]
        count = 0
        with self._rows() as (_, rows):
            while some := list(islice(rows, 10_000)):
                count += len(some)
                for seen, name, cells in zip(kinds, self._header, zip(*some, strict=True), strict=True):
                    if name not in texts and _TEXT not in seen:
                        seen.update(_kinds_of(set(cells)))
        return [
            _TEXT if name in texts else _common(seen)
            for name, seen in zip(self._header, kinds, strict=True)
        ], count

    def pieces(self, skip: int, rows: int) -> Iterator["pd.DataFrame"]:
        """As `Table`."""
        import pandas as pd  # noqa: PLC0415 - as above

        with self._rows() as (header, read):
            for _ in islice(read, skip):
                pass
            while some := list(islice(read, rows)):
                columns = zip(header, self._kinds, zip(*some, strict=True), strict=True)
                yield pd.DataFrame(
                    {
                        name: pd.Series(_values(cells, kind, is_user=name == self._user_column), dtype=kind)
                        for name, kind, cells in columns
                    }
                )


class _CsvRows:
    """A CSV file while it is read: its header, and an iterator over its rows, each of that length."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __enter__(self) -> tuple[list[str], Iterator[list[str]]]:
        csv.field_size_limit(_LONGEST_CELL)
        self._file = io.TextIOWrapper(self._place.opened(), encoding="utf-8-sig", newline="")
        reader = csv.reader(self._file, strict=True)
        try:
            header = next(reader, None)
        except (csv.Error, UnicodeDecodeError) as error:
            self._file.close()
            raise click.ClickException(f"{self._place.name}: the header can't be read: {error}") from None
        if not header:
            self._file.close()
            raise click.ClickException(f"{self._place.name} is empty; a table begins with a header")
        return header, self._whole(reader, len(header))

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _whole(self, reader: Iterator[list[str]], width: int) -> Iterator[list[str]]:
        number = 0
        try:
            for row in reader:
                if len(row) != width:
                    if not row:
                        continue  # an empty line
                    raise click.ClickException(
                        f"{self._place.name}: row {number} has {len(row)} values, the header {width} names"
                        "; the file was cut short, or a value with a comma lacks its quotation marks"
                    )
                yield row
                number += 1
        except (csv.Error, UnicodeDecodeError) as error:
            raise click.ClickException(f"{self._place.name}: row {number}: {error}") from None


def _kinds_of(cells: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for cell in cells:
        if cell in _MISSING:
            continue
        found.add(_kind_of(cell))
        if _TEXT in found:
            break
    return found


def _kind_of(cell: str) -> str:
    if cell in _TRUTH:
        return _BOOLEAN
    if "_" in cell or not cell.isascii():  # Python's own notation, and digits of other scripts
        return _TEXT
    digits = cell.strip().lstrip("+-")
    if digits.isdigit():
        if len(digits) > 1 and digits[0] == "0":
            return _TEXT
        return _INTEGER if len(digits) < 19 else _TEXT
    try:
        float(cell)
    except ValueError:
        return _TEXT
    return _NUMBER


def _common(kinds: set[str]) -> str:
    if kinds <= {_INTEGER, _NUMBER}:
        return _INTEGER if kinds == {_INTEGER} else _NUMBER
    return _BOOLEAN if kinds == {_BOOLEAN} else _TEXT


def _values(cells: Iterable[str], kind: str, *, is_user: bool) -> list[Any]:
    if is_user:
        return [cell or None for cell in cells]
    if kind == _NUMBER:
        return [None if cell in _MISSING else float(cell) for cell in cells]
    if kind == _INTEGER:
        return [None if cell in _MISSING else int(cell) for cell in cells]
    if kind == _BOOLEAN:
        return [_TRUTH.get(cell) for cell in cells]
    return [None if cell in _MISSING else cell for cell in cells]
