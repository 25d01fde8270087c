"""The types of Arrow's columns that are read and written here, and the numbers of its messages.

Named in Schema.fbs and Message.fbs (arrow.apache.org/docs/format/Columnar.html), format version 5.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

V5 = 4
SCHEMA, DICTIONARY, BATCH = 1, 2, 3  # kinds of message
NULL, INT, FLOAT, TEXT, BOOL, LARGE_TEXT = 1, 2, 3, 5, 6, 20
CONTINUATION = b"\xff\xff\xff\xff"

Numbers: TypeAlias = "npt.NDArray[np.float64]"

FLOATS: dict[int, np.dtype[np.floating]] = {1: np.dtype("<f4"), 2: np.dtype("<f8")}
"""By precision; the half one is left to pyarrow."""


def int_of(bits: int, *, signed: bool) -> "np.dtype[np.integer] | None":
    """Return the type of whole numbers of so many bits; None: there is none."""
    return np.dtype(f"<{'i' if signed else 'u'}{bits // 8}") if bits in (8, 16, 32, 64) else None
