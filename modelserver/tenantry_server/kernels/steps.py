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
from tenantry_server.kernels.base import CannotCompile

Vector: TypeAlias = npt.NDArray[np.float64]
Op: TypeAlias = Callable[[Rows, Any], Rows]


def fill(rows: Rows, values: Vector) -> Rows:
    """Put the column's value in place of a missing one; NaN leaves the column unchanged."""
    return np.where(np.isnan(rows), values, rows)


NEUTRAL: dict[Op, float] = {np.subtract: 0.0, np.divide: 1.0, np.multiply: 1.0, np.add: 0.0, fill: np.nan}
"""Return the operand with which an operation changes nothing."""


@dataclass(frozen=True, slots=True, eq=False)
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
