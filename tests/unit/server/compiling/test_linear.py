"""Linear models, compiled: the same answers as scikit-learn's, the same refusals, and little memory."""

import gc
import pickle
import tracemalloc
import warnings
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    ElasticNetCV,
    HuberRegressor,
    Lars,
    Lasso,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    MultiTaskLasso,
    Perceptron,
    Ridge,
    RidgeClassifier,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC, LinearSVR

from tenantry import Model
from tenantry.errors import FeatureMismatch
from tenantry_server.compiling import linear, proof
from tenantry_server.compiling.compiler import fast
from tenantry_server.formats.sklearn.reader import SklearnModel
from tenantry_server.kernels.affine import Affine, Guarded, Staged
from tenantry_server.kernels.base import CannotCompile, Compiled, Picked
from tenantry_server.kernels.steps import Steps
from tenantry_server.memory.model_size import size_bytes
from tenantry_server.toys import SumModel

RNG = np.random.default_rng(0)
NAMES = [f"c{number}" for number in range(10)]
ROWS = RNG.normal(size=(120, 10)) * np.logspace(-2, 3, 10) + 5
FRAME = pd.DataFrame(ROWS, columns=NAMES)
HOLES = FRAME.mask(RNG.random(FRAME.shape) < 0.1)
TARGET = ROWS @ RNG.normal(size=10)
TWO = np.where(np.median(TARGET) < TARGET, "yes", "no")
THREE = np.digitize(TARGET, np.quantile(TARGET, [0.3, 0.6]))

REGRESSORS = [
    LinearRegression(),
    LinearRegression(fit_intercept=False),
    Ridge(),
    RidgeCV(),
    Lasso(),
    LassoCV(cv=2, alphas=3),
    ElasticNet(),
    ElasticNetCV(cv=2, alphas=3),
    SGDRegressor(),
    LinearSVR(),
    BayesianRidge(),
    HuberRegressor(),
    Lars(),
]
CLASSIFIERS = [
    (LogisticRegression(), ("predict", "predict_proba", "decision_function")),
    (
        LogisticRegressionCV(Cs=2, cv=2, use_legacy_attributes=False, l1_ratios=(0,), scoring="accuracy"),
        ("predict", "predict_proba"),
    ),
    (SGDClassifier(loss="log_loss"), ("predict", "predict_proba", "decision_function")),
    (SGDClassifier(loss="modified_huber"), ("predict", "predict_proba", "decision_function")),
    (SGDClassifier(), ("predict", "decision_function")),
    (LinearSVC(), ("predict", "decision_function")),
    (RidgeClassifier(), ("predict", "decision_function")),
    (Perceptron(), ("predict", "decision_function")),
]
SCALERS = [
    None,
    StandardScaler(),
    MinMaxScaler(),
    MaxAbsScaler(),
    RobustScaler(),
    StandardScaler(with_std=False),
]


def chain(*parts: Any) -> Any:
    real = [part for part in parts if part is not None]
    return make_pipeline(*real) if len(real) > 1 else clone(real[0])


def fitted(estimator: Any, data: Any = FRAME, target: Any = TARGET) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(data, target)


def compiled(original: SklearnModel) -> Compiled:
    model = fast(original)
    assert isinstance(model, Compiled), "it was left alone"
    return model


def assert_equal(original: Model, model: Model, rows: npt.NDArray[np.float64]) -> None:
    for some in (rows, rows[:1]):
        expected = original.predict_rows(some)
        seen = model.predict_rows(some)
        assert (seen.shape, seen.dtype) == (expected.shape, expected.dtype)
        if expected.dtype.kind == "f":
            scale = np.abs(expected).max()
            np.testing.assert_allclose(seen, expected, rtol=1e-9, atol=1e-12 * scale)
        else:
            np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
@pytest.mark.parametrize("regressor", REGRESSORS, ids=str)
def test_a_regressor_answers_the_same(scaler: Any, regressor: Any) -> None:
    original = SklearnModel(fitted(chain(scaler, regressor)))
    assert_equal(original, compiled(original), ROWS)


