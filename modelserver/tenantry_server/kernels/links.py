"""From the raw numbers of a model to its answer: labels, probabilities, positive means.

Each is a function of the raw numbers, shape (n,) or (n, outputs), and of the class labels, in
scikit-learn's own order of operations, so that equal raw numbers give equal answers.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tenantry.model import Predictions

Raw: TypeAlias = npt.NDArray[np.float64]
Link: TypeAlias = Callable[[Raw, Any], Predictions]


def positive(raw: Raw, classes: Any) -> Predictions:
    """The second label above zero, else the first."""
    return np.asarray(classes.take((raw > 0).astype(np.intp)))


def not_negative(raw: Raw, classes: Any) -> Predictions:
    """The second label from zero on, else the first."""
    return np.asarray(classes.take((raw >= 0).astype(np.intp)))


def largest(raw: Raw, classes: Any) -> Predictions:
    """The label of the largest column, the first of equal ones."""
    return np.asarray(classes.take(raw.argmax(axis=1)))


def sigmoid(raw: Raw, _: Any) -> Predictions:
    """Probabilities of two classes, shape (n, 2)."""
    return _pair(_expit(raw))


def steep_sigmoid(raw: Raw, _: Any) -> Predictions:
    """Of two classes, from half the log odds: what boosting by exponential loss gives."""
    return _pair(_expit(2 * raw))


def sigmoid_shares(raw: Raw, _: Any) -> Predictions:
    """One against the rest: each class by itself, then their shares, shape (n, classes)."""
    return _shares(_expit(raw))


def softmax(raw: Raw, _: Any) -> Predictions:
    """Probabilities of several classes, shape (n, classes)."""
    powers: Raw = np.exp(raw - np.maximum.reduce(raw, axis=1, keepdims=True))
    powers /= np.add.reduce(powers, axis=1, keepdims=True)
    return powers


def huber(raw: Raw, _: Any) -> Predictions:
    """Two classes by the modified Huber loss: a ramp from -1 to 1, shape (n, 2)."""
    return _pair((raw.clip(-1, 1) + 1.0) / 2.0)


def huber_shares(raw: Raw, _: Any) -> Predictions:
    """As `huber` for each class against the rest, then their shares."""
    return _shares((raw.clip(-1, 1) + 1.0) / 2.0)


def exponential(raw: Raw, _: Any) -> Predictions:
    """The mean from its logarithm."""
    return np.exp(raw)


def _expit(raw: Raw) -> Raw:
    """The logistic function; within one unit in the last place of SciPy's, which takes long to import."""
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-raw)))


def _pair(second: Raw) -> Predictions:
    pair = np.empty((len(second), 2))
    pair[:, 1] = second
    np.subtract(1, second, out=pair[:, 0])
    return pair


def _shares(each: Raw) -> Predictions:
    total = each.sum(axis=1)
    nothing = total == 0
    if nothing.any():  # no class has any: scikit-learn makes all alike
        each[nothing] = 1
        total[nothing] = each.shape[1]
    each /= total[:, None]
    return each
