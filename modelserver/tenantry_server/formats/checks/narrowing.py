"""Numbers of a request in the type that a graph's input declares; refuses those that would change."""

from typing import Any

import numpy as np
import numpy.typing as npt


def cast(values: npt.NDArray[Any], dtype: np.dtype[Any], column: Any = None) -> npt.NDArray[Any]:
    """Cast numbers to another type.

    Args:
        values: shape (n,) or (n, columns).
        column: its name, for the message; None: its position.

    Raises:
        ValueError: a number is too large for it, or not whole where only whole numbers fit.
    """
    if dtype == values.dtype:
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(dtype)
    lost = np.isinf(narrow) & np.isfinite(values) if dtype.kind == "f" else narrow != values
    if lost.any():
        row, *position = (int(index) for index in np.argwhere(lost)[0])
        where = repr(column) if column is not None else position[0]
        raise ValueError(f"row {row}, column {where}: {values[row, *position]} is not of type {dtype}")
    return narrow
