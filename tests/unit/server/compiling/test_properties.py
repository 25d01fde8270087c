"""Whatever is fitted on whatever data: what is compiled answers as scikit-learn does."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from sklearn import ensemble, tree
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Ridge,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.svm import LinearSVC, LinearSVR

from tenantry_server.compiling.compiler import fast
from tenantry_server.formats.sklearn.reader import SklearnModel
from tenantry_server.kernels.base import Compiled

Matrix = npt.NDArray[np.float64]

LINEAR_REGRESSORS = [
    LinearRegression(),
    LinearRegression(fit_intercept=False),
    Ridge(),
    Lasso(alpha=0.1),
    ElasticNet(alpha=0.1),
    SGDRegressor(max_iter=20),
    LinearSVR(max_iter=50),
]
LINEAR_CLASSIFIERS = [
    LogisticRegression(max_iter=20),
    LogisticRegression(max_iter=20, fit_intercept=False),
    SGDClassifier(loss="log_loss", max_iter=20),
    SGDClassifier(loss="modified_huber", max_iter=20),
    SGDClassifier(max_iter=20),
    LinearSVC(max_iter=50),
]
TREE_REGRESSORS = [
    tree.DecisionTreeRegressor(),
    tree.ExtraTreeRegressor(),
    ensemble.RandomForestRegressor(4),
    ensemble.ExtraTreesRegressor(4),
    ensemble.GradientBoostingRegressor(n_estimators=4),
    ensemble.HistGradientBoostingRegressor(max_iter=4, min_samples_leaf=3),
]
TREE_CLASSIFIERS = [
    tree.DecisionTreeClassifier(max_depth=3),
    ensemble.RandomForestClassifier(4, max_depth=3),
    ensemble.ExtraTreesClassifier(4, max_depth=3),
    ensemble.GradientBoostingClassifier(n_estimators=4),
    ensemble.HistGradientBoostingClassifier(max_iter=4, min_samples_leaf=3),
]
SCALERS = [StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler]
STRATEGIES = ["mean", "median", "most_frequent", "constant"]
METHODS = ("predict", "predict_proba", "decision_function")


@st.composite
def tables(draw: st.DrawFn) -> tuple[Matrix, np.random.Generator]:
    """Rows of one of the kinds that users have: measurements, counts, dates, constants, all mixed."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, width = draw(st.integers(12, 40)), draw(st.integers(1, 6))
    rows = rng.normal(size=(count, width))
    for column in range(width):
        kind = draw(st.sampled_from(["normal", "counts", "flags", "dates", "tiny", "constant", "copy"]))
        if kind == "counts":
            rows[:, column] = rng.poisson(3, count)
        elif kind == "flags":
            rows[:, column] = rng.integers(0, 2, count)
        elif kind == "dates":
            rows[:, column] = 1.7e9 + rng.integers(0, 10**6, count)
        elif kind == "tiny":
            rows[:, column] *= 1e-7
        elif kind == "constant":
            rows[:, column] = draw(st.sampled_from([0.0, 1.0, 0.1, -3e5]))
        elif kind == "copy":
            rows[:, column] = rows[:, 0]
    return rows, rng


@st.composite
def transformers(draw: st.DrawFn, width: int, *, fills: bool, depth: int = 0) -> Any:
    """A chain that ends without missing values, where `fills`, and may split the columns."""
    parts: list[Any] = ["passthrough"] if draw(st.booleans()) and depth else []
    if draw(st.booleans()):
        parts.append(draw(st.sampled_from(SCALERS))())
    if fills:
        parts.insert(
            draw(st.integers(0, len(parts))),
            SimpleImputer(strategy=draw(st.sampled_from(STRATEGIES)), fill_value=2.5),
        )
    if depth < 2 and width > 1 and draw(st.booleans()):
        order = draw(st.permutations(range(width)))
        cut = draw(st.integers(1, width - 1))
        inner = [
            (str(number), draw(transformers(len(some), fills=fills, depth=depth + 1)), list(some))
            for number, some in enumerate((order[:cut], order[cut:]))
        ]
        parts.append(ColumnTransformer(inner))
    if depth < 2 and draw(st.booleans()):
        parts.append(make_pipeline(draw(st.sampled_from(SCALERS))()))
    return make_pipeline(*parts) if parts else "passthrough"


def fitted(estimator: Any, rows: Matrix, target: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(rows, target)


def with_holes(rows: Matrix, rng: np.random.Generator) -> Matrix:
    """A tenth of the values missing, but never a whole column, which an imputer would drop."""
    holes = np.where(rng.random(rows.shape) < 0.1, np.nan, rows)
    holes[0] = rows[0]
    return holes


def targets(rows: Matrix, rng: np.random.Generator, classes: int) -> Any:
    scaled = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-9)
    values = scaled @ rng.normal(size=rows.shape[1]) + 0.1 * rng.normal(size=len(rows))
    if not classes:
        return values
    labels = np.array(["ant", "bee", "cow", "dog"])[:classes]
    found = np.argsort(np.argsort(values)) * classes // len(values)
    return labels[found] if rng.random() < 0.5 else found * 3 - 1


