"""Reads and writes Arrow and Parquet in a worker: a client's bytes, for a library of another language.

What leaves the worker is plain: columns of numbers as arrays, all others as lists in JSON, a few thousand
values each, so that reading them holds up no request. Needs pyarrow (`pip install 'tenantry[arrow]'`).
"""

import contextlib
import resource
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tenantry.errors import BatchTooLong, InvalidRequest, UnknownMediaType
from tenantry_server.kernels import arrays
from tenantry_server.kernels.arrays import Array, Buffer
from tenantry_server.rows.table_batch import check_user_column

ARROW, PARQUET = "arrow", "parquet"
VALUES_AT_ONCE = 8192

_SPARE_BYTES = 2 << 30  # of address space, beside what the process has: a bound for what claims to be large


def read(body: Buffer) -> list[Buffer]:
    """Read a table.

    Args:
        body: the table's bytes, as an array, and a document with its ``form``, the ``user_column``, and the
            bounds ``most_rows`` and ``most_bytes`` (in memory).

    Returns:
        a document with ``rows`` and ``columns`` (name, and in how many arrays it is), and the arrays:
        numbers and truth values as they are, bytes as JSON lists.

    Raises:
        UnknownMediaType: pyarrow is not installed.
        InvalidRequest: it can't be read, is too large, or no texts name the users.
        BatchTooLong: it has too many rows.
    """
    pa = _pyarrow()
    asked, (data,) = arrays.decode(body)
    try:
        table = _arrow(data, asked) if asked["form"] == ARROW else _parquet(data, asked)
    except (pa.ArrowException, OSError, MemoryError, ValueError, KeyError, OverflowError) as error:
        words = str(error).split("\n")[0][:300] or type(error).__name__
        raise InvalidRequest(f"the body is not a whole {_NAMES[asked['form']]}: {words}") from None
    _check_columns(table, asked["user_column"])
    described, made = [], []
    for name, column in zip(table.column_names, table.columns, strict=True):
        parts = _column(name, column)
        described.append({"name": name, "parts": len(parts), "json": parts[0].dtype == np.uint8})
        made += parts
    return arrays.encode({"rows": table.num_rows, "columns": described}, made)


def write(body: Buffer) -> list[Buffer]:
    """Write a table.

    Args:
        body: columns, as `read` gives them, and a document with its ``form``.

    Returns:
        the bytes.
    """
    pa = _pyarrow()
    asked, given = arrays.decode(body)
    following = iter(given)
    columns: dict[str, Any] = {}
    for each in asked["columns"]:
        parts = [next(following) for _ in range(each["parts"])]
        if each["json"]:
            values = [value for part in parts for value in orjson.loads(part.tobytes())]
            columns[each["name"]] = _of_values(values, text=each["text"])
        else:
            columns[each["name"]] = pa.array(np.concatenate(parts), from_pandas=True)
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    if asked["form"] == ARROW:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        import pyarrow.parquet as pq  # noqa: PLC0415 - as `_pyarrow`

        pq.write_table(table, sink)
    return [memoryview(sink.getvalue())]


_NAMES = {ARROW: "Arrow IPC stream", PARQUET: "Parquet file"}


def _pyarrow() -> Any:
    """Import the library, and bound what it may take.

    Raises:
        UnknownMediaType: it is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - in the worker that needs it
        import pyarrow.ipc  # noqa: PLC0415 - as above
    except ImportError:
        raise UnknownMediaType(
            "Parquet, and Arrow that has more than texts, numbers and truth values, are read where pyarrow "
            "is installed (pip install 'tenantry[arrow]', on the servers); send application/json or "
            "application/x-ndjson"
        ) from None
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + _SPARE_BYTES
    with contextlib.suppress(ValueError, OSError):  # a lower one holds already
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    return pa


def _arrow(data: Array, asked: dict[str, Any]) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - as `_pyarrow`

    batches, rows, size = [], 0, 0
    with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
        for batch in stream:
            rows += batch.num_rows
            size += batch.nbytes
            _check_size(rows, size, asked)
            batch.validate(full=True)
            batches.append(batch)
        return pa.Table.from_batches(batches, stream.schema)


def _parquet(data: Array, asked: dict[str, Any]) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - as `_pyarrow`
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(data)))
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    _check_size(file.metadata.num_rows, sum(group.total_byte_size for group in groups), asked)
    batches, rows, size = [], 0, 0
    for batch in file.iter_batches(VALUES_AT_ONCE, use_threads=False):
        rows += batch.num_rows
        size += batch.nbytes
        _check_size(rows, size, asked)
        batches.append(batch)
    table = pa.Table.from_batches(batches, file.schema_arrow)
    table.validate(full=True)
    return table


def _check_size(rows: int, size_bytes: int, asked: dict[str, Any]) -> None:
    if rows > asked["most_rows"]:
        raise BatchTooLong(rows, asked["most_rows"])
    if size_bytes > asked["most_bytes"]:
        raise InvalidRequest(
            f"the table has {size_bytes:,} bytes in memory, and this server takes {asked['most_bytes']:,}; "
            "send fewer rows at a time"
        )


def _check_columns(table: Any, user_column: str) -> None:
    import pyarrow as pa  # noqa: PLC0415 - as `_pyarrow`

    names = table.column_names
    twice = next((name for name in names if names.count(name) > 1), None) if len(names) < 10_000 else None
    if twice is not None:
        raise InvalidRequest(f"column {twice[:40]!r} is given twice")
    kinds = {}
    for field in table.schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        kinds[field.name] = str(kind)
    check_user_column(kinds, user_column)


def _column(name: str, column: Any) -> list[Array]:
    """Return a column as one array of numbers, or as JSON."""
    import pyarrow as pa  # noqa: PLC0415 - as `_pyarrow`

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_floating(kind):
        return [column.cast(pa.float64()).to_numpy().astype(np.float64, copy=False)]
    plain = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    if plain and not column.null_count and not pa.types.is_uint8(kind):
        return [np.asarray(column.to_numpy())]
    try:
        return list(_as_json(column)) or [np.frombuffer(b"[]", np.uint8)]
    except TypeError:
        raise InvalidRequest(
            f"column {name[:40]!r} is {kind}, which no model takes; leave it out"
        ) from None


def _as_json(column: Any) -> Iterator[Array]:
    for first in range(0, len(column), VALUES_AT_ONCE):
        values = [_plain(value) for value in column.slice(first, VALUES_AT_ONCE).to_pylist()]
        yield np.frombuffer(orjson.dumps(values), np.uint8)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; times are ISO 8601."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value


def _of_values(values: Sequence[Any], *, text: bool) -> Any:
    """Return values as a column: of one type where they have one, else as JSON texts."""
    import pyarrow as pa  # noqa: PLC0415 - as `_pyarrow`

    if text:
        return pa.array(values, pa.string())
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        texts = [None if value is None else orjson.dumps(value).decode() for value in values]
        return pa.array(texts, pa.string())
