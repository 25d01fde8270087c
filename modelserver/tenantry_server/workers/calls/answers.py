"""Predictions on the wire: a few bytes before the numbers, as most answers hold one."""

import struct
from typing import Any

import numpy as np
import orjson

from tenantry.errors import PredictionFailed
from tenantry.model import Predictions
from tenantry_server.kernels import arrays
from tenantry_server.kernels.arrays import Buffer, Malformed
from tenantry_server.scoring import bounds

_HEAD = struct.Struct("<dBB")  # CPU seconds, dtype, dimensions
_SIZES = tuple(struct.Struct(f"<{dimensions}Q") for dimensions in range(5))
_DTYPES = tuple(
    np.dtype(name) for name in ("<f8", "<f4", "<i8", "<i4", "<i2", "<i1", "<u8", "<u4", "<u2", "<u1", "?")
)
_CODES = {dtype: code for code, dtype in enumerate(_DTYPES)}
_CODE_AT = 8
_LARGE_BYTES = 64 << 10
_OTHER = 255  # texts and objects follow as `arrays` writes them


def pack(predictions: Predictions, spent_s: float) -> list[Buffer]:
    """Write predictions and the CPU seconds that they took.

    Raises:
        PredictionFailed: they hold values that JSON has not.
        AnswerTooLarge: they take too much memory.
    """
    rows = len(predictions) if predictions.ndim else 1
    bounds.check(rows, predictions.nbytes)
    code = _CODES.get(predictions.dtype)
    dimensions = predictions.ndim
    if code is not None and dimensions < len(_SIZES):
        head = _HEAD.pack(spent_s, code, dimensions) + _SIZES[dimensions].pack(*predictions.shape)
        return [head, predictions.tobytes()]
    try:
        written = arrays.encode({}, [predictions])
    except (TypeError, orjson.JSONEncodeError) as error:
        raise PredictionFailed(f"the predictions can't be written as JSON: {error}") from None
    bounds.check(rows, sum(map(len, written)))
    return [_HEAD.pack(spent_s, _OTHER, 0), *written]


def is_large(body: Buffer) -> bool:
    """Return whether an answer holds so many texts or objects that reading it takes its time."""
    return len(body) > _LARGE_BYTES and body[_CODE_AT] == _OTHER


def unpack(body: Buffer) -> tuple[Predictions, float]:
    """Read what `pack` wrote; it may have been written by anybody.

    Raises:
        Malformed: it is something else.
    """
    try:
        spent_s, code, dimensions = _HEAD.unpack_from(body)
        if code == _OTHER:
            _, (predictions,) = arrays.decode(memoryview(body)[_HEAD.size :])
            return predictions, spent_s
        sizes = _SIZES[dimensions]
        shape = sizes.unpack_from(body, _HEAD.size)
        numbers: Any = np.frombuffer(body, _DTYPES[code], offset=_HEAD.size + sizes.size)
        return numbers.reshape(shape), spent_s
    except (struct.error, IndexError, ValueError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None