@pytest.mark.parametrize("scaler", [None, StandardScaler(), MinMaxScaler()], ids=str)
@pytest.mark.parametrize("target", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize(("classifier", "methods"), CLASSIFIERS, ids=lambda value: str(value)[:30])
def test_a_classifier_gives_the_same_labels_probabilities_and_scores(
    scaler: Any, target: Any, classifier: Any, methods: tuple[str, ...]
) -> None:
    estimator = fitted(chain(scaler, classifier), target=target)
    for method in methods:
        original = SklearnModel(estimator, method)
        assert_equal(original, compiled(original), ROWS)


@pytest.mark.parametrize("labels", [[3, 7], [2.0, -1.0], ["b", "a"], [True, False]], ids=str)
def test_labels_keep_their_dtype(labels: list[Any]) -> None:
    target = np.array(labels)[(np.median(TARGET) < TARGET).astype(int)]
    original = SklearnModel(fitted(make_pipeline(StandardScaler(), LogisticRegression()), target=target))
    model = compiled(original)
    assert model.predict_rows(ROWS).dtype == np.array(labels).dtype
    assert_equal(original, model, ROWS)


def test_labels_that_are_python_objects_stay_such() -> None:
    original = SklearnModel(fitted(LogisticRegression(), target=TWO.astype(object)))
    assert_equal(original, compiled(original), ROWS)


@pytest.mark.parametrize("regressor", [Ridge(), LinearRegression(), MultiTaskLasso()], ids=str)
@pytest.mark.parametrize("outputs", [1, 3])
def test_several_outputs_keep_their_shape(regressor: Any, outputs: int) -> None:
    target = ROWS @ np.random.default_rng(1).normal(size=(10, outputs))
    for scaler in (None, StandardScaler()):
        original = SklearnModel(fitted(chain(scaler, regressor), target=target))
        model = compiled(original)
        assert_equal(original, model, ROWS)
        assert_equal(original, pickle.loads(pickle.dumps(model)), ROWS)


@pytest.mark.parametrize("data", [FRAME, ROWS], ids=["names", "positions"])
def test_a_dataframe_is_scored_like_its_rows(data: Any) -> None:
    original = SklearnModel(fitted(make_pipeline(StandardScaler(), Ridge()), data))
    model = compiled(original)
    assert model.feature_names == original.feature_names
    np.testing.assert_allclose(model.predict(FRAME), model.predict_rows(ROWS), rtol=1e-11)
    with pytest.raises(FeatureMismatch, match=r"row 1, column .* is missing"):
        model.predict(FRAME.where(FRAME["c0"] != FRAME["c0"][1]))


@pytest.mark.parametrize(
    "before",
    [
        make_pipeline(SimpleImputer(), StandardScaler()),
        make_pipeline(SimpleImputer(strategy="median"), MinMaxScaler()),
        make_pipeline(SimpleImputer(strategy="constant", fill_value=-7)),
        make_pipeline(SimpleImputer(strategy="most_frequent"), RobustScaler()),
        make_pipeline(StandardScaler(), SimpleImputer()),
        make_pipeline(StandardScaler(), make_pipeline(SimpleImputer(), MinMaxScaler())),
    ],
    ids=lambda value: " ".join(type(step).__name__ for _, step in value.steps),
)
@pytest.mark.parametrize("final", [Ridge(), LogisticRegression()], ids=str)
def test_missing_values_are_filled_as_the_imputer_does(before: Any, final: Any) -> None:
    target = TARGET if isinstance(final, Ridge) else TWO
    methods = ["predict"] if isinstance(final, Ridge) else ["predict", "predict_proba"]
    estimator = fitted(make_pipeline(before, final), HOLES, target)
    for method in methods:
        original = SklearnModel(estimator, method)
        model = compiled(original)
        assert model.accepts_missing
        assert_equal(original, model, HOLES.to_numpy())
        assert_equal(original, model, ROWS)


def test_a_column_transformer_needs_no_dataframe_any_more() -> None:
    before = make_column_transformer(
        (StandardScaler(), ["c4", "c1"]),
        (make_pipeline(SimpleImputer(), MinMaxScaler()), ["c0", "c2"]),
        ("passthrough", ["c9"]),
        remainder="passthrough",
    )
    data = FRAME.assign(c2=HOLES["c2"])
    original = SklearnModel(fitted(make_pipeline(before, Ridge()), data))
    model = compiled(original)
    assert (original.numeric, model.numeric, model.accepts_missing) == (False, True, True)
    assert_equal(original, model, data.to_numpy())
    lacking = ROWS[:2].copy()
    lacking[1, 4] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        original.predict_rows(lacking)
    with pytest.raises(ValueError, match="row 1, column 'c4' is missing, and the model takes no missing"):
        model.predict_rows(lacking)


@pytest.mark.parametrize("columns", [[3, 0], slice(2, 5), np.arange(10) < 4], ids=str)
def test_columns_may_be_given_by_position(columns: Any) -> None:
    before = ColumnTransformer([("scaled", StandardScaler(), columns)], remainder="passthrough")
    original = SklearnModel(fitted(make_pipeline(before, Ridge()), ROWS))
    assert_equal(original, compiled(original), ROWS)


def test_a_column_that_is_dropped_may_still_hold_text() -> None:
    frame = FRAME.assign(city="Oslo")
    before = make_column_transformer((StandardScaler(), ["c3", "c0"]))
    original = SklearnModel(fitted(make_pipeline(before, Ridge()), frame))
    model = compiled(original)
    assert isinstance(model, Picked)
    np.testing.assert_allclose(model.predict(frame), original.predict(frame), rtol=1e-9)
    restored = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(restored.predict(frame), model.predict(frame))
    with pytest.raises(FeatureMismatch, match="'c0' is missing"):
        model.predict(frame.assign(c0=np.nan))


def test_a_column_used_twice_weighs_twice() -> None:
    before = make_column_transformer(
        (StandardScaler(), ["c0", "c1"]), (MinMaxScaler(), ["c1", "c0"]), remainder="passthrough"
    )
    original = SklearnModel(fitted(make_pipeline(before, Ridge())))
    assert_equal(original, compiled(original), ROWS)


def test_a_column_filled_in_two_ways_is_filled_in_both() -> None:
    before = make_column_transformer(
        (SimpleImputer(), NAMES), (SimpleImputer(strategy="constant", fill_value=99.0), ["c0"])
    )
    original = SklearnModel(fitted(make_pipeline(before, Ridge()), HOLES))
    assert_equal(original, compiled(original), HOLES.to_numpy())


def test_a_search_is_what_it_found() -> None:
    search = GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": [1.0, 9.0]}, cv=2)
    original = SklearnModel(fitted(search))
    assert_equal(original, compiled(original), ROWS)


def test_a_shift_that_would_cost_digits_is_not_folded() -> None:
    """Seconds since 1970 within one hour: folded, 6 of 16 digits would be lost."""
    times = 1.7e9 + 3600 * RNG.random((100, 2))
    target = (times - 1.7e9) @ [1.0, -2.0]
    original = SklearnModel(make_pipeline(StandardScaler(), LinearRegression()).fit(times, target))
    model = compiled(original)
    assert isinstance(model, Staged)
    np.testing.assert_array_equal(model.predict_rows(times[:1]), original.predict_rows(times[:1]))
    assert_equal(original, model, times)


def test_a_label_on_the_boundary_falls_as_it_does_in_the_original() -> None:
    """Scores of exactly zero are common in symmetric data, and folded weights would move them."""
    data = np.array([[a, b, c] for a in (0.1, 0.7) for b in (0.1, 0.7) for c in (0.1, 0.7)])
    target = (data.sum(axis=1) > 1.0).astype(int)
    estimator = make_pipeline(StandardScaler(), LogisticRegression(fit_intercept=False)).fit(data, target)
    centre = estimator[0].mean_[None]
    on_it = centre + np.array([[0.0, 0.0, 0.0], [0.3, -0.3, 0.0], [0.1, 0.2, -0.3]]) * estimator[0].scale_
    original = SklearnModel(estimator)
    assert_equal(original, compiled(original), on_it)


@pytest.mark.parametrize("nothing", [None, "passthrough", FunctionTransformer()], ids=str)
def test_a_step_that_passes_all_on_is_no_hindrance(nothing: Any) -> None:
    for parts in ((nothing, StandardScaler(), Ridge()), (StandardScaler(), nothing, Ridge())):
        original = SklearnModel(fitted(make_pipeline(*parts), ROWS))
        assert_equal(original, compiled(original), ROWS)


class _Doubled(Ridge):  # type: ignore[misc]
    def predict(self, rows: Any) -> Any:
        return 2 * super().predict(rows)


@pytest.mark.parametrize(
    "model",
    [
        SklearnModel(_Doubled().fit(FRAME, TARGET)),
        SklearnModel(make_pipeline(StandardScaler(), _Doubled()).fit(FRAME, TARGET)),
        SklearnModel(make_pipeline(MinMaxScaler(clip=True), Ridge()).fit(FRAME, TARGET)),
        SklearnModel(make_pipeline(PolynomialFeatures(), Ridge()).fit(FRAME, TARGET)),
        SklearnModel(make_pipeline(FunctionTransformer(np.log1p), Ridge()).fit(abs(ROWS), TARGET)),
        SklearnModel(make_pipeline(SimpleImputer(add_indicator=True), Ridge()).fit(HOLES, TARGET)),
        SklearnModel(make_pipeline(SimpleImputer(missing_values=-1), Ridge()).fit(FRAME, TARGET)),
        SklearnModel(SGDClassifier().fit(FRAME, TWO).sparsify()),
        SklearnModel(Ridge()),
    ],
    ids=lambda model: str(model.estimator)[:60],
)
def test_what_is_not_known_exactly_is_left_alone(model: SklearnModel) -> None:
    assert fast(model) is model


def test_what_is_no_estimator_at_all_is_left_alone() -> None:
    model = SumModel()
    assert fast(model) is model  # type: ignore[type-var]


def test_a_wrong_reading_is_found_out_and_the_original_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    original = SklearnModel(fitted(make_pipeline(StandardScaler(), Ridge())))
    read = linear._read

    def wrong(estimator: Any, method: str) -> linear.Linear:
        seen = read(estimator, method)
        seen.coef[3] *= 1 + 1e-7
        return seen

    monkeypatch.setattr(linear, "_read", wrong)
    assert fast(original) is original


@pytest.mark.parametrize(("factor", "is_equal"), [(1 + 1e-12, True), (1 + 1e-8, False)])
def test_equal_means_within_a_billionth(factor: float, is_equal: bool) -> None:
    estimator = fitted(Ridge(fit_intercept=False))
    original = SklearnModel(estimator)
    rows, noise = linear.probes(estimator, Steps.none(10), missing=False)
    model = compiled(original)
    assert isinstance(model, Affine)
    model.weights = model.weights * factor
    if is_equal:
        proof.check(original.predict_rows(rows), model.predict_rows, rows, noise)
    else:
        with pytest.raises(CannotCompile, match="it differs from the original by up to"):
            proof.check(original.predict_rows(rows), model.predict_rows, rows, noise)


@pytest.mark.parametrize("final", [Ridge(), LogisticRegression()], ids=str)
@pytest.mark.parametrize("value", [1e200, 1e290, 1.7e308, -1.7e308])
def test_a_value_that_overflows_a_scaler_is_refused_exactly_where_the_original_refuses_it(
    value: float, final: Any
) -> None:
    target = TARGET if isinstance(final, Ridge) else TWO
    original = SklearnModel(fitted(make_pipeline(StandardScaler(), final), target=target))
    model = compiled(original)
    assert isinstance(model, Guarded | Staged)
    for column in range(10):
        row = ROWS[:1].copy()
        row[0, column] = value
        try:
            with np.errstate(all="ignore"):
                expected = original.predict_rows(row)
        except ValueError:
            with pytest.raises(ValueError, match=f"row 0, column 'c{column}' is too large"):
                model.predict_rows(row)
        else:
            with np.errstate(all="ignore"):
                seen = model.predict_rows(row)
            assert seen == expected if seen.dtype.kind == "U" else seen == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("final", [Ridge(), LogisticRegression()], ids=str)
@pytest.mark.parametrize("scaler", [None, StandardScaler()], ids=str)
def test_no_rows_and_a_wrong_number_of_columns_are_refused(scaler: Any, final: Any) -> None:
    target = TARGET if isinstance(final, Ridge) else TWO
    model = compiled(SklearnModel(fitted(chain(scaler, final), target=target)))
    for shape in ((0, 10), (2, 9), (2, 1), (2, 11)):
        with pytest.raises(ValueError, match=r"no rows|values, the model takes 10|not aligned"):
            model.predict_rows(np.ones(shape))


def test_a_tenant_costs_less_than_450_bytes() -> None:
    original = SklearnModel(fitted(make_pipeline(StandardScaler(), Ridge())))
    for _ in range(3):  # whatever is made once
        fast(original)
    gc.collect()
    tracemalloc.start()
    try:
        models = [fast(original) for _ in range(200)]
        gc.collect()
        own = tracemalloc.take_snapshot().filter_traces(
            (
                tracemalloc.Filter(inclusive=True, filename_pattern="*/tenantry_server/compiling/*"),
                tracemalloc.Filter(inclusive=True, filename_pattern="*/numpy/_core/shape_base.py"),
            )
        )
        each = sum(trace.size for trace in own.traces) / len(models)
    finally:
        tracemalloc.stop()
    assert 300 < each < 450
    assert size_bytes(models[0]) == pytest.approx(each, rel=0.15)  # numpy keeps a few small blocks


def test_tenants_share_their_column_names_and_labels() -> None:
    first, second = (compiled(SklearnModel(fitted(LogisticRegression(C=c), target=TWO))) for c in (1, 2))
    assert first.feature_names is second.feature_names
    assert getattr(first, "classes") is getattr(second, "classes")  # noqa: B009 - by its slot
    assert pickle.loads(pickle.dumps(first)).feature_names is first.feature_names


def test_the_original_is_not_kept() -> None:
    estimator = fitted(make_pipeline(StandardScaler(), Ridge()))
    gone = weakref.ref(estimator[-1])
    model = compiled(SklearnModel(estimator))
    del estimator
    gc.collect()
    assert gone() is None
    assert model.predict_rows(ROWS).shape == (120,)


def test_a_compiled_model_may_share_a_call_and_runs_on_the_loop() -> None:
    model = compiled(SklearnModel(fitted(Ridge())))
    assert (model.numeric, model.independent_rows, model.may_block) == (True, True, False)
    assert not hasattr(model, "__dict__")
