"""The reader and writer of Arrow's streams, against Arrow's own library."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry_server.rows.arrow import reading, writing

TYPES: dict[str, tuple[pa.DataType, Any]] = {
    "f8": (pa.float64(), st.floats(allow_nan=False)),
    "f4": (pa.float32(), st.floats(width=32, allow_nan=False)),
    **{
        f"{kind}{bits}": (
            getattr(pa, f"{kind}{bits}")(),
            st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            if kind == "int"
            else st.integers(0, 2**bits - 1),
        )
        for kind in ("int", "uint")
        for bits in (8, 16, 32, 64)
    },
    "flag": (pa.bool_(), st.booleans()),
    "text": (pa.string(), st.text(max_size=5)),
    "large": (pa.large_string(), st.text(max_size=5)),
}


def written(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, **options)
    return bytes(sink.getvalue())


@st.composite
def tables(draw: Any) -> pa.Table:
    names = draw(st.lists(st.sampled_from(sorted(TYPES)), unique=True, min_size=1))
    rows = draw(st.integers(0, 20))
    columns = {
        "user_id": pa.array(draw(st.lists(st.text("abcé"), min_size=rows, max_size=rows)), pa.string())
    }
    for name in names:
        kind, values = TYPES[name]
        missing = draw(st.booleans())
        each = st.none() | values if missing else values
        columns[name] = pa.array(draw(st.lists(each, min_size=rows, max_size=rows)), kind)
    return pa.table(columns)


def plain(column: Any) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(column)


@given(table=tables(), chunk=st.integers(1, 7), skipped=st.integers(0, 3))
def test_what_arrow_writes_is_read(table: pa.Table, chunk: int, skipped: int) -> None:
    """Each type, with values missing or not, in several batches, and of a slice."""
    table = table.slice(min(skipped, table.num_rows))
    read = reading.read(written(table, max_chunksize=chunk), "user_id", 1000)
    assert read is not None
    columns, rows = read
    assert rows == table.num_rows
    assert list(columns) == table.column_names
    for name, column in columns.items():
        wanted = table[name].to_pylist()
        if pa.types.is_floating(table.schema.field(name).type):
            np.testing.assert_array_equal(
                np.array(plain(column), float), np.array(wanted, float) if wanted else []
            )
        else:
            assert plain(column) == wanted, name


@given(
    users=st.lists(st.none() | st.text("abcé", max_size=4), max_size=20),
    seed=st.integers(0, 99),
)
def test_arrow_reads_what_is_written(users: list[str | None], seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=len(users))
    values[random.random(len(users)) < 0.2] = np.nan
    errors = [None if value == value else "é" * 3 for value in values]  # noqa: PLR0124 - NaN
    columns: dict[str, Any] = {
        "user_id": users,
        "prediction": values,
        "error": errors,
        "status": np.arange(len(users)),
    }
    data = writing.write(columns, len(users))
    assert data is not None
    table = pa.ipc.open_stream(data).read_all()
    table.validate(full=True)
    assert table.schema == pa.schema(
        [
            ("user_id", pa.string()),
            ("prediction", pa.float64()),
            ("error", pa.string()),
            ("status", pa.int64()),
        ]
    )
    assert table["user_id"].to_pylist() == users
    assert table["prediction"].to_pylist() == [None if np.isnan(v) else v for v in values.tolist()]
    assert table["error"].to_pylist() == errors
    assert table["status"].to_pylist() == list(range(len(users)))
    read = reading.read(data, "user_id", 1000)
    assert read is not None
    assert plain(read[0]["user_id"]) == users


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a"]).dictionary_encode(),
        pa.array([[1.0]]),
        pa.array([1], pa.decimal128(5, 2)),
        pa.array([0], pa.timestamp("us")),
        pa.array([1.0], pa.float16()),
        pa.nulls(1),
        pa.array([{"a": 1}]),
    ],
)
def test_other_types_are_left_to_the_library(column: pa.Array) -> None:
    assert reading.read(written(pa.table({"user_id": ["a"], "x": column})), "user_id", 9) is None


def test_compressed_streams_are_left_to_the_library() -> None:
    table = pa.table({"user_id": ["a"] * 99})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    assert reading.read(bytes(sink.getvalue()), "user_id", 100) is None


def test_no_bytes_do_harm() -> None:
    """Each byte of a stream changed, and each beginning of it: refused, or read as columns."""
    whole = written(pa.table({"user_id": ["ann", "bob", None], "x": [1.0, None, 3.0], "n": [1, 2, 3]}))
    for at in range(len(whole)):
        assert reading.read(whole[:at], "user_id", 9) is None
        for change in (0x00, 0x01, 0x7F, 0x80, 0xFF):
            changed = whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :]
            try:
                read = reading.read(changed, "user_id", 9)
            except Exception as error:
                assert type(error).__module__.startswith("tenantry."), (at, change, error)  # noqa: PT017
                continue
            if read is not None:
                columns, rows = read
                assert all(len(column) == rows for column in columns.values())
