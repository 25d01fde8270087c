"""Linear models at run time: one matrix product a call, in as few bytes a tenant as possible.

Measured for one row of ten features: Affine 1.0 us, Guarded 1.7 us, Staged with a label 5.5 us.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from tenantry.model import Predictions, Rows
from tenantry_server.kernels.base import SAFE, Compiled, Head, one_of
from tenantry_server.kernels.links import Link
from tenantry_server.kernels.steps import Steps

# Of one row: from its JSON to the answer, for each of its columns, and for each product.
_CALL_S, _COLUMN_S, _PRODUCT_S = 2e-5, 2e-7, 1e-9


class _Linear(Compiled):
    __slots__ = ()

    @property
    def call_s(self) -> float:
        """The cost of a small prediction in seconds, as a rule: it needs no trial in a thread first."""
        return _CALL_S + self.feature_count * (_COLUMN_S + self.outputs * _PRODUCT_S)


class Affine(_Linear):
    """``rows @ weights + intercept``, where no finite row can be refused.

    Args:
        head: the columns that it takes.
        weights: shape (features,) for answers of shape (n,), or (features, outputs).
        intercept: a number, or shape (outputs,).
    """

    __slots__ = ("intercept", "weights")

    def __init__(self, head: Head, weights: npt.NDArray[np.float64], intercept: Any) -> None:
        super().__init__(head)
        self.weights = weights
        self.intercept = intercept

    @property
    def outputs(self) -> int:
        """As `Compiled.outputs`."""
        return 1 if self.weights.ndim == 1 else int(self.weights.shape[1])

    def predict_rows(self, rows: Rows) -> Predictions:
        """Score a matrix, as `Model.predict_rows` says; `dot` takes half the time of ``@``."""
        if len(rows) > 1 and self.weights.ndim == 1:
            self._refuse_bad_shape(rows)
            return _row_by_row(rows, self.weights) + self.intercept  # type: ignore[no-any-return]
        if not len(rows):
            self._refuse_bad_shape(rows)
        return rows.dot(self.weights) + self.intercept  # type: ignore[no-any-return]


class LinkedAffine(Affine):
    """Like `Affine`, with labels or probabilities made of the result.

    Args:
        head: as `Affine` takes it.
        weights: as `Affine` takes them.
        intercept: as `Affine` takes it.
        link: turns raw numbers into the answer.
        classes: labels, where the link needs them.
    """

    __slots__ = ("classes", "link")

    def __init__(
        self,
        head: Head,
        weights: npt.NDArray[np.float64],
        intercept: Any,
        link: Link,
        classes: npt.NDArray[Any] | None,
    ) -> None:
        super().__init__(head, weights, intercept)
        self.link = link
        self.classes = classes

    def predict_rows(self, rows: Rows) -> Predictions:
        """Score a matrix, as `Model.predict_rows` says."""
        return self.link(super().predict_rows(rows), self.classes)


class Guarded(_Linear):
    """Like `Affine`, where a missing value is filled in, or a scaler would overflow on a huge value.

    Both are rare and both show in the sum of the squares, for 0.4 us; only then are the rows checked.

    Args:
        head: the columns that it takes.
        table: the weights, one row an output; then, where values may be missing, what each is replaced
            by (NaN: it is refused); then the largest magnitude of a value that no scaler overflows.
            Shape (rows, features): one array, because the head of each takes over 100 bytes.
        intercept: a number, or shape (outputs,).
        flat: True for one output and answers of shape (n,).
    """

    __slots__ = ("intercept", "table", "weighing")

    def __init__(self, head: Head, table: npt.NDArray[np.float64], intercept: Any, *, flat: bool) -> None:
        super().__init__(head)
        self.table = table
        self.weighing: int | slice = 0 if flat else slice(len(table) - 1 - head.accepts_missing)
        self.intercept = intercept

    @property
    def outputs(self) -> int:
        """As `Compiled.outputs`."""
        return len(self.table)

    def predict_rows(self, rows: Rows) -> Predictions:
        """Score a matrix, as `Model.predict_rows` says.

        Raises:
            ValueError: a value is missing or too large where the original refuses it too.
        """
        if not np.vdot(rows, rows) < SAFE:
            rows = self._checked(rows)
        elif not len(rows):
            self._refuse_bad_shape(rows)
        if len(rows) > 1 and self.weighing == 0:
            self._refuse_bad_shape(rows)
            return _row_by_row(rows, self.table[0]) + self.intercept  # type: ignore[no-any-return]
        return rows.dot(self.table[self.weighing].T) + self.intercept  # type: ignore[no-any-return]

    def _checked(self, rows: Rows) -> Rows:
        self._refuse_bad_shape(rows)
        if self.accepts_missing:
            rows = np.where(np.isnan(rows), self.table[-2], rows)
        missing = np.isnan(rows)
        if missing.any():
            self._refuse(missing, "is missing, and the model takes no missing values there")
        large = np.abs(rows) > self.table[-1]
        if large.any():
            self._refuse(large, "is too large: scaling it overflows")
        return rows


class LinkedGuarded(Guarded):
    """Like `Guarded`, with labels or probabilities made of the result.

    Args:
        head: as `Guarded` takes it.
        table: as `Guarded` takes it.
        intercept: as `Guarded` takes it.
        flat: as `Guarded` takes it.
        link: turns raw numbers into the answer.
        classes: labels, where the link needs them.
    """

    __slots__ = ("classes", "link")

    def __init__(
        self,
        head: Head,
        table: npt.NDArray[np.float64],
        intercept: Any,
        *,
        flat: bool,
        link: Link,
        classes: npt.NDArray[Any] | None,
    ) -> None:
        super().__init__(head, table, intercept, flat=flat)
        self.link = link
        self.classes = classes

    def predict_rows(self, rows: Rows) -> Predictions:
        """Score a matrix, as `Guarded.predict_rows` says."""
        return self.link(super().predict_rows(rows), self.classes)


class Staged(_Linear):
    """The transformers' own operations one by one, then the product: the very bits of the original.

    For labels, which one bit may change, and where the transformers shift so far that folding them
    into the weights would cost digits.

    Args:
        head: the columns that it takes.
        steps: what the transformers do.
        coef: shape (width,) for one output and answers of shape (n,), or (outputs, width), of the
            columns that come out of the steps.
        intercept: a number, or shape (outputs,).
        link: makes the answer; None where it is the result itself.
        classes: labels, where the link needs them.
    """

    __slots__ = ("classes", "columns", "intercept", "link", "ops", "table", "weighing")

    def __init__(
        self,
        head: Head,
        steps: Steps,
        coef: npt.NDArray[np.float64],
        intercept: Any,
        link: Link | None,
        classes: npt.NDArray[Any] | None,
    ) -> None:
        super().__init__(head)
        self.columns = None if steps.in_order else steps.columns
        self.ops = one_of(steps.ops)
        self.table = np.vstack([*steps.operands, coef])  # one array, as in Guarded
        self.weighing: int | slice = -1 if coef.ndim == 1 else slice(len(steps.ops), None)
        self.intercept = intercept
        self.link = link
        self.classes = classes

    @property
    def outputs(self) -> int:
        """As `Compiled.outputs`."""
        return len(self.table)

    def predict_rows(self, rows: Rows) -> Predictions:
        """Score a matrix, as `Model.predict_rows` says.

        Raises:
            ValueError: a value is missing or too large where the original refuses it too.
        """
        if not len(rows) or rows.shape[1] != self.feature_count:
            self._refuse_bad_shape(rows)
        columns = rows if self.columns is None else rows.take(self.columns, axis=1)
        if np.vdot(columns, columns) < SAFE:
            for op, operand in zip(self.ops, self.table, strict=False):  # the weights come last
                columns = op(columns, operand)
        else:
            columns = self._checked(columns)
        raw = columns.dot(self.table[self.weighing].T) + self.intercept
        return raw if self.link is None else self.link(raw, self.classes)

    def _checked(self, columns: Rows) -> Rows:
        with np.errstate(over="ignore", invalid="ignore"):
            for op, operand in zip(self.ops, self.table, strict=False):
                columns = op(columns, operand)
        for refused, problem in (
            (np.isnan(columns), "is missing, and the model takes no missing values there"),
            (np.isinf(columns), "is too large: scaling it overflows"),
        ):
            if refused.any():
                self._refuse_taken(refused, self.columns, problem)
        return columns


def _row_by_row(rows: Rows, weights: npt.NDArray[np.float64]) -> Predictions:
    """Return ``rows @ weights`` with the bits that each row gives alone.

    BLAS adds in another order in a product of a matrix, and its last bit differs for half of all rows.
    """
    with np.errstate(all="ignore"):
        return np.vecdot(np.ascontiguousarray(rows), weights)  # type: ignore[no-any-return]
