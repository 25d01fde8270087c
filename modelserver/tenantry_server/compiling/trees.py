"""Reads fitted tree ensembles, and what each of their methods computes from the raw numbers."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import ensemble
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)
from sklearn.utils import get_tags

from tenantry.model import Rows
from tenantry_server.compiling import proof
from tenantry_server.compiling.lines import line_of
from tenantry_server.compiling.proof import Noise
from tenantry_server.kernels import links
from tenantry_server.kernels.base import CannotCompile, Compiled, Head, one_array_of
from tenantry_server.kernels.forest import Ensemble, Forest, Trees
from tenantry_server.kernels.links import Link
from tenantry_server.kernels.steps import Steps
from tenantry_server.kernels.tree_arrays import TreeArrays

_TREES = (DecisionTreeRegressor, DecisionTreeClassifier, ExtraTreeRegressor, ExtraTreeClassifier)
_FORESTS = (
    ensemble.RandomForestRegressor,
    ensemble.RandomForestClassifier,
    ensemble.ExtraTreesRegressor,
    ensemble.ExtraTreesClassifier,
)
_BOOSTED = (ensemble.GradientBoostingRegressor, ensemble.GradientBoostingClassifier)
_HISTOGRAM = (ensemble.HistGradientBoostingRegressor, ensemble.HistGradientBoostingClassifier)
_THRESHOLD_ROWS = 64
_KNOWN = frozenset(_TREES + _FORESTS + _BOOSTED + _HISTOGRAM)
_LINKS: dict[str, Link | None] = {  # of regressors by gradient boosting, by loss
    "poisson": links.exponential,
    "gamma": links.exponential,
}


def knows(estimator: Any) -> bool:
    """Return whether it is one of the tree ensembles; a subclass may do anything, and is not."""
    return type(estimator) in _KNOWN


def build(estimator: Any, method: str, steps: Steps, head: Head) -> Compiled:
    """Hand the trees to treelite.

    Raises:
        CannotCompile: this method, or a parameter of the fit, is unknown.
        ImportError: treelite is not installed.
    """
    if len(steps.columns) != estimator.n_features_in_:  # C code would read beyond the rows
        raise CannotCompile("it takes another number of columns than the steps before it give")
    forest, base = _read(estimator)
    outputs = forest.outputs if base is None else len(base)
    several = base is None and hasattr(estimator, "classes_")  # one column a class, also for a single class
    link, classes = _link_of(estimator, method, outputs)
    model = Ensemble(
        forest,
        single=type(estimator) not in _HISTOGRAM,
        takes_missing=bool(get_tags(estimator).input_tags.allow_nan),
        base=base,
        flat=outputs == 1 and not several,
        link=link,
        classes=classes,
    )
    return Trees(head, model, None if steps.in_order and not steps.ops else steps)


def probes(estimator: Any, steps: Steps, *, missing: bool) -> tuple[Rows, Noise]:
    """Return rows to try it on, most of them at the thresholds of its nodes and one bit beside them.

    Returns:
        shape (n, features); and 0, because the sums are the same to the last bit.
    """
    line = line_of(steps)
    feature, threshold = _splits(estimator)
    rng = np.random.default_rng(4)
    rows = np.tile(rng.normal(size=(_THRESHOLD_ROWS, 1)), (1, steps.inputs))
    for column, (source, slope, offset) in enumerate(
        zip(steps.columns, line.slope, line.offset, strict=True)
    ):
        values = threshold[feature == column]
        if len(values):
            picked = (rng.choice(values, _THRESHOLD_ROWS) - offset) / (slope or 1.0)
            rows[:, source] = _beside(picked)
    holes = rows[: _THRESHOLD_ROWS // 4].copy()
    holes[rng.random(holes.shape) < 0.3] = np.nan
    probes = [proof.edges(steps.inputs), rows]
    if missing and (steps.fills is False or not np.isnan(line.filling).any()):
        probes.append(holes)
    return np.concatenate(probes), 0.0


def noise(_estimator: Any, _steps: Steps, _rows: Rows) -> Noise:
    """Return 0, as `probes`."""
    return 0.0


def _splits(estimator: Any) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Return feature and threshold of every node; leaves have some too, which is harmless."""
    if type(estimator) in _HISTOGRAM:
        nodes = [tree.nodes for trees in estimator._predictors for tree in trees]  # noqa: SLF001
        feature = np.concatenate([tree["feature_idx"] for tree in nodes]).astype(np.intp)
        threshold = np.concatenate([tree["num_threshold"] for tree in nodes])
    else:
        inner = [estimator] if type(estimator) in _TREES else np.ravel(estimator.estimators_)
        feature = np.concatenate([tree.tree_.feature for tree in inner])
        threshold = np.concatenate([tree.tree_.threshold for tree in inner])
    finite = np.isfinite(threshold)  # a split of missing from other values is at infinity
    return feature[finite], threshold[finite]


