"""Steps of several transformers side by side, and all steps of a column folded into one line."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tenantry_server.kernels.base import CannotCompile
from tenantry_server.kernels.steps import NEUTRAL, Op, Steps, Vector, fill

_LARGEST = np.finfo(np.float64).max
_SAFE_FACTOR = 1e140  # a value below 1e150, scaled by less than this and shifted, stays finite


def side_by_side(blocks: Sequence[Steps]) -> Steps:
    """Combine several steps on the same input, their columns side by side.

    Where blocks begin with the same operation they share it; the others get its neutral operand, which
    changes no bit of a value except the sign of a zero.
    """
    columns = np.concatenate([block.columns for block in blocks])
    used = [0] * len(blocks)
    ops: list[Op] = []
    operands: list[Vector] = []
    while any(done < len(block.ops) for done, block in zip(used, blocks, strict=True)):
        op = next(
            block.ops[done] for done, block in zip(used, blocks, strict=True) if done < len(block.ops)
        )
        parts = []
        for number, block in enumerate(blocks):
            if used[number] < len(block.ops) and block.ops[used[number]] is op:
                parts.append(block.operands[used[number]])
                used[number] += 1
            else:
                parts.append(np.full(len(block.columns), NEUTRAL[op]))
        ops.append(op)
        operands.append(np.concatenate(parts))
    return Steps(blocks[0].inputs, columns, tuple(ops), tuple(operands))


@dataclass(frozen=True, slots=True)
class Line:
    """All steps of each column as one line: fill a missing value, then ``slope * x + offset``.

    Attributes:
        slope: shape (width,).
        offset: shape (width,).
        filling: in the units of the input; NaN where the column must not be missing.
        limit: the largest magnitude of an input that no step overflows; infinity where none can.
        exact: False where a value is filled in after another step, so that `filling` is not known.
    """

    slope: Vector
    offset: Vector
    filling: Vector
    limit: Vector
    exact: bool

    @property
    def is_identity(self) -> bool:
        """Whether a value that is not missing stays unchanged."""
        return bool((self.slope == 1).all() and not self.offset.any())


@lru_cache(maxsize=1)  # a model's steps are asked for three times while it is compiled
def line_of(steps: Steps) -> Line:
    """Fold the steps of each column.

    Raises:
        CannotCompile: they scale so strongly that a common value could overflow.
    """
    width = len(steps.columns)
    slope, offset = np.ones(width), np.zeros(width)
    filling, limit = np.full(width, np.nan), np.full(width, np.inf)
    exact = True
    with np.errstate(all="ignore"):
        for op, operand in zip(steps.ops, steps.operands, strict=True):
            if op is fill:
                new = np.isnan(filling) & ~np.isnan(operand)
                exact = exact and not (new & ((slope != 1) | (offset != 0))).any()
                filling = np.where(new, operand, filling)
                continue
            offset = op(offset, operand)
            slope = op(slope, operand) if op in (np.multiply, np.divide) else slope
            limit = np.where(np.abs(slope) > 1, np.minimum(limit, _LARGEST / np.abs(slope)), limit)
    for values in (slope, offset, filling[~np.isnan(filling)]):
        if not (np.abs(values) < _SAFE_FACTOR).all():
            raise CannotCompile("a scale or shift is too large")
    return Line(slope, offset, filling, limit, exact)
