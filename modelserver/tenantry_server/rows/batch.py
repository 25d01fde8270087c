"""Rows that each name their user: what a batch is to those who score it, and its form as records.

Refuses to know where bytes come from (`batch_json`, `table_batch`), users and models.
"""

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np

from tenantry.errors import InvalidRequest
from tenantry.model import Rows
from tenantry_server.rows.json_payload import JsonPayload
from tenantry_server.rows.payload import Payload, short, shown

USER_COLUMN = "user_id"
"""What names the user of a row where the request names no other column."""

AT_ONCE = 4096
"""Rows that one step works on: a millisecond or a few, which others wait for."""

IN_MEMORY = 16
"""Times what a body may have that its rows may take in memory: Parquet is compressed."""

_FREED_AT_ONCE = 256  # rows, which may be long
_WIDE = 1024  # columns


class Batch(ABC):
    """Rows of many users.

    Attributes:
        user_column: which column names the user.
        users: of each row; None where it can't be read.
        problems: by row, why that is so.
        shown: the number of each row for messages, where it differs: a server passes on a part of a batch.
        wide: whether one row is long enough to take its time.
        one_by_one: whether each row is a request by itself, and its answer the value of that row.
    """

    user_column: str
    users: Sequence[str | None]
    problems: Mapping[int, InvalidRequest]
    shown: Sequence[int] | None = None
    wide: bool = False
    one_by_one: ClassVar[bool] = False

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.users)

    def answers(self, rows: Sequence[int], predictions: list[Any]) -> Sequence[Any]:  # noqa: ARG002
        """Return the answer of each row of one call, as JSON has it."""
        return predictions

    def calls(self, rows: Sequence[int]) -> Iterator[Sequence[int]]:
        """Iterate over the calls that rows of one user are: one, or one for each row."""
        if self.one_by_one:
            yield from ([row] for row in rows)
        else:
            yield rows

    def free(self) -> None:  # noqa: B027 - rows in columns are not many objects
        """Forget the rows, which nobody needs any more, in steps that hold up nothing else."""

    def number(self, row: int) -> int:
        """Return the number of a row for messages."""
        return row if self.shown is None else self.shown[row]

    @abstractmethod
    def records(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return some rows as JSON has them, with their users."""

    @abstractmethod
    def matrix(self, rows: Sequence[int], names: Sequence[str], *, extra: bool) -> tuple[Rows, list[int]]:
        """Return the values of some columns of some rows.

        Args:
            names: the columns, without that of the user.
            extra: whether rows may have others, which are left out.

        Returns:
            float64, shape (rows, columns); and the places in `rows` of those that have no such values,
            which are zeros.
        """

    def payload(self, rows: Sequence[int]) -> Payload:
        """Return some rows of one user as a request of that user.

        Raises:
            InvalidRequest: they are none; names the row.
        """
        column = self.user_column
        plain = [
            {name: value for name, value in record.items() if name != column}
            for record in self.records(rows)
        ]
        return JsonPayload(records=True, columns=None, rows=plain, bare=True)


class Records(Batch):
    """Rows as JSON has them.

    Args:
        rows: of a body; anything.
        user_column: as `Batch` has it.
        broken: by row, what is wrong with rows that could not be read at all.
        shown: as `Batch` has it.
    """

    def __init__(
        self,
        rows: list[Any],
        user_column: str = USER_COLUMN,
        *,
        broken: Mapping[int, InvalidRequest] | None = None,
        shown: Sequence[int] | None = None,
    ) -> None:
        self.user_column = user_column
        self.shown = shown
        self._rows = rows
        self.problems: dict[int, InvalidRequest] = dict(broken or {})
        self.users = self._read_users()
        self.wide = any(len(row) > _WIDE for row in rows if isinstance(row, dict))

    def _read_users(self) -> Sequence[str | None]:
        users: list[Any] = []
        try:
            user_of = itemgetter(self.user_column)
            for first in range(0, len(self._rows), AT_ONCE):
                users += map(user_of, self._rows[first : first + AT_ONCE])
        except (KeyError, TypeError):
            users = [row.get(self.user_column) if isinstance(row, dict) else None for row in self._rows]
        if all({*map(type, users[at : at + AT_ONCE])} <= {str} for at in range(0, len(users), AT_ONCE)):
            return users
        for row, user in enumerate(users):
            if not isinstance(user, str):
                users[row] = None
                if row not in self.problems:
                    self.problems[row] = self._problem(row)
        return users

    def _problem(self, row: int) -> InvalidRequest:
        given = self._rows[row]
        if not isinstance(given, dict):
            return InvalidRequest(f"row {self.number(row)} must be an object, got {shown(given)}")
        return no_user(
            self.number(row), self.user_column, given.get(self.user_column), self.user_column in given
        )

    def free(self) -> None:
        """As `Batch.free`."""
        while self._rows:
            del self._rows[-_FREED_AT_ONCE:]

    def records(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """As `Batch.records`."""
        return [self._rows[row] for row in rows]

    def matrix(self, rows: Sequence[int], names: Sequence[str], *, extra: bool) -> tuple[Rows, list[int]]:
        """As `Batch.matrix`."""
        records, width = self.records(rows), len(names)
        if self.user_column in names:
            return np.zeros((len(rows), width)), list(range(len(rows)))
        if not width:
            odd = [place for place, record in enumerate(records) if len(record) > 1 and not extra]
            return np.empty((len(rows), 0)), odd
        odd = []
        flat = None
        if extra or {*map(len, records)} == {width + 1}:
            flat = _numbers(records, names)
        if flat is None:
            flat, odd = _slowly(records, names, extra=extra)
        return np.frombuffer(flat, np.float64).reshape(len(rows), width), odd


def _numbers(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bytes | None:
    """Return the numbers of records, row by row; None: one is missing or is something else.

    A dict finds a key quicker that is the very object that it holds, and `struct` reads numbers twice as
    quickly as `array`; unlike NumPy, it takes no text for one.
    """
    held = {name: name for name in records[0]}
    names = [held.get(name, name) for name in names]
    pick = itemgetter(*names) if len(names) > 1 else lambda record: (record[names[0]],)
    try:
        return struct.pack(f"{len(records) * len(names)}d", *chain.from_iterable(map(pick, records)))
    except (KeyError, struct.error):
        return None


def _slowly(
    records: Sequence[Mapping[str, Any]], names: Sequence[str], *, extra: bool
) -> tuple[bytes, list[int]]:
    """Return the numbers of records, and the places of those that have others, which are zeros."""
    flat, odd = bytearray(), []
    for place, record in enumerate(records):
        numbers = None
        if extra or len(record) == len(names) + 1:
            numbers = _numbers([record], names)
        if numbers is None:
            odd.append(place)
            numbers = bytes(8 * len(names))
        flat += numbers
    return bytes(flat), odd


def no_user(number: int, column: str, seen: Any, there: bool) -> InvalidRequest:
    """Return the error of a row that names no user."""
    if not there:
        return InvalidRequest(
            f"row {number}: column {short(column)} is missing, which names the user; name another one with "
            "?user_column="
        )
    is_number = isinstance(seen, int | float) and not isinstance(seen, bool)
    hint = "; as a number, it may have lost leading zeros" if is_number else ""
    where = f"row {number}, column {short(column)}"
    return InvalidRequest(f"{where} must be a text, as it names the user, got {shown(seen)}{hint}")