def _beside(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Move some by the last bit of a float64, some by that of a float32, and some not at all."""
    single = values.astype(np.float32)
    choices = [
        values,
        np.nextafter(values, np.inf),
        np.nextafter(values, -np.inf),
        np.nextafter(single, np.float32(np.inf)).astype(np.float64),
        np.nextafter(single, np.float32(-np.inf)).astype(np.float64),
    ]
    return np.choose(np.arange(len(values)) % len(choices), choices)


def _read(estimator: Any) -> tuple[Forest, npt.NDArray[np.float64] | None]:
    """The trees, and what is added to their sum (None: they give a mean)."""
    if type(estimator) in _HISTOGRAM:
        return _histogram(estimator)
    if type(estimator) in _BOOSTED:
        trees = [tree.tree_ for tree in estimator.estimators_.ravel()]
        # The product is the one that scikit-learn forms for each row.
        values = [tree.value * estimator.learning_rate for tree in trees]
        return _imported(trees, values, estimator.n_features_in_), _base(estimator)
    inner = [estimator] if type(estimator) in _TREES else estimator.estimators_
    if hasattr(estimator, "classes_") and estimator.n_outputs_ != 1:
        raise CannotCompile("a classifier of several outputs is not compiled")
    trees = [tree.tree_ for tree in inner]
    return _imported(trees, [tree.value for tree in trees], estimator.n_features_in_), None


def _base(estimator: Any) -> npt.NDArray[np.float64]:
    """Return the start of boosting, where that is the same for every row."""
    if estimator.init_ != "zero" and type(estimator.init_) not in (DummyClassifier, DummyRegressor):
        raise CannotCompile(f"boosting that starts from {type(estimator.init_).__name__} is not compiled")
    zeros = np.zeros((1, estimator.n_features_in_), dtype=np.float32)
    base = estimator._raw_predict_init(zeros)[0]  # noqa: SLF001 - a number or one a class, by the loss
    return np.array(base, dtype=np.float64)


def _imported(trees: list[Any], values: list[npt.NDArray[np.float64]], features: int) -> Forest:
    """Gather trees, each with the numbers of its leaves."""
    outputs = values[0].shape[1] * values[0].shape[2]
    arrays = TreeArrays(
        counts=np.array([tree.node_count for tree in trees]),
        left=np.concatenate([tree.children_left for tree in trees]),
        right=np.concatenate([tree.children_right for tree in trees]),
        feature=np.concatenate([tree.feature for tree in trees]),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        missing_left=np.concatenate([tree.missing_go_to_left for tree in trees]),
        value=np.concatenate([each.reshape(-1, outputs) for each in values]),
    )
    return Forest(arrays, features)


def _histogram(estimator: Any) -> tuple[Forest, npt.NDArray[np.float64]]:
    if estimator.is_categorical_ is not None:
        raise CannotCompile("boosting with categories is not compiled")
    trees = [tree.nodes for trees in estimator._predictors for tree in trees]  # noqa: SLF001 - no public name
    nodes = np.concatenate(trees)
    leaf = nodes["is_leaf"].astype(bool)
    arrays = TreeArrays(
        counts=np.array([len(tree) for tree in trees]),
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=np.array(nodes["num_threshold"], dtype=np.float64),
        missing_left=nodes["missing_go_to_left"].astype(np.uint8),
        value=np.array(nodes["value"], dtype=np.float64)[:, None],
    )
    base = np.array(estimator._baseline_prediction, dtype=np.float64)  # noqa: SLF001 - as above
    return Forest(arrays, estimator.n_features_in_), base.ravel()


def _link_of(estimator: Any, method: str, outputs: int) -> tuple[Link | None, npt.NDArray[Any] | None]:
    if not hasattr(estimator, "classes_"):
        if method != "predict":
            raise CannotCompile(f"{method} of {type(estimator).__name__} is not compiled")
        return (_LINKS.get(estimator.loss), None) if type(estimator) in _HISTOGRAM else (None, None)
    boosted = type(estimator) not in _TREES + _FORESTS
    if method == "predict":
        classes = one_array_of(estimator.classes_)
        if outputs > 1 or not boosted:
            return links.largest, classes
        return (links.positive if type(estimator) in _HISTOGRAM else links.not_negative), classes
    if method == "decision_function" or (method == "predict_proba" and not boosted):
        return None, None
    if method == "predict_proba":
        if outputs > 1:
            return links.softmax, None
        return (links.steep_sigmoid if estimator.loss == "exponential" else links.sigmoid), None
    raise CannotCompile(f"{method} of {type(estimator).__name__} is not compiled")
