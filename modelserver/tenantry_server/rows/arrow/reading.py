"""Reads a stream of texts, numbers and truth values into columns."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from tenantry.errors import BatchTooLong
from tenantry_server.rows.arrow import types as t
from tenantry_server.rows.arrow.flat import Malformed, Table
from tenantry_server.rows.table_batch import Column, check_user_column

_MOST_COLUMNS = 10_000
_LONGEST_NAME = 4096  # bytes
_Buffers = Sequence[memoryview]


@dataclass(frozen=True, slots=True)
class _Kind:
    """A column's type.

    Attributes:
        number: in Arrow's union of types.
        dtype: of numbers, or of the offsets of texts.
    """

    number: int
    dtype: np.dtype[Any]
    shown: str

    @property
    def is_text(self) -> bool:
        return self.number in (t.TEXT, t.LARGE_TEXT)


def read(body: bytes, user_column: str, most_rows: int) -> tuple[dict[str, Column], int] | None:
    """Read a stream; return its columns and how many rows they have.

    Returns:
        None where the stream has anything else in it, or is none: pyarrow knows more, and better words.

    Raises:
        BatchTooLong: it has more than `most_rows` rows.
        InvalidRequest: no column of texts has the name of the user's.
    """
    try:
        return _read(body, user_column, most_rows)
    except Malformed:
        return None


def _read(body: bytes, user_column: str, most_rows: int) -> tuple[dict[str, Column], int]:
    kinds: dict[str, _Kind] | None = None
    parts: list[dict[str, Column]] = []
    rows = at = 0
    view = memoryview(body)
    while True:
        head, at = _message(body, at)
        if head is None:
            break
        length = head.number(3, "q")
        content = head.table(2)
        if content is None or not 0 <= length <= len(body) - at:
            raise Malformed("a message without its body")
        kind = head.number(1, "B")
        if kind == t.SCHEMA and kinds is None:
            kinds = _schema(content)
            check_user_column({name: each.shown for name, each in kinds.items()}, user_column)
        elif kind == t.BATCH and kinds is not None:
            rows += content.number(0, "q")
            if rows > most_rows:
                raise BatchTooLong(rows, most_rows)
            parts.append(_batch(content, kinds, view[at : at + length]))
        else:
            raise Malformed("a message of another kind")
        at += length
    if kinds is None:
        raise Malformed("no schema")
    return {name: _joined([part[name] for part in parts]) for name in kinds}, rows


def _message(body: bytes, at: int) -> tuple[Table | None, int]:
    """Return the message at a place, None at the end of the stream, and where its body begins."""
    try:
        mark, size = struct.unpack_from("<4si", body, at)
    except struct.error:
        raise Malformed("it ends without an end") from None
    if mark != t.CONTINUATION or size < 0 or at + 8 + size > len(body):
        raise Malformed("not a message")
    begins = at + 8
    return (Table.root(body[begins : begins + size]) if size else None), begins + size


def _schema(schema: Table) -> dict[str, _Kind]:
    fields = schema.tables(1, _MOST_COLUMNS)
    if schema.number(0, "h"):
        raise Malformed("big-endian")
    kinds = {field.text(0, _LONGEST_NAME): _kind(field) for field in fields}
    if len(kinds) != len(fields):
        raise Malformed("a name twice")
    return kinds


def _kind(field: Table) -> _Kind:
    number, described = field.number(2, "B"), field.table(3)
    if described is None or field.has(4) or field.tables(5, 0):
        raise Malformed("a dictionary, or a column of columns")
    dtype: Any = None
    shown = "string"
    if number == t.INT:
        signed = bool(described.number(1, "B"))
        dtype = t.int_of(described.number(0, "i"), signed=signed)
        shown = "" if dtype is None else dtype.name
    elif number == t.FLOAT:
        dtype = t.FLOATS.get(described.number(0, "h"))
        shown = "float" if dtype is None or dtype.itemsize == 4 else "double"
    elif number in (t.TEXT, t.LARGE_TEXT):
        dtype = np.dtype("<i4" if number == t.TEXT else "<i8")
    elif number == t.BOOL:
        dtype, shown = np.dtype(np.bool_), "bool"
    if dtype is None:
        raise Malformed("a column of another type")
    return _Kind(number, dtype, shown)


def _batch(batch: Table, kinds: dict[str, _Kind], body: memoryview) -> dict[str, Column]:
    rows, nodes, places = batch.number(0, "q"), batch.pairs(1), batch.pairs(2)
    wanted = [3 if kind.is_text else 2 for kind in kinds.values()]
    if batch.has(3) or rows < 0 or len(nodes) != len(kinds) or len(places) != sum(wanted):
        raise Malformed("compressed, or not the columns of the schema")
    if any(start < 0 or size < 0 or start + size > len(body) for start, size in places):
        raise Malformed("a buffer outside its message")
    if sum(size for _, size in places) > len(body):  # each column is copied
        raise Malformed("buffers that overlap")
    following = iter([body[start : start + size] for start, size in places])
    columns: dict[str, Column] = {}
    for (name, kind), (length, nulls), count in zip(kinds.items(), nodes, wanted, strict=True):
        if length != rows or not 0 <= nulls <= rows:
            raise Malformed("columns of different lengths")
        valid, *buffers = islice(following, count)
        missing = ~_bits(valid, rows) if nulls else None
        columns[name] = (_texts if kind.is_text else _numbers)(kind, buffers, rows, missing)
    return columns


def _bits(buffer: memoryview, rows: int) -> npt.NDArray[np.bool_]:
    if len(buffer) * 8 < rows:
        raise Malformed("a bitmap that is too short")
    packed = np.frombuffer(buffer, np.uint8, -(-rows // 8))
    return np.unpackbits(packed, count=rows, bitorder="little").view(np.bool_)


def _numbers(kind: _Kind, buffers: _Buffers, rows: int, missing: "npt.NDArray[np.bool_] | None") -> Column:
    (data,) = buffers
    values: npt.NDArray[Any]
    if kind.number == t.BOOL:
        values = _bits(data, rows)
    else:
        if len(data) < rows * kind.dtype.itemsize:
            raise Malformed("a column that is too short")
        values = np.frombuffer(data, kind.dtype, rows)
    if kind.number == t.FLOAT:
        values = values.astype(np.float64, copy=missing is not None)
        if missing is not None:
            values[missing] = np.nan
        return values
    if missing is None:
        return values
    listed: list[Any] = values.tolist()
    for row in np.flatnonzero(missing).tolist():
        listed[row] = None
    return listed


def _texts(kind: _Kind, buffers: _Buffers, rows: int, missing: "npt.NDArray[np.bool_] | None") -> Column:
    offsets, data = buffers
    if not rows:
        return []
    if len(offsets) < (rows + 1) * kind.dtype.itemsize:
        raise Malformed("a column that is too short")
    ends = np.frombuffer(offsets, kind.dtype, rows + 1)
    if ends[0] < 0 or ends[-1] > len(data) or (ends[1:] < ends[:-1]).any():
        raise Malformed("texts that overlap, or are not there")
    first = int(ends[0])
    raw = bytes(data[first : int(ends[-1])])
    places = (ends - first).tolist()
    try:
        if raw.isascii():
            text = raw.decode("ascii")
            listed: list[Any] = [text[a:b] for a, b in zip(places, islice(places, 1, None), strict=False)]
        else:
            listed = [raw[a:b].decode() for a, b in zip(places, islice(places, 1, None), strict=False)]
    except UnicodeDecodeError:
        raise Malformed("a text that is not UTF-8") from None
    if missing is not None:
        for row in np.flatnonzero(missing).tolist():
            listed[row] = None
    return listed


def _joined(parts: Sequence[Column]) -> Column:
    if len(parts) == 1:
        return parts[0]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if arrays and len(arrays) == len(parts):
        return np.concatenate(arrays)
    return [value for part in parts for value in (part.tolist() if isinstance(part, np.ndarray) else part)]
