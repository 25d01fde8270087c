"""Rows of a DataFrame as the body of a request for many users, and the answer as columns beside them."""

import difflib
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tenantry.client.errors import RequestRefused

if TYPE_CHECKING:
    import pandas as pd

ARROW = "application/vnd.apache.arrow.stream"
LINES = "application/x-ndjson"
ANSWERS = ("prediction", "error", "reason")
"""The columns that scoring adds to a table."""

_COLUMNS = (*ANSWERS, "status")
_SHOWN = 10  # columns in a message
# An error stands in its own row. The number in its words would be that of the row within one request.
_NUMBER = re.compile(r"\Arow \d+(?:: |, )")


def check(frame: "pd.DataFrame", user_column: str, columns: Sequence[str] | None) -> None:
    """Refuse a table that can't be scored, before anything is sent.

    Raises:
        RequestRefused: the user column is missing or holds numbers, a column to send is missing, two have
            one name, or one has the name of an answer.
    """
    check_table_names(list(frame.columns), user_column, columns)
    _check_users(frame[user_column], user_column)


def check_table_names(names: Sequence[Any], user_column: str, columns: Sequence[str] | None) -> None:
    """Refuse names of columns with which a table can't be scored.

    Raises:
        RequestRefused: as `check`.
    """
    doubled = [name for place, name in enumerate(names) if name in names[:place]]
    if doubled:
        raise refused(f"two columns have the name {doubled[0]!r}; rename one of them")
    taken = [name for name in ANSWERS if name in names]
    if taken:
        raise refused(f"there is a column {taken[0]!r} already, where the answers go; rename it")
    check_names(names, user_column, columns)


