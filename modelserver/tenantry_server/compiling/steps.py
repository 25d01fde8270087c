"""What happens to the columns before the last estimator, as a short list of numpy operations.

Each step is one operation for all columns with one operand a column, in scikit-learn's own order, so
that applying them gives the very bits that the transformers give. Knows no estimator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tenantry.model import Rows
from tenantry_server.compiling.base import CannotCompile

Vector: TypeAlias = npt.NDArray[np.float64]
Op: TypeAlias = Callable[[Rows, Any], Rows]

_LARGEST = np.finfo(np.float64).max
_SAFE_FACTOR = 1e140  # a value below 1e150, scaled by less than this and shifted, stays finite


def fill(rows: Rows, values: Vector) -> Rows:
    """Put the column's value in place of a missing one; NaN leaves the column unchanged."""
    return np.where(np.isnan(rows), values, rows)


NEUTRAL: dict[Op, float] = {np.subtract: 0.0, np.divide: 1.0, np.multiply: 1.0, np.add: 0.0, fill: np.nan}
"""Return the operand with which an operation changes nothing."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Selects columns of the input and applies the same operations to all of them.

    Attributes:
        inputs: columns of the input.
        columns: position in the input of each output column, shape (width,).
        ops: in the order of their use.
        operands: shape (len(ops), width).
    """

    inputs: int
    columns: npt.NDArray[np.intp]
    ops: tuple[Op, ...] = ()
    operands: tuple[Vector, ...] = ()

    @classmethod
    def none(cls, inputs: int) -> "Steps":
        """Return no operations on all columns."""
        return cls(inputs, np.arange(inputs))

    def then(self, op: Op, operand: Any) -> "Steps":
        """Return these steps and one more.

        Raises:
            CannotCompile: the operand is not one finite number a column (or NaN, where it fills).
        """
        values = np.array(operand, dtype=np.float64)
        if values.shape != self.columns.shape:
            raise CannotCompile(f"an operand of shape {values.shape} for {len(self.columns)} columns")
        if not np.isfinite(values).all() and not (op is fill and not np.isinf(values).any()):
            raise CannotCompile("an operand is not finite")
        return Steps(self.inputs, self.columns, (*self.ops, op), (*self.operands, values))

    def taking(self, positions: Sequence[int]) -> "Steps":
        """Return these steps on some of their columns."""
        picked = np.array(positions, dtype=np.intp)
        operands = tuple(operand[picked] for operand in self.operands)
        return Steps(self.inputs, self.columns[picked], self.ops, operands)

    @property
    def in_order(self) -> bool:
        """Whether all columns are selected, each in its place."""
        return len(self.columns) == self.inputs and bool((self.columns[1:] > self.columns[:-1]).all())

    @property
    def fills(self) -> bool:
        """Whether a value is put in place of missing ones in any column."""
        return any(
            op is fill and not np.isnan(operand).all()
            for op, operand in zip(self.ops, self.operands, strict=True)
        )

    def apply(self, rows: Rows) -> Rows:
        """Return the output columns, shape (n, width)."""
        taken = rows.take(self.columns, axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            for op, operand in zip(self.ops, self.operands, strict=True):
                taken = op(taken, operand)
        return taken


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
