"""Rows as an Arrow table, sent and answered as such: no value becomes an object of Python.

What this form has no way for (a server without pyarrow, rows that are asked again, a request in halves)
goes on with the same rows as a DataFrame (`frames`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tenantry.scoring import frames

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_STATUS = "status"
_NUMBER = r"\Arow \d+(?:: |, )"  # as `frames` leaves it out


class ArrowRows:
    """Some rows of a table, or their answers.

    Attributes:
        table: a `pyarrow.Table`; categories are decoded where it is sent.
    """

    __slots__ = ("table",)

    def __init__(self, table: "pa.Table") -> None:
        self.table = table

    def __len__(self) -> int:
        """The number of rows."""
        return int(self.table.num_rows)

    def part(self, first: int, rows: int) -> "ArrowRows":
        """Return at most so many rows from `first` on."""
        return self if not first and rows >= len(self) else ArrowRows(self.table.slice(first, rows))

    def check(self, user_column: str, columns: Sequence[str] | None) -> None:
        """Refuse a table that can't be scored.

        Raises:
            RequestRefused: as `frames.check`.
        """
        frames.check_table_names(self.table.column_names, user_column, columns)
        check_users(self.table.schema, user_column)

    def body(self, user_column: str, columns: Sequence[str] | None) -> bytearray:
        """Return the rows as an Arrow IPC stream.

        Its size is measured first: to grow while it was written took 20 times as long.

        Args:
            columns: to send beside that of the user; None: all.
        """
        import pyarrow as pa  # noqa: PLC0415 - an extra, which made the table

        table = self.table.replace_schema_metadata(None)
        if columns is not None:
            table = table.select(list(dict.fromkeys((user_column, *columns))))
        for place, field in enumerate(table.schema):
            plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            wanted = pa.string() if field.name == user_column else plain
            if wanted != field.type:  # a category is what its text or number is
                table = table.set_column(place, field.name, table.column(place).cast(wanted))
        measured = pa.MockOutputStream()
        _write(measured, table)
        body = bytearray(measured.size())
        _write(pa.FixedSizeBufferWriter(pa.py_buffer(body)), table)
        return body

    @classmethod
    def of_answer(cls, body: bytes) -> "ArrowRows":
        """Return the answers that a server has sent: prediction, error, reason and status.

        Errors have no number of their row, and predictions are of floats where there are none at all.

        Raises:
            ValueError: it is not an Arrow IPC stream, or lacks a column.
        """
        import pyarrow as pa  # noqa: PLC0415 - as above
        from pyarrow import compute  # noqa: PLC0415 - as above

        names = (*frames.ANSWERS, _STATUS)
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all()
        if missing := [name for name in names if name not in table.column_names]:
            raise ValueError(f"no column {missing[0]!r}")
        prediction, error, reason, status = (table.column(name) for name in names)
        if prediction.null_count == len(table):
            prediction = prediction.cast(pa.null()).cast(pa.float64())
        error, reason = error.cast(pa.string()), reason.cast(pa.string())
        if error.null_count < len(table):
            error = compute.replace_substring_regex(error, _NUMBER, "", max_replacements=1)
        arrays = [prediction, error, reason, status.cast(pa.int64())]
        return cls(pa.Table.from_arrays(arrays, names=list(names)))

    def has_status(self, statuses: Sequence[int]) -> bool:
        """Return whether one of these answers has one of these statuses."""
        return not set(statuses).isdisjoint(self.table.column(_STATUS).unique().to_pylist())

    def with_answers(self, answers: "ArrowRows") -> "ArrowRows":
        """Return these rows with the columns that scoring adds."""
        table = self.table
        for name in frames.ANSWERS:
            table = table.append_column(name, answers.table.column(name))
        return ArrowRows(table)

    def failures(self, user_column: str) -> list[tuple[int, str, str, str]]:
        """Return rows with answers that have no prediction: row, user, reason and error."""
        from pyarrow import compute  # noqa: PLC0415 - as above

        reason = self.table.column("reason")
        if reason.null_count == len(self):
            return []
        failed = compute.indices_nonzero(compute.is_valid(reason))
        names = (user_column, "reason", "error")
        taken = (self.table.column(name).take(failed).to_pylist() for name in names)
        return list(zip(failed.to_pylist(), *taken, strict=True))

    def failed(self) -> int:
        """Return how many rows with answers have no prediction."""
        return len(self) - int(self.table.column("reason").null_count)

    def frame(self) -> "pd.DataFrame":
        """Return the same as a DataFrame: rows in Arrow's types, answers as `frames.read_arrow` does."""
        import pandas as pd  # noqa: PLC0415 - only what can't go on as Arrow needs it

        answers = [name for name in (*frames.ANSWERS, _STATUS) if name in self.table.column_names]
        if "reason" not in answers:
            return self.table.to_pandas(types_mapper=pd.ArrowDtype)  # type: ignore[no-any-return]
        rows = self.table.drop_columns(answers).to_pandas(types_mapper=pd.ArrowDtype)
        described = frames.read_table(self.table.select(answers))
        return rows.assign(**{name: described[name] for name in answers})  # type: ignore[no-any-return]


def _write(sink: "pa.NativeFile", table: "pa.Table") -> None:
    import pyarrow as pa  # noqa: PLC0415 - as above

    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def check_users(schema: "pa.Schema", user_column: str) -> None:
    """Refuse a table whose users are not texts.

    Raises:
        RequestRefused: says of which type the column is.
    """
    import pyarrow as pa  # noqa: PLC0415 - as above

    kind = schema.field(user_column).type
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    text = pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)
    if not text and not pa.types.is_null(plain):
        raise frames.refused(frames.numbers_lost(user_column, str(kind)))
