"""Reads fitted linear estimators, and what each of their methods computes from the raw numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import linear_model as lm
from sklearn.svm import LinearSVC, LinearSVR

from tenantry.model import Rows
from tenantry_server.compiling import proof
from tenantry_server.compiling.lines import Line, line_of
from tenantry_server.compiling.proof import Noise
from tenantry_server.kernels import links
from tenantry_server.kernels.affine import Affine, Guarded, LinkedAffine, LinkedGuarded, Staged
from tenantry_server.kernels.base import CannotCompile, Compiled, Head, one_array_of
from tenantry_server.kernels.links import Link
from tenantry_server.kernels.steps import Steps

# Folding a shift into the intercept costs digits where the shift is large beside the terms: about
# 4 * 2.2e-16 * 128 = 1e-13 of the terms here. Beyond, the shift is done before the product.
_LARGEST_SHIFT = 128.0

_REGRESSORS = frozenset(
    {
        lm.ARDRegression,
        lm.BayesianRidge,
        lm.ElasticNet,
        lm.ElasticNetCV,
        lm.HuberRegressor,
        lm.Lars,
        lm.LarsCV,
        lm.Lasso,
        lm.LassoCV,
        lm.LassoLars,
        lm.LassoLarsCV,
        lm.LassoLarsIC,
        lm.LinearRegression,
        lm.MultiTaskElasticNet,
        lm.MultiTaskElasticNetCV,
        lm.MultiTaskLasso,
        lm.MultiTaskLassoCV,
        lm.OrthogonalMatchingPursuit,
        lm.OrthogonalMatchingPursuitCV,
        lm.QuantileRegressor,
        lm.Ridge,
        lm.RidgeCV,
        lm.SGDRegressor,
        lm.TheilSenRegressor,
        LinearSVR,
    }
)
_CLASSIFIERS = frozenset(
    {
        lm.LogisticRegression,
        lm.LogisticRegressionCV,
        lm.Perceptron,
        lm.RidgeClassifier,
        lm.RidgeClassifierCV,
        lm.SGDClassifier,
        LinearSVC,
    }
)


@dataclass(frozen=True, slots=True)
class Linear:
    """The numbers of a linear estimator.

    Attributes:
        coef: shape (width,) for answers of shape (n,), or (outputs, width).
        intercept: a number, or shape (outputs,).
        link: makes the answer; None where it is the raw numbers.
        classes: the labels, where the link needs them.
        labels: True where the last bit of the raw numbers may change the answer.
    """

    coef: npt.NDArray[np.float64]
    intercept: Any
    link: Link | None
    classes: npt.NDArray[Any] | None
    labels: bool


def knows(estimator: Any) -> bool:
    """Return whether it is one of the linear family; a subclass may do anything, and is not."""
    return type(estimator) in _REGRESSORS or type(estimator) in _CLASSIFIERS


def build(estimator: Any, method: str, steps: Steps, head: Head) -> Compiled:
    """Return the quickest model that gives the right digits.

    Raises:
        CannotCompile: this method is unknown, or the steps are not lines.
    """
    linear = _read(estimator, method)
    line = line_of(steps)
    if line.is_identity and steps.in_order and not steps.fills:
        return _affine(linear, head)
    filled_twice = steps.fills and len(set(steps.columns.tolist())) < len(steps.columns)
    if linear.labels or filled_twice or not line.exact or not _keeps_digits(linear, line):
        return Staged(head, steps, linear.coef, linear.intercept, linear.link, linear.classes)
    return _folded(linear, steps, line, head)


def probes(estimator: Any, steps: Steps, *, missing: bool) -> tuple[Rows, Noise]:
    """Return rows to try it on, and for each the rounding of the estimator's own raw numbers.

    Returns:
        shape (n, features), and shape (n,).
    """
    rows = proof.rows_for_lines(line_of(steps), steps.columns, steps.inputs, missing=missing)
    return rows, noise(estimator, steps, rows)


def noise(estimator: Any, steps: Steps, rows: Rows) -> Noise:
    """Return the rounding of the estimator's own raw numbers for rows, shape (n,)."""
    line = line_of(steps)
    coef = np.atleast_2d(np.abs(estimator.coef_))
    # At the centre all terms are zero; what was folded is not, and rounds by its own size.
    terms = (np.abs(steps.apply(rows)) + np.abs(line.offset)) @ coef.T + np.abs(estimator.intercept_)
    return proof.noise_of(terms.max(axis=1), coef.shape[1])


