"""Proves that a compiled model answers like its original, on rows that include edge cases.

What counts as equal: labels exactly; numbers within 1e-9 of their size, or within the rounding of the
original itself. A sum of terms has an error of about 2.2e-16 of their *magnitude*, so where large terms
cancel, the digits that are lost are noise in the original too, and no other order of summation gives
them again.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tenantry.model import Predictions, Rows
from tenantry_server.compiling.lines import Line
from tenantry_server.kernels.base import CannotCompile

Noise: TypeAlias = npt.NDArray[np.float64] | float

_RELATIVE = 1e-9
_EPSILON = float(np.finfo(np.float64).eps)
_NORMAL_ROWS = 6
_CACHED_COLUMNS = 256  # probe rows of wider models are made each time: they could fill the memory


def rows_for_lines(line: Line, columns: npt.NDArray[np.intp], count: int, *, missing: bool) -> Rows:
    """Probe rows for linear models.

    Args:
        line: what is done to each used column.
        columns: the used columns.
        count: all columns of the input.
        missing: whether values may be missing.

    Returns:
        zeros, ones, small, large and mixed rows, the centre that the scalers subtract, and rows spread
        around it as the scalers say; then, where values may be missing, rows with some of them.
    """
    centre, spread = np.zeros(count), np.ones(count)
    slope = np.where(line.slope == 0, 1.0, line.slope)
    centre[columns] = -line.offset / slope
    spread[columns] = 1 / slope
    rows = np.concatenate([edges(count), centre[None], centre + spread * _normals(count)])
    if not missing:
        return rows
    holes = rows[-3:].copy()
    fillable = np.zeros(count, dtype=bool)
    fillable[columns] = ~np.isnan(line.filling)
    holes[0][fillable] = np.nan
    holes[1][fillable & (np.arange(count) % 2 == 0)] = np.nan
    holes[2][fillable & (np.arange(count) % 2 == 1)] = np.nan
    return np.concatenate([rows, holes])


def noise_of(terms: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """Return the rounding of a sum of `width` terms of this magnitude."""
    return 4.0 * (width + 2) * _EPSILON * terms


def check(
    expected: Predictions, answer: Callable[[Any], Predictions], rows: Any, noise: Noise = 0.0
) -> None:
    """Compare both on all rows at once, and on the last row alone.

    Args:
        expected: the original's answer to `rows`.
        answer: of the model on trial, to rows of the form that it takes.
        rows: valid for both.
        noise: the rounding of the original's raw numbers, shape (n,) or as they have.

    Raises:
        CannotCompile: they differ.
    """
    with np.errstate(all="ignore"):  # large probes may overflow in both
        _compare(expected, answer(rows), noise)
        last = rows[-1:]
        alone = answer(last)
        _compare(expected[-1:], alone, noise if np.ndim(noise) == 0 else np.asarray(noise)[-1:])


def _compare(expected: Predictions, seen: Predictions, noise: Noise) -> None:
    if seen.shape != expected.shape or seen.dtype != expected.dtype:
        raise CannotCompile(f"{seen.dtype}{seen.shape} instead of {expected.dtype}{expected.shape}")
    if np.array_equal(seen, expected):
        return
    if expected.dtype.kind != "f":
        raise CannotCompile("other labels than the original's")
    allowed = np.asarray(noise)
    if allowed.ndim and allowed.ndim < expected.ndim:
        allowed = allowed[:, None]
    elif allowed.ndim > expected.ndim:
        allowed = allowed.max(axis=-1)
    allowed = allowed + _RELATIVE * np.abs(expected) + _EPSILON
    if not (np.abs(seen - expected) <= allowed).all():
        worst = float(np.nanmax(np.abs(seen - expected)))
        raise CannotCompile(f"it differs from the original by up to {worst:.3g}")


def edges(count: int) -> Rows:
    """Return zeros, ones, small and large values, and a mixture; the array is shared: don't change it."""
    return _edges(count) if count <= _CACHED_COLUMNS else _edges.__wrapped__(count)


@lru_cache(maxsize=64)
def _edges(count: int) -> Rows:
    ladder = np.array([0.0, 1.0, -1.0, 1e-9, 1e6, -1e6, 1e12])[:, None]
    rows = np.repeat(ladder, count, axis=1)
    mixed = np.resize([1.0, -2.0, 3e3, 1e-3], count)
    return np.vstack([rows, mixed])


def _normals(count: int) -> Rows:
    return _drawn(count) if count <= _CACHED_COLUMNS else _drawn.__wrapped__(count)


@lru_cache(maxsize=64)
def _drawn(count: int) -> Rows:
    return np.random.default_rng(4).normal(size=(_NORMAL_ROWS, count))
