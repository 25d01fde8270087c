"""Columns of texts and codes at run time: a value becomes a few numbers, which an inner kernel scores.

The numbers were computed by the original's own encoders, once for each value that they know, so that they
are the same to the last bit. Measured for one row of three text columns of ten values and three numbers:
2.5 us, beside the inner kernel.
"""

import math
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from sys import getsizeof
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tenantry.errors import FeatureMismatch
from tenantry.model import Predictions, Rows
from tenantry_server.kernels.base import Compiled, Head
from tenantry_server.rows.payload import cell, check_finite, shown

if TYPE_CHECKING:
    import pandas as pd

Entries: TypeAlias = tuple[tuple[int, float], ...]
"""Places in the row of numbers, and what stands there; every other place of the column holds 0."""

Values: TypeAlias = Sequence[Sequence[Any]]
"""Rows as they are in a request: texts, numbers, None; columns in the model's order."""

_FLOAT64 = np.dtype(np.float64)
_WHOLE = 2**63
_CELLS_AT_ONCE = 1 << 20  # 8 MiB: a few bytes of a body can be a thousand numbers here
_TEXT, _NUMBER, _INTEGER, _BOOLEAN, _ANY = "text", "number", "integer", "boolean", "any"
KINDS = frozenset({_TEXT, _NUMBER, _INTEGER, _BOOLEAN, _ANY})
"""What the values of a column may be; `any`: a number, or a text that reads as one."""


