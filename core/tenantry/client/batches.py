"""Rows of many users: one request for each server that holds some of them, and the answers in order.

Owns which rows go together, their bodies and what came of each row. Sends nothing; the clients do.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tenantry.client import answers, questions
from tenantry.client.answers import Reply
from tenantry.client.errors import ClientError
from tenantry.client.questions import Question

_ROWS = 10_000  # of one request; servers take 100,000, and 8 MiB
_ARROW = "application/vnd.apache.arrow.stream"
_NUMBER = re.compile(r"\Arow \d+\b")


@dataclass(frozen=True, slots=True)
class BatchPredictions:
    """What came of rows of many users, in their order; iterable, and indexed as a list.

    Attributes:
        values: for each row its prediction, as `Predictions.values` has it, or the ClientError that it has
            instead.
    """

    values: list[Any]

    @property
    def errors(self) -> Mapping[int, ClientError]:
        """The rows without a prediction, and why."""
        return {row: value for row, value in enumerate(self.values) if isinstance(value, ClientError)}

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> Any:
        return self.values[row]


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the rows, in one request.

    Attributes:
        rows: their numbers.
        question: the request.
    """

    rows: Sequence[int]
    question: Question

    @property
    def is_arrow(self) -> bool:
        """Whether it, and its answer, are Arrow streams."""
        return "Content-Type" in self.question.headers


class Batch:
    """Rows on their way.

    Args:
        rows: as `Client.predict_many` takes them.
        holder_of: from a user to the server that is asked first.

    Raises:
        RequestRefused: they are not rows that can be sent, or no column has the name of the user's.
    """

    def __init__(
        self, rows: Any, user_column: str, holder_of: Callable[[str], str], *, fresh: bool
    ) -> None:
        self._frame = rows if hasattr(rows, "columns") and hasattr(rows, "iloc") else None
        self._records: list[Any] | None = None
        self._column = user_column
        self._asked = {"Tenantry-Fresh": "required"} if fresh else {}
        users = self._users(rows)
        self._values: list[Any] = [None] * len(users)
        self._ids = users
        groups: dict[str, list[int]] = {}
        for row, user in enumerate(users):
            groups.setdefault(holder_of(user), []).append(row)
        self.parts = [
            self._part(numbers[first : first + _ROWS])
            for numbers in groups.values()
            for first in range(0, len(numbers), _ROWS)
        ]

    def answered(self, part: Part, given: Reply | ClientError) -> Iterable[Part]:
        """Keep the answer to a part, or why it has none; return what is to be asked instead of it."""
        if isinstance(given, ClientError):
            if given.status == 415 and part.is_arrow:
                return [self._part(part.rows, arrow=False)]
            if given.status == 413 and len(part.rows) > 1:
                middle = len(part.rows) // 2
                return [self._part(part.rows[:middle]), self._part(part.rows[middle:])]
            self._fill(part, [given] * len(part.rows))
            return []
        try:
            values = _of_arrow(part, given) if part.is_arrow else _of_json(part, given)
        except (ValueError, KeyError, TypeError, IndexError):
            values = []
        if len(values) != len(part.rows):
            values = [given.odd(f"does not answer {len(part.rows)} rows")] * len(part.rows)
        self._fill(part, values)
        return []

    def predictions(self) -> BatchPredictions:
        """Return what came of all rows."""
        return BatchPredictions(self._values)

    def _fill(self, part: Part, values: Sequence[Any]) -> None:
        for row, value in zip(part.rows, values, strict=True):
            self._values[row] = value

    def _users(self, rows: Any) -> list[str]:
        if self._frame is not None:
            names = [str(name) for name in rows.columns]
            if self._column not in names:
                raise questions.refused(
                    f"no column {self._column!r}, which names the user; the rows have "
                    f"{', '.join(map(repr, names[:10])) or 'no columns'}: name it with user_column="
                )
            return list(map(str, rows.iloc[:, names.index(self._column)].tolist()))
        if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
            raise questions.refused(
                f"rows of many users must be a DataFrame or a list of records, got {type(rows).__name__}"
            )
        self._records = list(rows)
        return [str(row.get(self._column)) for row in rows]

    def _part(self, rows: Sequence[int], *, arrow: bool = True) -> Part:
        path = f"/predict?user_column={quote(self._column, safe='')}"
        user_id = self._ids[rows[0]]
        stream = _stream(self._frame, rows) if arrow and self._frame is not None else None
        if stream is not None:
            headers = {"Content-Type": _ARROW, "Accept": _ARROW, **self._asked}
            return Part(rows, Question(user_id, path, stream, headers))
        if self._records is None:
            self._records = questions.records(self._frame)
        document = {"numbers": list(rows), "rows": [self._records[row] for row in rows]}
        return Part(rows, Question(user_id, path, questions.written(document), self._asked))


def _stream(frame: Any, rows: Sequence[int]) -> bytes | None:
    """Return rows as an Arrow stream; None: without pyarrow, or where a column has no type of Arrow's."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        import pyarrow.ipc  # noqa: PLC0415 - as above
    except ImportError:
        return None
    try:
        table = pa.Table.from_pandas(frame.iloc[list(rows)], preserve_index=False)
        table = table.replace_schema_metadata(None)
        for place, field in enumerate(table.schema):
            if pa.types.is_dictionary(field.type):  # a category is what its text or number is
                plain = table.column(place).cast(field.type.value_type)
                table = table.set_column(place, field.name, plain)
    except (pa.ArrowException, ValueError, TypeError):
        return None
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _of_json(part: Part, reply: Reply) -> list[Any]:
    document = json.loads(reply.body)
    values: list[Any] = list(document["predictions"])
    place_of = {row: place for place, row in enumerate(part.rows)}
    for each in document["errors"]:
        values[place_of[each["row"]]] = answers.error_of(
            int(each["status"]), str(each["reason"]), str(each["message"]), server=reply.server
        )
    return values


def _of_arrow(part: Part, reply: Reply) -> list[Any]:
    import pyarrow as pa  # noqa: PLC0415 - as it wrote the request
    import pyarrow.ipc  # noqa: PLC0415 - as above

    try:
        table = pa.ipc.open_stream(reply.body).read_all()
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None
    values: list[Any] = table["prediction"].to_pylist()
    columns = (table[name].to_pylist() for name in ("error", "reason", "status"))
    for place, (message, reason, status) in enumerate(zip(*columns, strict=True)):
        if status != 200:
            words = _NUMBER.sub(f"row {part.rows[place]}", str(message))  # it counts within the request
            values[place] = answers.error_of(int(status), str(reason), words, server=reply.server)
    return values
