"""The rows of a large JSON body, as arrays that another process made of it.

They give what `JsonPayload` gives for the same body, errors included. A million Python objects would take
the interpreter when they are made, visited by a collection and freed, and the event loop waits for that.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
import orjson

from tenantry import Model
from tenantry.model import Rows
from tenantry_server.rows import json_payload
from tenantry_server.rows.json_payload import JsonPayload
from tenantry_server.rows.payload import Payload, check_count, check_finite, check_same

if TYPE_CHECKING:
    import pandas as pd

FLOAT, INTEGER, MISSING, FALSE, TRUE = range(5)
"""What a number was in the body."""

_OF_KIND: dict[int, Callable[[float], Any]] = {
    INTEGER: int,
    MISSING: lambda _: None,
    FALSE: bool,
    TRUE: bool,
}
_AT_ONCE = 4096  # values: their objects take half a millisecond to make


@dataclass(frozen=True, slots=True)
class Cells:
    """The values of rows that are equally long, in the order of the body.

    Attributes:
        rows: how many.
        width: values of each.
        numbers: float64, shape (rows, width), NaN where one is missing; None: they are not all numbers.
        kinds: uint8, shape (rows, width): what each number was; None: all were floats.
        pieces: JSON lists of rows, each a list of values, where they are not all numbers.
        piece_rows: rows of each piece; the last one may have fewer.
    """

    rows: int
    width: int
    numbers: npt.NDArray[np.float64] | None = None
    kinds: npt.NDArray[np.uint8] | None = None
    pieces: Sequence[memoryview] = ()
    piece_rows: int = 1

    def listed(self, first: int, end: int) -> Iterator[list[Any]]:
        """Iterate over some rows as lists of the body's values."""
        if self.numbers is None:
            at = first // self.piece_rows * self.piece_rows
            while at < end:
                rows = orjson.loads(self.pieces[at // self.piece_rows])
                yield from rows[max(0, first - at) : end - at]
                at += self.piece_rows
            return
        at_once = max(1, _AT_ONCE // max(1, self.width))
        for at in range(first, end, at_once):
            until = min(end, at + at_once)
            rows = self.numbers[at:until].tolist()
            if self.kinds is not None:
                kinds = self.kinds[at:until]
                for row, column in zip(*(each.tolist() for each in kinds.nonzero()), strict=True):
                    rows[row][column] = _OF_KIND[int(kinds[row, column])](rows[row][column])
            yield from rows


@dataclass(frozen=True, slots=True)
class Odd:
    """The first row that is not like row 0.

    Attributes:
        row: its number.
        keys: of a record that has others.
        length: of a list that is longer or shorter.
    """

    row: int
    keys: Sequence[str] = ()
    length: int = 0


class Grid(Payload):
    """A large JSON body that was not checked against a model yet.

    Args:
        body: that the rest was read from.
        records: as `JsonPayload` has it.
        names: the keys of the first record, or the names of the lists' entries; None: they have none.
        bare: as `JsonPayload` has it.
        cells: the values.
        odd: makes the values useless, so that there are none.
    """

    __slots__ = ("_body", "_cells", "_names", "_odd", "bare", "records")
    large = True

    def __init__(
        self,
        body: bytes,
        cells: Cells,
        *,
        records: bool,
        names: Sequence[str] | None,
        bare: bool,
        odd: Odd | None = None,
    ) -> None:
        self._body = body
        self._cells = cells
        self._names = names
        self._odd = odd
        self.records = records
        self.bare = bare

    def __len__(self) -> int:
        return self._cells.rows

    def __reduce__(self) -> tuple[Any, ...]:
        return json_payload.parse, (self._body,)  # which is shorter, and made no objects here

    def matrix(self, model: Model) -> Rows:
        """As `Payload.matrix`."""
        if self._is_too_odd(model):
            return self._plain().matrix(model)
        names, order = self._order(model)
        cells = self._cells
        if cells.numbers is None:
            matrix = self._read(order, names)
        elif order == list(range(cells.width)):
            matrix = cells.numbers
        else:
            matrix = cells.numbers.take(order, axis=1)
        check_finite(matrix, names, model)
        return matrix

    def frame(self, model: Model) -> "pd.DataFrame":
        """As `Payload.frame`."""
        return self._plain().frame(model)

    def values(self, model: Model) -> Sequence[Sequence[Any]]:
        """As `Payload.values`; rows are made as they are read."""
        if self._is_too_odd(model):
            return self._plain().values(model)
        return _Values(self._cells, self._order(model)[1])

    def _plain(self) -> JsonPayload:
        return json_payload.parse(self._body)

    def _is_too_odd(self, model: Model) -> bool:
        """Return whether rows that differ may all be right: the model leaves out what it does not take."""
        return self._odd is not None and self.records and model.ignores_extra

    def _order(self, model: Model) -> tuple[Sequence[str] | None, list[int]]:
        """Return the names of the columns that the model takes, and where the body has each of them.

        Raises:
            FeatureMismatch: as `JsonPayload` says it, of row 0 or of the first row that differs.
        """
        places = list(range(self._cells.width))
        row = self._first(places) if self.records else places
        names, (order,) = JsonPayload(
            self.records, None if self.records else self._names, [row], self.bare
        ).in_order(model)
        odd = self._odd
        if odd is not None and self.records:
            check_same(odd.keys, names or (), f"row {odd.row}: ")
        elif odd is not None:
            check_count(odd.length, model, odd.row)
            json_payload.refuse_length(odd.row, odd.length, self._cells.width)
        return names, list(order)

    def _first(self, places: Sequence[int]) -> dict[str, int]:
        """Return where each name of a record is; many of them in steps, which others may come between."""
        row: dict[str, int] = {}
        names = self._names or ()
        for at in range(0, len(names), _AT_ONCE):
            row |= zip(names[at : at + _AT_ONCE], places[at : at + _AT_ONCE], strict=True)
        return row

    def _read(self, order: Sequence[int], names: Sequence[str] | None) -> Rows:
        """Return values that are not all numbers as numbers, or refuse the first that is not one."""
        cells, flat = self._cells, array("d")
        for first in range(0, cells.rows, cells.piece_rows):
            rows = cells.listed(first, min(cells.rows, first + cells.piece_rows))
            lists = [[row[place] for place in order] for row in rows]
            try:
                flat += array("d", chain.from_iterable(lists))
            except (TypeError, OverflowError):
                flat += json_payload.numbers(lists, names, first)
        return np.array(flat).reshape(cells.rows, len(order))


class _Values(Sequence[list[Any]]):
    """Rows as lists in the model's order, each made when it is read."""

    def __init__(self, cells: Cells, order: Sequence[int], first: int = 0, end: int | None = None) -> None:
        self._cells = cells
        self._order = order
        self._first = first
        self._end = cells.rows if end is None else end

    def __len__(self) -> int:
        return self._end - self._first

    def __iter__(self) -> Iterator[list[Any]]:
        order = self._order
        for row in self._cells.listed(self._first, self._end):
            yield [row[place] for place in order]

    @overload
    def __getitem__(self, at: int) -> list[Any]: ...
    @overload
    def __getitem__(self, at: slice) -> "_Values": ...
    def __getitem__(self, at: int | slice) -> "list[Any] | _Values":
        picked = range(self._first, self._end)[at]
        if isinstance(picked, range):
            if picked.step != 1:
                raise ValueError("rows are read in their order")
            return _Values(self._cells, self._order, picked.start, max(picked.start, picked.stop))
        (row,) = _Values(self._cells, self._order, picked, picked + 1)
        return row
