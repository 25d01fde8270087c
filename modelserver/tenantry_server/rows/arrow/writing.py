"""Writes columns of texts and numbers as a stream of one batch."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tenantry_server.rows.arrow import types as t
from tenantry_server.rows.arrow.flat import OFFSET, Builder

Values: TypeAlias = "npt.NDArray[np.float64] | npt.NDArray[np.int64] | Sequence[str | None]"
"""Floats, of which NaN is missing; whole numbers; or texts."""

_ALIGNED = 8
_MOST_BYTES = 2**31 - 1  # of the texts of a column, whose offsets have 32 bits


def write(columns: Mapping[str, Values], rows: int) -> bytes | None:
    """Write columns of equal length; None: a column's texts are too long together."""
    nodes: list[tuple[int, int]] = []
    buffers: list[bytes] = []
    for values in columns.values():
        made = _numbers(values) if isinstance(values, np.ndarray) else _texts(values)
        if made is None:
            return None
        missing, parts = made
        nodes.append((rows, missing))
        buffers += parts
    places, size = [], 0
    for part in buffers:
        places.append((size, len(part)))
        size += len(part) + -len(part) % _ALIGNED
    body = b"".join(part + bytes(-len(part) % _ALIGNED) for part in buffers)
    head = Builder()
    _, _, content, *_ = head.table(0, ("h", t.V5), ("B", t.BATCH), OFFSET, ("q", size))
    _, in_nodes, in_buffers = head.table(content, ("q", rows), OFFSET, OFFSET)
    head.pairs(in_nodes, nodes)
    head.pairs(in_buffers, places)
    return b"".join((_framed(_schema(columns)), _framed(head), body, t.CONTINUATION, bytes(4)))


def _schema(columns: Mapping[str, Values]) -> Builder:
    made = Builder()
    _, _, content, *_ = made.table(0, ("h", t.V5), ("B", t.SCHEMA), OFFSET, ("q", 0))
    _, in_fields = made.table(content, ("h", 0), OFFSET)
    for place, (name, values) in zip(made.places(in_fields, len(columns)), columns.items(), strict=True):
        number, described = t.TEXT, []
        if isinstance(values, np.ndarray):
            number = t.INT if values.dtype.kind == "i" else t.FLOAT
            described = [("i", 64), ("B", 1)] if number == t.INT else [("h", 2)]
        named, _, _, kind, _, children = made.table(
            place, OFFSET, ("B", 1), ("B", number), OFFSET, None, OFFSET
        )
        made.text(named, name)
        made.table(kind, *described)
        made.places(children, 0)
    return made


def _framed(message: Builder) -> bytes:
    data = bytes(message.data) + bytes(-len(message.data) % _ALIGNED)
    return t.CONTINUATION + struct.pack("<i", len(data)) + data


def _numbers(values: npt.NDArray[Any]) -> tuple[int, list[bytes]]:
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(0, np.bool_)
    count = int(missing.sum())
    valid = np.packbits(~missing, bitorder="little").tobytes() if count else b""
    return count, [valid, values.astype(f"<{values.dtype.kind}8", copy=False).tobytes()]


def _texts(values: Sequence[str | None]) -> tuple[int, list[bytes]] | None:
    missing = values.count(None) if isinstance(values, list | tuple) else 0
    if missing == len(values):
        return missing, [bytes(-(-missing // 8)), bytes(4 * (missing + 1)), b""]
    there = values if not missing else [text or "" for text in values]
    joined = "".join(there)  # type: ignore[arg-type]  # None is replaced
    data = joined.encode()
    pieces: Any = there if len(data) == len(joined) else [str(text).encode() for text in there]
    if len(data) > _MOST_BYTES:
        return None
    ends = np.zeros(len(values) + 1, "<i4")
    np.cumsum(np.fromiter(map(len, pieces), np.int64, len(values)), out=ends[1:])
    valid = b""
    if missing:
        flags = np.fromiter((text is not None for text in values), np.bool_, len(values))
        valid = np.packbits(flags, bitorder="little").tobytes()
    return missing, [valid, ends.tobytes(), data]
