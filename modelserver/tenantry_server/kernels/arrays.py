"""Arrays and a small document as bytes, and back: how a front and its workers exchange numbers.

A worker has run a stranger's code, so what it sends is read as a stranger's: nothing in it is executed, and
nothing is read beyond its end.
"""

import struct
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson

Array: TypeAlias = npt.NDArray[Any]
Buffer: TypeAlias = bytes | memoryview

_LENGTH = struct.Struct("<I")
_ALIGNED = 8
_RAW = "biuf"
_LARGEST_ITEM = 8  # no long double: its bytes differ between machines
_DTYPES = {
    dtype.str: dtype
    for dtype in map(
        np.dtype, ("?", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8")
    )
}
_MOST_DIMENSIONS = 8
_LARGE_BYTES = 1 << 20
_AT_ONCE = 8192  # values of JSON: a millisecond to read
_LARGEST_SIZE = 1 << 40


class Malformed(ValueError):
    """The bytes are not what `encode` writes; the message says where."""


def encode(document: dict[str, Any], arrays: Sequence[Array] = ()) -> list[Buffer]:
    """Return buffers that hold a JSON document and arrays, one after another.

    Raises:
        TypeError: an array holds objects that JSON has no form for.
    """
    described: list[dict[str, Any]] = []
    parts: list[Buffer] = []
    for array in arrays:
        if array.dtype.kind in _RAW and array.dtype.itemsize <= _LARGEST_ITEM:
            native = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
            described.append({"dtype": native.dtype.str, "shape": native.shape})
            parts.append(native.reshape(-1).view(np.uint8).data)
            parts.append(bytes(-native.nbytes % _ALIGNED))
        elif array.size <= _AT_ONCE:
            described.append({"values": array.reshape(-1).tolist(), "shape": array.shape})
        else:
            flat = array.reshape(-1)
            pieces = [
                orjson.dumps(flat[at : at + _AT_ONCE].tolist()) for at in range(0, len(flat), _AT_ONCE)
            ]
            described.append({"pieces": [len(piece) for piece in pieces], "shape": array.shape})
            parts += pieces
            parts.append(bytes(-sum(map(len, pieces)) % _ALIGNED))
    head = orjson.dumps([document, described], option=orjson.OPT_SERIALIZE_NUMPY)
    head += b" " * (-(len(head) + _LENGTH.size) % _ALIGNED)
    return [_LENGTH.pack(len(head)) + head, *parts]


def decode(data: Buffer) -> tuple[dict[str, Any], list[Array]]:
    """Read what `encode` wrote; large arrays are views of `data`.

    Raises:
        Malformed: it is something else.
    """
    view = memoryview(data)
    try:
        (length,) = _LENGTH.unpack_from(view)
        document, described = orjson.loads(view[_LENGTH.size : _LENGTH.size + length])
        at = _LENGTH.size + length
        arrays = []
        for each in described:
            array, at = _array(each, view, at)
            arrays.append(array)
    except (struct.error, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None
    if at != len(view) or not isinstance(document, dict):
        raise Malformed("its parts don't add up to its length")
    return document, arrays


def _array(described: dict[str, Any], view: memoryview, at: int) -> tuple[Array, int]:
    shape = described["shape"]
    if len(shape) > _MOST_DIMENSIONS or not all(
        type(size) is int and 0 <= size < 1 << 40 for size in shape
    ):
        raise ValueError(f"a shape of {shape!r}")
    count = 1
    for size in shape:
        count *= size
    if "values" in described:
        values = described["values"]
        if len(values) != count:
            raise ValueError(f"{len(values)} values for a shape of {shape!r}")
        return _objects(values).reshape(shape), at
    if "pieces" in described:
        return _of_pieces(described["pieces"], view, at, shape, count)
    dtype = _DTYPES.get(described["dtype"])  # NumPy would evaluate a stranger's text as Python
    if dtype is None:
        raise ValueError(f"a dtype of {described['dtype']!r}")
    size = count * dtype.itemsize
    if at + size > len(view):
        raise ValueError("it ends early")
    array = np.frombuffer(view[at : at + size], dtype).reshape(shape)
    # A small one should not keep all bytes in memory; a copy of a large one would be in it twice.
    array = array.copy() if size < _LARGE_BYTES else array
    return array, at + size + (-size % _ALIGNED)


def _of_pieces(sizes: Any, view: memoryview, at: int, shape: list[int], count: int) -> tuple[Array, int]:
    """Read lists of JSON: all texts as an array of texts, anything else as objects."""
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError(f"lists of {sizes!r} bytes")
    begins = at
    made: list[Array] = []
    for size in sizes:
        values = orjson.loads(view[at : at + size])
        if type(values) is not list:
            raise ValueError("not a list")
        made.append(_objects(values))
        at += size
    if sum(map(len, made)) != count:
        raise ValueError(f"{sum(map(len, made))} values for a shape of {shape!r}")
    if len({part.dtype.kind for part in made}) > 1:
        made = [part.astype(object) for part in made]
    array = np.concatenate(made) if made else np.empty(0, object)
    return array.reshape(shape), at + (begins - at) % _ALIGNED


def _objects(values: list[Any]) -> Array:
    if values and all(type(value) is str for value in values):
        return np.array(values)
    array = np.empty(len(values), object)
    array[:] = values
    return array
