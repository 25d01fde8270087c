"""Values of a large body as JSON that is read piece by piece."""

import json
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson

Written: TypeAlias = tuple[dict[str, Any], list[npt.NDArray[Any]]]
"""A document, and the arrays that it describes."""


def dumps(values: Any) -> npt.NDArray[np.uint8]:
    """Write values as JSON; also what is nested more deeply than orjson writes, as it reads more than that.

    Raises:
        RecursionError: the standard library does not write it either.
    """
    try:
        written = orjson.dumps(values)
    except TypeError:
        written = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    return np.frombuffer(written, np.uint8)
