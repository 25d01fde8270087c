"""Streams of Arrow that are small to send and large to read: each is left to a worker before it is read."""

import struct

import pytest

from tenantry_server.rows.arrow import reading, types
from tenantry_server.rows.arrow.flat import OFFSET, Builder, Malformed, Table

ROWS = 1000


def framed(builder: Builder, body: bytes = b"") -> bytes:
    """A message and its body."""
    data = bytes(builder.data) + bytes(-len(builder.data) % 8)
    return types.CONTINUATION + struct.pack("<i", len(data)) + data + body


def schema(names: list[str]) -> Builder:
    """Columns of 32-bit floats, the first one of texts."""
    made = Builder()
    _, _, content, *_ = made.table(0, ("h", types.V5), ("B", types.SCHEMA), OFFSET, ("q", 0))
    _, in_fields = made.table(content, ("h", 0), OFFSET)
    for place, name in zip(made.places(in_fields, len(names)), names, strict=True):
        kind = types.TEXT if name == "user_id" else types.FLOAT
        described = [] if kind == types.TEXT else [("h", 1)]
        named, _, _, of_kind, _, children = made.table(
            place, OFFSET, ("B", 1), ("B", kind), OFFSET, None, OFFSET
        )
        made.text(named, name)
        made.table(of_kind, *described)
        made.places(children, 0)
    return made


def stream(columns: int, *, apart: bool) -> bytes:
    """One batch, whose columns of numbers have a buffer each or share one."""
    names = ["user_id", *(f"x{number}" for number in range(columns))]
    offsets, numbers = 4 * (ROWS + 1), 4 * ROWS
    body = bytes(offsets + numbers * (columns if apart else 1))
    body += bytes(-len(body) % 8)
    places = [(0, 0), (0, offsets), (0, 0)]
    for number in range(columns):
        places += [(0, 0), (offsets + (numbers * number if apart else 0), numbers)]
    head = Builder()
    _, _, content, *_ = head.table(0, ("h", types.V5), ("B", types.BATCH), OFFSET, ("q", len(body)))
    _, in_nodes, in_buffers = head.table(content, ("q", ROWS), OFFSET, OFFSET)
    head.pairs(in_nodes, [(ROWS, 0)] * len(names))
    head.pairs(in_buffers, places)
    return framed(schema(names)) + framed(head, body) + types.CONTINUATION + bytes(4)


def test_columns_that_share_a_buffer_are_not_read_here() -> None:
    """Ten thousand of them would take a thousand times what was sent."""
    read = reading.read(stream(20, apart=True), "user_id", ROWS)
    assert read is not None
    assert read[1] == ROWS
    assert reading.read(stream(20, apart=False), "user_id", ROWS) is None


def test_a_long_name_is_not_read_here() -> None:
    """Each of ten thousand columns could name the same one."""
    long = framed(schema(["user_id", "x" * 5000])) + types.CONTINUATION + bytes(4)
    assert reading.read(long, "user_id", ROWS) is None


def test_a_vector_is_bounded_before_its_tables_are_made() -> None:
    made = Builder()
    (place,) = made.table(0, OFFSET)
    made.places(place, 50)
    with pytest.raises(Malformed, match="too many"):
        Table.root(bytes(made.data)).tables(0, 49)