def _read(estimator: Any, method: str) -> Linear:
    """Return the numbers of a fitted estimator and what its method computes from them.

    Raises:
        CannotCompile: this method is unknown.
    """
    coef = estimator.coef_
    if not isinstance(coef, np.ndarray) or coef.dtype.kind != "f" or coef.ndim not in (1, 2):
        raise CannotCompile("its coefficients are not a plain array")
    coef = coef.astype(np.float64)
    intercept = np.array(estimator.intercept_, dtype=np.float64)
    if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
        raise CannotCompile("its coefficients are not finite")
    if type(estimator) in _REGRESSORS:
        if method != "predict":
            raise CannotCompile(f"{method} of {type(estimator).__name__} is not compiled")
        return Linear(coef, _intercept(intercept, coef), None, None, labels=False)
    if coef.ndim == 2 and len(coef) == 1:
        coef = coef[0]
    link, classes = _link_of(estimator, method, binary=coef.ndim == 1)
    return Linear(coef, _intercept(intercept, coef), link, classes, labels=method == "predict")


def _affine(linear: Linear, head: Head) -> Compiled:
    weights = np.array(linear.coef.T, order="F")
    if linear.link is None:
        return Affine(head, weights, linear.intercept)
    return LinkedAffine(head, weights, linear.intercept, linear.link, linear.classes)


def _folded(linear: Linear, steps: Steps, line: Line, head: Head) -> Compiled:
    """Scatter the weights to the input columns; one that is used twice gets the sum."""
    count = head.count
    flat = linear.coef.ndim == 1
    table = np.zeros((1 if flat else len(linear.coef), count))
    for output, row in enumerate(np.atleast_2d(linear.coef)):
        np.add.at(table[output], steps.columns, row * line.slope)
    limit = np.full(count, np.inf)
    np.minimum.at(limit, steps.columns, line.limit)
    intercept = linear.intercept + linear.coef @ line.offset
    intercept = float(intercept) if flat else intercept
    if not head.accepts_missing and np.isinf(limit).all() and linear.link is None:
        return Affine(head, np.array(table[0]) if flat else np.asfortranarray(table.T), intercept)
    rows = [table, limit]
    if head.accepts_missing:
        filling = np.zeros(count)  # an unused column may be missing
        filling[steps.columns] = line.filling
        rows.insert(1, filling)
    if linear.link is None:
        return Guarded(head, np.vstack(rows), intercept, flat=flat)
    return LinkedGuarded(
        head, np.vstack(rows), intercept, flat=flat, link=linear.link, classes=linear.classes
    )


def _keeps_digits(linear: Linear, line: Line) -> bool:
    coef = np.abs(np.atleast_2d(linear.coef))
    shifts = coef @ np.abs(line.offset)
    return bool((shifts <= _LARGEST_SHIFT * (coef.sum(axis=1) + np.abs(linear.intercept))).all())


def _intercept(intercept: npt.NDArray[np.float64], coef: npt.NDArray[np.float64]) -> Any:
    if coef.ndim == 1:
        return float(intercept.reshape(()) if intercept.ndim == 0 else intercept.reshape(1)[0])
    return np.array(np.broadcast_to(intercept, (len(coef),)))


def _link_of(estimator: Any, method: str, *, binary: bool) -> tuple[Link | None, npt.NDArray[Any] | None]:
    classes = np.asarray(estimator.classes_)
    if binary != (len(classes) == 2) or classes.ndim != 1:
        raise CannotCompile("it has other classes than coefficients")
    if method == "decision_function":
        return None, None
    if method == "predict":
        return links.positive if binary else links.largest, one_array_of(classes)
    if method == "predict_proba":
        chosen: dict[bool, Callable[..., Any]] | None = None
        if type(estimator) in (lm.LogisticRegression, lm.LogisticRegressionCV):
            chosen = {True: links.sigmoid, False: links.softmax}
        elif type(estimator) is lm.SGDClassifier and estimator.loss == "log_loss":
            chosen = {True: links.sigmoid, False: links.sigmoid_shares}
        elif type(estimator) is lm.SGDClassifier and estimator.loss == "modified_huber":
            chosen = {True: links.huber, False: links.huber_shares}
        if chosen is not None:
            return chosen[binary], None
    raise CannotCompile(f"{method} of {type(estimator).__name__} is not compiled")
