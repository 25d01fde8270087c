"""The datatypes of the Open Inference Protocol: their names, sizes, and numpy types."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tenantry.errors import FeatureMismatch, PredictionFailed
from tenantry.model import Predictions

NUMERIC: dict[str, np.dtype[Any]] = {
    "FP64": np.dtype("<f8"),
    "FP32": np.dtype("<f4"),
    "FP16": np.dtype("<f2"),
    "INT64": np.dtype("<i8"),
    "INT32": np.dtype("<i4"),
    "INT16": np.dtype("<i2"),
    "INT8": np.dtype("i1"),
    "UINT64": np.dtype("<u8"),
    "UINT32": np.dtype("<u4"),
    "UINT16": np.dtype("<u2"),
    "UINT8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
TEXT = "BYTES"
NAMES = (*NUMERIC, TEXT)
LENGTH_BYTES = 4  # before each element of a BYTES tensor
_LENGTH = struct.Struct("<I")
_BY_DTYPE = {dtype: name for name, dtype in NUMERIC.items()}


def tensor_of(predictions: Predictions) -> tuple[str, npt.NDArray[Any] | list[str | None]]:
    """Return predictions as a tensor's datatype and its values in row-major order.

    Numbers keep their own type; wider ones than 64 bits become FP64.

    Returns:
        the datatype, and a C-contiguous little-endian array, or the texts of a BYTES tensor.

    Raises:
        PredictionFailed: they are neither numbers, truth values nor texts.
    """
    dtype = predictions.dtype
    name = _BY_DTYPE.get(dtype)
    if name is not None:
        return name, np.ascontiguousarray(predictions)
    if dtype.kind == "f":
        return tensor_of(predictions.astype(np.float64))
    if dtype.kind in "iub":
        return tensor_of(predictions.astype(dtype.newbyteorder("<")))
    if dtype.kind in "UO":
        texts = predictions.ravel().tolist()
        if all(text is None or isinstance(text, str) for text in texts):
            return TEXT, texts
        if dtype.kind == "O":
            return tensor_of(_numbers(predictions))
    raise PredictionFailed(f"predictions of type {dtype} can't be written as a tensor")


def _numbers(predictions: Predictions) -> Predictions:
    try:
        return predictions.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise PredictionFailed(f"the predictions can't be written as a tensor: {error}") from None


def pack_texts(texts: Sequence[str | None]) -> bytes:
    """Write the binary form: each element's length in four bytes, little-endian, and its UTF-8."""
    encoded = [b"" if text is None else text.encode() for text in texts]
    return b"".join([part for item in encoded for part in (_LENGTH.pack(len(item)), item)])


def unpack_texts(data: bytes | memoryview, count: int) -> list[str]:
    """Read `count` elements of the binary form, which must be all of `data`.

    Raises:
        FeatureMismatch: a length leads out of the data, the count differs, or it is not UTF-8.
    """
    texts: list[str] = []
    position = 0
    end = len(data)
    try:
        while position < end:
            start = position + LENGTH_BYTES
            position = start + _LENGTH.unpack_from(data, position)[0]
            if position > end:
                raise FeatureMismatch(f"element {len(texts)} claims to be longer than the data")
            texts.append(str(data[start:position], "utf-8"))
    except struct.error:
        raise FeatureMismatch(f"element {len(texts)} has no length of {LENGTH_BYTES} bytes") from None
    except UnicodeDecodeError:
        raise FeatureMismatch(f"element {len(texts)} is not UTF-8 text") from None
    if len(texts) != count:
        raise FeatureMismatch(f"it holds {len(texts)} elements, its shape says {count}")
    return texts