def check_names(names: Sequence[Any], user_column: str, columns: Sequence[str] | None) -> None:
    """Refuse a table without the column of the user, or without one that is to be sent.

    Raises:
        RequestRefused: names what is missing, and what is there.
    """
    there = ", ".join(repr(name) for name in names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
    close = difflib.get_close_matches(user_column, [str(name) for name in names], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    if user_column not in names:
        raise refused(
            f"there is no column {user_column!r}, which is to name the user of each row; the table has "
            f"{there or 'no columns'}{hint}"
        )
    missing = [name for name in columns or () if name not in names]
    if missing:
        raise refused(f"there is no column {missing[0]!r} to send; the table has {there}")


def _check_users(users: "pd.Series[Any]", name: str) -> None:
    import pandas as pd  # noqa: PLC0415 - who asks for a frame has it; a client of single requests need not

    if pd.api.types.is_numeric_dtype(users.dtype) or pd.api.types.is_bool_dtype(users.dtype):
        raise refused(numbers_lost(name, str(users.dtype)))
    if pd.api.types.infer_dtype(users, skipna=True) in ("string", "empty"):
        return
    for row, user in enumerate(users.tolist()):
        if not isinstance(user, str) and not pd.isna(user):
            raise refused(
                f"row {row}, column {name!r}: a user is a text, got {user!r} of type {type(user).__name__}"
            )


def numbers_lost(name: str, dtype: str) -> str:
    """Return why a column of numbers names no users, and how to read it as text."""
    return (
        f"column {name!r} names the users and holds numbers ({dtype}), where a user such as 0042 has lost "
        f"its zeros; read it as text where it is made (pandas: read_csv(…, dtype={{{name!r}: str}}); "
        f"SQL: CAST({name} AS VARCHAR))"
    )


def refused(message: str) -> RequestRefused:
    """Return the error of a table that can't be scored."""
    return RequestRefused(message, reason="InvalidRequest")


def arrow_body(frame: "pd.DataFrame", user_column: str) -> bytes | None:
    """Return rows as an Arrow IPC stream; None: without pyarrow, or for values of no one Arrow type."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        for place, field in enumerate(table.schema):
            if pa.types.is_dictionary(field.type):  # a category is what its text or number is
                plain = table.column(place).cast(field.type.value_type)
                table = table.set_column(place, field.name, plain)
        place = table.schema.get_field_index(user_column)
        table = table.set_column(place, user_column, table.column(place).cast(pa.string()))
    except (pa.ArrowException, ValueError, TypeError):
        return None
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def lines_body(frame: "pd.DataFrame", *, omit_missing: bool = False) -> bytes:
    """Return rows as NDJSON.

    Args:
        omit_missing: whether a row leaves out the columns that are missing in it; otherwise they are null.

    Raises:
        RequestRefused: a value can't be written as JSON.
    """
    names = [str(name) for name in frame.columns]
    columns = [_plain(frame.iloc[:, place].tolist()) for place in range(len(names))]
    lines: list[str] = []
    encode = json.JSONEncoder(
        ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_default
    ).encode
    rows: Iterable[tuple[Any, ...]] = zip(*columns, strict=True) if names else ()
    for row in rows:
        pairs = zip(names, row, strict=True)
        record = {name: value for name, value in pairs if not omit_missing or value is not None}
        lines.append(encode(record))
    return ("\n".join(lines) + "\n").encode() if lines else b""


def _plain(values: list[Any]) -> list[Any]:
    """Return the values of a column with None where one is missing, and infinities in words.

    JSON has none: so the row with one is refused, and no other.
    """
    plain = [None if _is_missing(value) else value for value in values]
    if any(isinstance(value, float) and math.isinf(value) for value in plain):
        plain = [str(v) if isinstance(v, float) and math.isinf(v) else v for v in plain]
    return plain


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    return type(value).__name__ in ("NAType", "NaTType")


def _default(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars
        return value.tolist()
    if type(value).__name__ == "Decimal":
        return float(value)
    raise refused(f"a row holds {value!r} of type {type(value).__name__}, which JSON has not; convert it")


def read_arrow(body: bytes) -> "pd.DataFrame":
    """Return the columns of an answer that is an Arrow IPC stream.

    Raises:
        ValueError: it is not one, or has other columns.
    """
    import pyarrow as pa  # noqa: PLC0415 - the request was Arrow

    with pa.ipc.open_stream(body) as reader:
        table = reader.read_all()
    if missing := [name for name in _COLUMNS if name not in table.column_names]:
        raise ValueError(f"no column {missing[0]!r}")
    return read_table(table.select(list(_COLUMNS)))


def read_table(table: Any) -> "pd.DataFrame":
    """Return the columns of an answer that are a `pyarrow.Table`."""
    import pandas as pd  # noqa: PLC0415 - as above
    import pyarrow as pa  # noqa: PLC0415 - as above

    whole = {pa.int64(): pd.Int64Dtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=whole.get)
    return _described(frame)


def read_lines(body: bytes) -> "pd.DataFrame":
    """Return the columns of an answer that is NDJSON.

    Raises:
        ValueError: it is not that, or a row lacks a member.
    """
    import pandas as pd  # noqa: PLC0415 - as above

    try:
        rows = [json.loads(line) for line in body.splitlines() if line]
        columns = {name: [row[name] for row in rows] for name in _COLUMNS}
    except (KeyError, TypeError) as error:
        raise ValueError(f"a row lacks {error}") from None
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    return _described(frame)


def _described(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return an answer with the types that callers see, and errors without the number of their row."""
    if "status" in frame:  # rows that are scored do not keep it
        frame["status"] = frame["status"].astype("int64")
    frame["prediction"] = typed(frame["prediction"])
    for name in ("error", "reason"):
        column = frame[name].astype(object)
        frame[name] = column.where(column.notna(), None)
    failed = frame["error"].notna()
    if failed.any():
        words = [_NUMBER.sub("", str(error)) for error in frame.loc[failed, "error"]]
        frame.loc[failed, "error"] = words
    return frame


def typed(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return predictions as numbers where all of them are: float64, or Int64 for whole ones."""
    import pandas as pd  # noqa: PLC0415 - as above

    if values.dtype != object and not isinstance(values.dtype, pd.ArrowDtype):
        return values
    kinds = {type(value) for value in values.tolist() if not _is_missing(value)}
    if kinds == {int}:
        return values.astype("Int64")
    if not kinds or kinds <= {int, float}:
        return values.astype("float64")
    return values


def put(answers: "pd.DataFrame", rows: Sequence[int], newer: "pd.DataFrame") -> "pd.DataFrame":
    """Return answers with newer ones in these rows."""
    import pandas as pd  # noqa: PLC0415 - as above

    put_in: dict[str, pd.Series[Any]] = {}
    for name in _COLUMNS:
        values = answers[name].astype(object).tolist()
        for row, value in zip(rows, newer[name].astype(object).tolist(), strict=True):
            values[row] = value
        put_in[name] = pd.Series(values, dtype=object)
    return _described(pd.DataFrame(put_in))


def nothing() -> "pd.DataFrame":
    """Return the answers to no rows."""
    import pandas as pd  # noqa: PLC0415 - as above

    return _described(pd.DataFrame({name: pd.Series([], dtype=object) for name in _COLUMNS}))
