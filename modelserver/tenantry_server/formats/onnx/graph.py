"""The memory of an ONNX Runtime session, estimated from its graph.

The session does not state it. Against glibc's own count, for trees, networks, linear models and a support
vector machine from 300 bytes to 2 MB: 75 KB for a session, the weights once, and for the rest, which is
mostly trees, 3 to 5.5 times its length in the file.
"""

from collections.abc import Iterator

_SESSION_BYTES = 75_000
_REST_FACTOR = 5
_GRAPH, _INITIALIZERS = 7, (5, 15)  # onnx.proto: ModelProto.graph; GraphProto.(sparse_)initializer


def resident_bytes(data: bytes) -> int:
    """Return the bytes of a session for this file, which ONNX Runtime has read already."""
    weights_bytes = sum(
        weights_end - weights_begin
        for number, begin, end in _fields(data, 0, len(data))
        if number == _GRAPH
        for inner, weights_begin, weights_end in _fields(data, begin, end)
        if inner in _INITIALIZERS
    )
    return _SESSION_BYTES + weights_bytes + _REST_FACTOR * (len(data) - weights_bytes)


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Iterate over length-delimited fields of a protobuf message: number, begin and end of content."""
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 2:
            length, at = _varint(data, at)
            yield key >> 3, at, at + length
            at += length
        elif kind == 0:
            _, at = _varint(data, at)
        else:
            at += 8 if kind == 1 else 4


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