def seen_by_the_last_step(estimator: Any, rows: Matrix) -> Any:
    return estimator[:-1].transform(rows) if len(estimator) > 1 else rows


def assert_answers_agree(estimator: Pipeline, rows: Matrix) -> None:
    final = estimator[-1]
    for method in METHODS:
        if not hasattr(estimator, method):
            continue
        original = SklearnModel(estimator, method)
        model = fast(original)
        assert isinstance(model, Compiled), f"{method} was left alone"
        event(f"{type(model).__name__} {type(final).__name__}")
        for some in (rows, rows[:1], rows[-1:]):
            expected = original.predict_rows(some)
            seen = model.predict_rows(some)
            assert (seen.shape, seen.dtype) == (expected.shape, expected.dtype)
            if expected.dtype.kind != "f":
                np.testing.assert_array_equal(seen, expected)
                continue
            # Beside 1e-9: the rounding of a sum is as large as its terms are.
            noise: Any = 1e-15
            if hasattr(final, "coef_"):
                columns = np.abs(seen_by_the_last_step(estimator, some))
                terms = (columns + 1) @ np.abs(np.atleast_2d(final.coef_)).T + np.abs(final.intercept_)
                noise = 1e-15 + 1e-12 * terms.max(axis=1).reshape(-1, *[1] * (expected.ndim - 1))
            assert (np.abs(seen - expected) <= 1e-9 * np.abs(expected) + noise).all()


PROFILE = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@PROFILE
@given(st.data(), tables(), st.booleans(), st.sampled_from([0, 2, 3]))
def test_linear_models_answer_as_scikit_learn_does(
    data: st.DataObject, table: tuple[Matrix, np.random.Generator], fills: bool, classes: int
) -> None:
    rows, rng = table
    before = data.draw(transformers(rows.shape[1], fills=fills))
    final = data.draw(st.sampled_from(LINEAR_CLASSIFIERS if classes else LINEAR_REGRESSORS))
    target = targets(rows, rng, classes)
    if fills:
        rows = with_holes(rows, rng)
    estimator = fitted(make_pipeline(before, final), rows, target)
    others = rng.normal(size=rows.shape) * np.nanstd(rows, axis=0) + np.nanmean(rows, axis=0)
    assert_answers_agree(estimator, np.concatenate([rows, others, np.zeros_like(rows[:1])]))


@PROFILE
@given(st.data(), tables(), st.booleans(), st.sampled_from([0, 2, 3]))
def test_tree_ensembles_answer_as_scikit_learn_does(
    data: st.DataObject, table: tuple[Matrix, np.random.Generator], fills: bool, classes: int
) -> None:
    rows, rng = table
    before = data.draw(transformers(rows.shape[1], fills=fills))
    final = data.draw(st.sampled_from(TREE_CLASSIFIERS if classes else TREE_REGRESSORS))
    target = targets(rows, rng, classes)
    if fills:
        rows = with_holes(rows, rng)
    estimator = fitted(make_pipeline(before, final), rows, target)
    midpoints = (rows[1:] + rows[:-1]) / 2  # where trees put their thresholds
    assert_answers_agree(estimator, np.concatenate([rows, midpoints, np.zeros_like(rows[:1])]))


@PROFILE
@given(
    st.data(),
    tables(),
    st.sampled_from([LINEAR_REGRESSORS[2], LINEAR_CLASSIFIERS[0], TREE_REGRESSORS[2], TREE_REGRESSORS[4]]),
)
def test_any_finite_row_is_answered_or_refused_alike(
    data: st.DataObject, table: tuple[Matrix, np.random.Generator], final: Any
) -> None:
    rows, rng = table
    before = data.draw(transformers(rows.shape[1], fills=False))
    target = targets(rows, rng, 2 if final is LINEAR_CLASSIFIERS[0] else 0)
    original = SklearnModel(fitted(make_pipeline(before, final), rows, target))
    model = fast(original)
    assert isinstance(model, Compiled)
    values = st.floats(allow_nan=False, allow_infinity=False)
    row = np.array([data.draw(st.lists(values, min_size=rows.shape[1], max_size=rows.shape[1]))])
    with np.errstate(all="ignore"):
        try:
            expected = original.predict_rows(row)
        except ValueError:
            event("refused")
            try:
                seen = model.predict_rows(row)
            except ValueError:
                return
            raise AssertionError(f"the original refuses {row}, the compiled one answers {seen}") from None
        seen = model.predict_rows(row)
    assert (seen.shape, seen.dtype) == (expected.shape, expected.dtype)
    if expected.dtype.kind != "f" or not hasattr(final, "coef_"):
        np.testing.assert_array_equal(seen, expected)
    elif np.isfinite(expected).all():
        with np.errstate(all="ignore"):
            columns = seen_by_the_last_step(original.estimator, row)
            terms = (np.abs(columns) + 1) @ np.abs(np.ravel(final.coef_)) + np.abs(final.intercept_)
        assert np.abs(seen - expected) <= 1e-9 * np.abs(expected) + 1e-12 * terms