class Codec:
    """What one column of texts or codes becomes.

    Args:
        column: its position in the model's order.
        text: whether its values are texts; else numbers.
        known: for each value that the encoder knows.
        missing: for a missing value; None: it is refused.
        unknown: for every other value; None: it is refused.
        edges: between bins, ascending: a number at an edge is in the bin above it.
        bins: one more than edges; none: values are looked up as they are.
    """

    __slots__ = ("bins", "column", "edges", "known", "missing", "text", "unknown")

    def __init__(
        self,
        column: int,
        *,
        text: bool,
        known: Mapping[Any, Entries],
        missing: Entries | None,
        unknown: Entries | None,
        edges: tuple[float, ...] = (),
        bins: tuple[Entries, ...] = (),
    ) -> None:
        self.column = column
        self.text = text
        self.known = dict(known)
        self.missing = missing
        self.unknown = unknown
        self.edges = edges
        self.bins = bins

    def seldom(self, value: Any, row: int, names: Sequence[str]) -> Entries:
        """Return what a value becomes that is not among the known ones, or is a number to be put in a bin.

        Raises:
            FeatureMismatch: it has another type.
            ValueError: it is missing or unknown where the original refuses that.
        """
        if value is None or value != value:  # noqa: PLR0124 - NaN
            if self.missing is None:
                where = cell(row, self.column, names)
                raise ValueError(f"{where} is missing, and the model takes no missing values there")
            return self.missing
        if isinstance(value, str) is not self.text or not isinstance(value, str | bool | int | float):
            wanted = "a text" if self.text else "a number"
            raise FeatureMismatch(f"{cell(row, self.column, names)} must be {wanted}, got {shown(value)}")
        if not isinstance(value, str) and math.isinf(value):
            raise ValueError(f"{cell(row, self.column, names)} is infinite")
        if self.bins:
            return self.bins[bisect_right(self.edges, value)]
        if self.unknown is None:
            raise ValueError(
                f"{cell(row, self.column, names)} is {shown(value)}, which is not one of the "
                f"{len(self.known)} values that the model was fitted with"
            )
        return self.unknown

    def own_bytes(self) -> int:
        """Return the bytes in memory; each value and each of its numbers is counted, shared or not."""
        entries = [*self.known.values(), *self.bins, self.missing or (), self.unknown or ()]
        return (
            getsizeof(self)
            + getsizeof(self.known)
            + sum(map(getsizeof, self.known))
            + sum(getsizeof(each) + len(each) * _PAIR_BYTES for each in entries)
            + sum(map(getsizeof, (self.bins, self.edges, *self.edges)))
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _codec, tuple(getattr(self, slot) for slot in self.__slots__)


_PAIR_BYTES = getsizeof((0, 0.0)) + getsizeof(0.0) + getsizeof(1 << 20)


class Encoded(Compiled):
    """Reads numbers, texts and codes into one row of numbers, which an inner kernel scores.

    Args:
        head: all columns of the original.
        kinds: of each column; one of `KINDS`.
        numbers: the columns that stay numbers; they take the first places of the row.
        codecs: of the columns that do not. A column may have several. One that has none and does not stay
            is not used: only the type of its values is checked.
        base: a row before any column is read into it, shape (width,).
        inner: takes the row of numbers.
    """

    __slots__ = ("base", "checked", "codecs", "inner", "kinds", "numbers")

    numeric = False

    def __init__(
        self,
        head: Head,
        kinds: tuple[str, ...],
        numbers: tuple[int, ...],
        codecs: tuple[Codec, ...],
        base: npt.NDArray[np.float64],
        inner: Compiled,
    ) -> None:
        super().__init__(head)
        self.kinds = kinds
        self.numbers = numbers
        self.codecs = codecs
        self.base = array("d", base.tobytes())
        self.inner = inner
        coded = {codec.column for codec in codecs}
        self.checked = tuple(
            column
            for column, kind in enumerate(kinds)
            if kind == _BOOLEAN
            or (kind == _INTEGER and column not in numbers)
            or (kind in (_TEXT, _NUMBER) and column not in numbers and column not in coded)
        )

    @property
    def row_bytes(self) -> int:
        """As `Compiled.row_bytes`."""
        return self.inner.row_bytes

    def predict_values(self, rows: Values) -> Predictions:
        """Score rows of values.

        Raises:
            FeatureMismatch: a value has another type than its column.
            ValueError: a value is missing, unknown or too large where the original refuses it too.
        """
        if not rows:
            raise ValueError("there are no rows")
        at_once = max(1, _CELLS_AT_ONCE // max(1, len(self.base)))
        if len(rows) <= at_once:
            return self.inner.predict_rows(self.matrix(rows))
        pieces = []
        for first in range(0, len(rows), at_once):
            try:
                pieces.append(self.inner.predict_rows(self.matrix(rows[first : first + at_once])))
            except (ValueError, FeatureMismatch) as error:
                if not first:
                    raise
                raise FeatureMismatch(f"{error} (counted from row {first} on)") from error
        return np.concatenate(pieces)

    def predict(self, data: "pd.DataFrame") -> Predictions:
        """Score a DataFrame that has the columns of the original."""
        if self.feature_names is not None:
            data = data[list(self.feature_names)]
        given = data.astype(object)
        rows: list[list[Any]] = given.where(given.notna(), None).to_numpy().tolist()
        return self.predict_values(rows)

    def matrix(self, rows: Values) -> Rows:
        """Return what the inner kernel scores, shape (rows, width).

        Raises:
            FeatureMismatch, ValueError: as `predict_values`.
        """
        width = len(self.base)
        flat = self.base * len(rows)
        first = 0
        for number, row in enumerate(rows):
            if self.checked:
                self._check(self.checked, row, number)
            place = first
            try:
                for column in self.numbers:
                    flat[place] = row[column]
                    place += 1
            except (TypeError, OverflowError):
                self._read_slowly(row, number, flat, first)
            for codec in self.codecs:
                value = row[codec.column]
                try:
                    entries = codec.known[value]
                except (KeyError, TypeError):
                    entries = codec.seldom(value, number, self._names)
                for at, amount in entries:
                    flat[first + at] = amount
            first += width
        matrix: Rows = np.ndarray((len(rows), width), _FLOAT64, flat)
        count = len(self.numbers)
        alone = len(rows) == 1
        if not (
            math.hypot(*flat[:count]) < _WHOLE if alone else (np.abs(matrix[:, :count]) < _WHOLE).all()
        ):
            for number, row in enumerate(rows):
                self._check(self.numbers, row, number)
            check_finite(matrix[:, :count], [self._names[each] for each in self.numbers], self.inner)
        return matrix

    def own_bytes(self) -> int:
        """As `Compiled.own_bytes`, the tables of its codecs counted in."""
        return super().own_bytes() + sum(codec.own_bytes() for codec in self.codecs)

    @property
    def _names(self) -> Sequence[str]:
        return (
            [str(each) for each in range(self.feature_count)]
            if self.feature_names is None
            else (self.feature_names)
        )

    def _check(self, columns: Sequence[int], row: Sequence[Any], number: int) -> None:
        """Refuse values of another type, where reading them would not."""
        for column in columns:
            value, kind = row[column], self.kinds[column]
            if value is None or value != value:  # noqa: PLR0124 - NaN
                continue
            problem = _problem(value, kind)
            if problem:
                raise FeatureMismatch(
                    f"{cell(number, column, self._names)} must be {problem}, got {shown(value)}"
                )

    def _read_slowly(self, row: Sequence[Any], number: int, flat: "array[float]", first: int) -> None:
        for place, column in enumerate(self.numbers, first):
            value = row[column]
            read = math.nan if value is None else value
            try:
                flat[place] = float(read) if self.kinds[column] == _ANY else read
            except (TypeError, ValueError):
                raise FeatureMismatch(
                    f"{cell(number, column, self._names)} must be a number, got {shown(value)}"
                ) from None
            except OverflowError:
                raise FeatureMismatch(
                    f"{cell(number, column, self._names)} is too large for a float64"
                ) from None


def _problem(value: Any, kind: str) -> str:
    """Return what a value ought to be; empty: it is."""
    if kind == _ANY:
        return ""
    if kind == _TEXT:
        return "" if isinstance(value, str) else "a text"
    if not isinstance(value, bool | int | float):
        return {_BOOLEAN: "true or false", _INTEGER: "a whole number"}.get(kind, "a number")
    if kind == _BOOLEAN and value not in (0, 1):
        return "true or false"
    if kind == _INTEGER and abs(value) >= _WHOLE and math.isfinite(value) and value != -_WHOLE:
        return f"a whole number from {-_WHOLE} to {_WHOLE - 1}"
    return ""


def _codec(*given: Any) -> Codec:
    return Codec(**dict(zip(Codec.__slots__, given, strict=True)))
