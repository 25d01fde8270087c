"""Rows of many users in columns, as a table brings them."""

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson

from tenantry.errors import FeatureMismatch, InvalidRequest
from tenantry.model import Rows
from tenantry_server.rows.batch import Batch, no_user
from tenantry_server.rows.payload import cell

Column: TypeAlias = "npt.NDArray[Any] | list[Any]"
"""Numbers or truth values as an array, NaN where one is missing; anything else as JSON has it."""


def columns_of(
    described: Sequence[Mapping[str, Any]], arrays: Sequence[npt.NDArray[Any]]
) -> dict[str, Column]:
    """Return columns by name, from a worker's description of them and the bytes that it sent."""
    columns: dict[str, Column] = {}
    following = iter(arrays)
    for each in described:
        parts = [next(following) for _ in range(int(each["parts"]))]
        if each["json"]:
            columns[str(each["name"])] = [value for part in parts for value in orjson.loads(part.tobytes())]
        else:
            columns[str(each["name"])] = parts[0]
    return columns


def check_user_column(columns: Mapping[str, str], user_column: str) -> None:
    """Refuse a table whose users can't be read.

    Args:
        columns: the type of each column, as Arrow names it.

    Raises:
        InvalidRequest: the column that names them is missing, or is not text.
    """
    if user_column not in columns:
        seen = ", ".join(repr(name[:40]) for name in islice(columns, 20)) or "no columns"
        raise InvalidRequest(
            f"column {user_column!r} is missing, which names the user; the table has {seen}: "
            "name another one with ?user_column="
        )
    if columns[user_column] not in _TEXTS:
        raise InvalidRequest(
            f"column {user_column!r} is {columns[user_column]}, and must be text, as it names the user; a "
            "number may have lost leading zeros: write the column as a string"
        )


_TEXTS = frozenset({"string", "large_string", "string_view", "null"})


class TableBatch(Batch):
    """Rows in columns.

    Args:
        columns: of equal length.
        rows: how many.
        user_column: one of them.
    """

    def __init__(self, columns: Mapping[str, Column], rows: int, user_column: str) -> None:
        if any(len(column) != rows for column in columns.values()):
            raise InvalidRequest("the columns differ in length")
        self.user_column = user_column
        self._columns = {name: column for name, column in columns.items() if name != user_column}
        users: Column = columns[user_column]
        self.users = list(users)
        self.problems: dict[int, InvalidRequest] = {}
        if {*map(type, self.users)} - {str}:
            for row, user in enumerate(self.users):
                if not isinstance(user, str):
                    self.users[row] = None
                    self.problems[row] = no_user(row, user_column, user, there=True)
        self._refuse_infinite()

    def _refuse_infinite(self) -> None:
        """Refuse infinities, as every model does: JSON has no form in which to pass them on."""
        for name, column in self._columns.items():
            if isinstance(column, np.ndarray) and column.dtype.kind == "f":
                for row in np.flatnonzero(np.isinf(column)).tolist():
                    self.problems.setdefault(row, FeatureMismatch(f"{cell(row, 0, [name])} is infinite"))

    def records(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """As `Batch.records`; NaN is None."""
        taken: dict[str, Sequence[Any]] = {self.user_column: [self.users[row] for row in rows]}
        for name, column in self._columns.items():
            if isinstance(column, np.ndarray):
                values = column[list(rows)].tolist()
                if column.dtype.kind == "f":
                    values = [None if math.isnan(value) else value for value in values]
                taken[name] = values
            else:
                taken[name] = [column[row] for row in rows]
        return [dict(zip(taken, values, strict=True)) for values in zip(*taken.values(), strict=True)]

    def matrix(self, rows: Sequence[int], names: Sequence[str], *, extra: bool) -> tuple[Rows, list[int]]:
        """As `Batch.matrix`."""
        matrix = np.zeros((len(rows), len(names)))
        everything = list(range(len(rows)))
        if not extra and len(self._columns) != len(names):
            return matrix, everything
        picked = np.array(rows, np.intp)
        at: Any = picked
        if len(rows) > 1 and bool(np.all(picked[1:] - picked[:-1] == 1)):
            at = slice(rows[0], rows[-1] + 1)
        for place, name in enumerate(names):
            column = self._columns.get(name)
            if not isinstance(column, np.ndarray):
                return matrix, everything
            matrix[:, place] = column[at]
        return matrix, []
