"""Tree ensembles, compiled: scikit-learn's own bits, at thresholds too, and its refusals."""

import dataclasses
import importlib.util
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tenantry_server.compiling import proof, trees
from tenantry_server.compiling.compiler import fast
from tenantry_server.formats.sklearn.reader import SklearnModel
from tenantry_server.kernels import forest
from tenantry_server.kernels.base import CannotCompile, Compiled
from tenantry_server.kernels.forest import Trees
from tenantry_server.kernels.steps import Steps
from tenantry_server.memory.model_size import size_bytes

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(150, 4)) * [0.01, 1.0, 100.0, 1e4] + [0, 1, 50, 0]
HOLES = np.where(RNG.random(ROWS.shape) < 0.1, np.nan, ROWS)
TARGET = ROWS @ [100.0, 1.0, 0.01, 1e-4]
TWO = np.where(np.median(TARGET) < TARGET, "yes", "no")
THREE = np.digitize(TARGET, np.quantile(TARGET, [0.3, 0.6])) + 5

REGRESSORS = [
    DecisionTreeRegressor(random_state=0),
    RandomForestRegressor(12, random_state=0),
    ExtraTreesRegressor(12, random_state=0),
    GradientBoostingRegressor(n_estimators=12, random_state=0),
    HistGradientBoostingRegressor(max_iter=12),
]
CLASSIFIERS = [
    DecisionTreeClassifier(max_depth=3, random_state=0),
    RandomForestClassifier(12, max_depth=4, random_state=0),
    ExtraTreesClassifier(12, max_depth=4, random_state=0),
    GradientBoostingClassifier(n_estimators=12, random_state=0),
    HistGradientBoostingClassifier(max_iter=12),
]
TAKING_HOLES = [REGRESSORS[0], REGRESSORS[1], REGRESSORS[4], CLASSIFIERS[1], CLASSIFIERS[4]]


def compiled(original: SklearnModel) -> Compiled:
    model = fast(original)
    assert isinstance(model, Compiled), "it was left alone"
    return model


def at_thresholds(estimator: Any, before: Any = None, count: int = 4) -> npt.NDArray[np.float64]:
    """Every split value of the trees and its neighbours, where the scaler's lines lead back exactly."""
    feature, threshold = trees._splits(estimator)
    rows = np.repeat(ROWS[:1], 5 * len(threshold), axis=0)
    for number, (column, value) in enumerate(zip(feature, threshold, strict=True)):
        single = np.float32(value)
        for step, near in enumerate(
            (
                value,
                np.nextafter(value, np.inf),
                np.nextafter(value, -np.inf),
                float(np.nextafter(single, np.float32(np.inf))),
                float(np.nextafter(single, np.float32(-np.inf))),
            )
        ):
            rows[5 * number + step, max(column, 0)] = near
    return rows[:, :count] if before is None else np.asarray(before.inverse_transform(rows))


def assert_same(original: SklearnModel, model: Compiled, rows: npt.NDArray[np.float64]) -> None:
    """To the last bit, but where numpy's exp is not the C library's."""
    for some in (rows, rows[:1]):
        expected = original.predict_rows(some)
        seen = model.predict_rows(some)
        assert (seen.shape, seen.dtype) == (expected.shape, expected.dtype)
        if original.method == "predict_proba":
            np.testing.assert_allclose(seen, expected, rtol=1e-13, atol=1e-16)
        else:
            np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("scaler", [None, StandardScaler(), MinMaxScaler()], ids=str)
@pytest.mark.parametrize("regressor", REGRESSORS, ids=lambda value: type(value).__name__)
def test_a_regressor_answers_the_same_at_its_thresholds_too(scaler: Any, regressor: Any) -> None:
    estimator = regressor if scaler is None else make_pipeline(scaler, regressor)
    original = SklearnModel(estimator.fit(ROWS, TARGET))
    model = compiled(original)
    assert_same(original, model, ROWS)
    assert_same(original, model, at_thresholds(regressor, scaler))


@pytest.mark.parametrize("scaler", [None, StandardScaler()], ids=str)
@pytest.mark.parametrize("target", [TWO, THREE, TWO == "yes"], ids=["text", "three", "bool"])
@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=lambda value: type(value).__name__)
def test_a_classifier_answers_the_same_at_its_thresholds_too(
    scaler: Any, target: Any, classifier: Any
) -> None:
    estimator = classifier if scaler is None else make_pipeline(scaler, classifier)
    estimator.fit(ROWS, target)
    for method in ("predict", "predict_proba", "decision_function"):
        if hasattr(estimator, method):
            original = SklearnModel(estimator, method)
            model = compiled(original)
            assert_same(original, model, ROWS)
            assert_same(original, model, at_thresholds(classifier, scaler))


@pytest.mark.parametrize("data", [ROWS, HOLES], ids=["fitted whole", "fitted with holes"])
@pytest.mark.parametrize("estimator", TAKING_HOLES, ids=lambda value: type(value).__name__)
def test_a_missing_value_goes_the_same_way(data: Any, estimator: Any) -> None:
    target = TWO if hasattr(estimator, "classes_") or "Classifier" in type(estimator).__name__ else TARGET
    original = SklearnModel(estimator.fit(data, target))
    model = compiled(original)
    assert model.accepts_missing
    assert_same(original, model, HOLES)


def test_a_forest_ties_as_the_original_does() -> None:
    """Votes of a half each are common in small forests, and the first class gets them."""
    data = RNG.integers(0, 3, size=(60, 2)).astype(float)
    for seed in range(20):
        target = np.random.default_rng(seed).integers(0, 3, size=60)
        estimator = RandomForestClassifier(4, max_depth=2, random_state=seed).fit(data, target)
        for method in ("predict", "predict_proba"):
            original = SklearnModel(estimator, method)
            np.testing.assert_array_equal(
                compiled(original).predict_rows(data), original.predict_rows(data)
            )


@pytest.mark.parametrize(
    "estimator",
    [
        GradientBoostingClassifier(n_estimators=5, loss="exponential"),
        GradientBoostingClassifier(n_estimators=5, init="zero"),
        GradientBoostingClassifier(n_estimators=200, n_iter_no_change=2, validation_fraction=0.3),
        HistGradientBoostingClassifier(max_iter=200, early_stopping=True, n_iter_no_change=2),
    ],
    ids=str,
)
def test_boosting_classifiers_of_other_kinds(estimator: Any) -> None:
    estimator.fit(ROWS, TWO)
    for method in ("predict", "predict_proba", "decision_function"):
        original = SklearnModel(estimator, method)
        assert_same(original, compiled(original), ROWS)


@pytest.mark.parametrize(
    "estimator",
    [
        HistGradientBoostingRegressor(max_iter=9, loss="poisson"),
        HistGradientBoostingRegressor(max_iter=9, loss="gamma"),
        HistGradientBoostingRegressor(max_iter=9, loss="absolute_error"),
        GradientBoostingRegressor(n_estimators=9, loss="huber"),
        GradientBoostingRegressor(n_estimators=9, loss="quantile"),
        GradientBoostingRegressor(n_estimators=9, init="zero", subsample=0.5),
        RandomForestRegressor(9, criterion="absolute_error", max_features=2, n_jobs=2),
        RandomForestRegressor(9, bootstrap=False, max_leaf_nodes=5),
    ],
    ids=str,
)
def test_regressors_of_other_kinds(estimator: Any) -> None:
    original = SklearnModel(estimator.fit(ROWS, np.abs(TARGET) + 1))
    seen = compiled(original).predict_rows(ROWS)
    np.testing.assert_allclose(seen, original.predict_rows(ROWS), rtol=1e-13)


@pytest.mark.parametrize("estimator", [DecisionTreeRegressor(), RandomForestRegressor(5)], ids=str)
@pytest.mark.parametrize("outputs", [1, 3])
def test_several_outputs_keep_their_shape(estimator: Any, outputs: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a column vector y
        original = SklearnModel(estimator.fit(ROWS, ROWS[:, :outputs]))
    assert_same(original, compiled(original), ROWS)


def test_trees_of_one_leaf_and_one_class() -> None:
    for estimator, target in (
        (DecisionTreeRegressor(), np.ones(150)),
        (GradientBoostingRegressor(n_estimators=2), np.ones(150)),
        (DecisionTreeClassifier(), np.array(["only"] * 150)),
        (RandomForestClassifier(3), np.array(["only"] * 150)),
    ):
        methods = ("predict", "predict_proba") if hasattr(estimator, "predict_proba") else ("predict",)
        for method in methods:
            original = SklearnModel(estimator.fit(ROWS, target), method)
            assert_same(original, compiled(original), ROWS)


@pytest.mark.parametrize(
    "estimator",
    [
        GradientBoostingRegressor(n_estimators=3, init=LinearRegression()).fit(ROWS, TARGET),
        HistGradientBoostingRegressor(max_iter=3, categorical_features=[1]).fit(
            np.abs(ROWS) % 7 // 1, TARGET
        ),
        RandomForestClassifier(3).fit(ROWS, np.c_[THREE, THREE]),
        type("Mine", (RandomForestRegressor,), {})(3).fit(ROWS, TARGET),
        RandomForestRegressor(3),
    ],
    ids=str,
)
def test_what_is_not_known_exactly_is_left_alone(estimator: Any) -> None:
    model = SklearnModel(estimator)
    assert fast(model) is model


def test_without_treelite_the_original_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SklearnModel(RandomForestRegressor(3).fit(ROWS, TARGET))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    forest._treelite.cache_clear()
    assert fast(model) is model
    monkeypatch.undo()
    assert fast(model) is not model


def test_the_proof_finds_a_single_bit_at_a_threshold() -> None:
    """Without the rounding to float32, rows elsewhere would not tell the difference."""
    estimator = RandomForestRegressor(12, random_state=0).fit(ROWS, TARGET)
    original = SklearnModel(estimator)
    model = compiled(original)
    assert isinstance(model, Trees)
    model.ensemble = dataclasses.replace(model.ensemble, single=False)
    assert_same(original, model, ROWS)
    rows, noise = trees.probes(estimator, Steps.none(4), missing=True)
    with pytest.raises(CannotCompile, match="it differs from the original by up to"):
        proof.check(original.predict_rows(rows), model.predict_rows, rows, noise)


@pytest.mark.parametrize("scaler", [None, StandardScaler()], ids=str)
@pytest.mark.parametrize("value", [1e30, 3.4e38, 3.5e38, -1e39, 1e308])
def test_a_value_too_large_for_a_float32_is_refused_exactly_where_the_original_refuses_it(
    scaler: Any, value: float
) -> None:
    forest_ = RandomForestRegressor(3, random_state=0)
    estimator = forest_ if scaler is None else make_pipeline(scaler, forest_)
    original = SklearnModel(estimator.fit(pd.DataFrame(ROWS, columns=list("abcd")), TARGET))
    model = compiled(original)
    for column, name in enumerate("abcd"):
        row = ROWS[:1].copy()
        row[0, column] = value
        try:
            with np.errstate(all="ignore"):
                expected = original.predict_rows(row)
        except ValueError:
            with pytest.raises(ValueError, match=f"row 0, column '{name}' is too large for a float32"):
                model.predict_rows(row)
        else:
            assert model.predict_rows(row) == expected


def test_a_hole_that_no_imputer_fills_is_refused_where_the_trees_take_none() -> None:
    frame = pd.DataFrame(ROWS, columns=list("abcd"))
    before = make_column_transformer((SimpleImputer(), ["d", "a"]), remainder="passthrough")
    estimator = make_pipeline(before, GradientBoostingRegressor(n_estimators=3))
    original = SklearnModel(estimator.fit(frame.assign(d=frame["d"].mask(frame["d"] > 0)), TARGET))
    row = ROWS[:1].copy()
    row[0, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        original.predict_rows(row)
    model = compiled(original)
    with pytest.raises(ValueError, match="column 'b' is missing, and the model takes no missing values"):
        model.predict_rows(row)


def test_a_wrong_number_of_columns_never_reaches_c_code() -> None:
    model = compiled(SklearnModel(RandomForestRegressor(3).fit(ROWS, TARGET)))
    for shape in ((2, 3), (2, 1), (2, 5), (0, 4)):
        with pytest.raises(ValueError, match=r"values, the model takes 4|no rows"):
            model.predict_rows(np.ones(shape))


def test_trees_that_disagree_with_their_pipeline_never_reach_c_code() -> None:
    estimator = make_pipeline(StandardScaler(), RandomForestRegressor(3)).fit(ROWS, TARGET)
    estimator.steps[-1] = ("wider", RandomForestRegressor(3).fit(np.c_[ROWS, ROWS], TARGET))
    model = SklearnModel(estimator)
    assert fast(model) is model


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_request_goes_in_pieces(monkeypatch: pytest.MonkeyPatch, order: Any) -> None:
    original = SklearnModel(RandomForestClassifier(7).fit(ROWS, THREE), "predict_proba")
    model = compiled(original)
    rows = np.asarray(ROWS, order=order)
    expected = original.predict_rows(rows)
    monkeypatch.setattr(forest, "_LEAVES_AT_ONCE", 7 * 3 * 40)
    np.testing.assert_array_equal(model.predict_rows(rows), expected)


def test_a_model_may_be_asked_on_several_threads() -> None:
    original = SklearnModel(GradientBoostingClassifier(n_estimators=20).fit(ROWS, THREE))
    model = compiled(original)
    expected = original.predict_rows(ROWS)
    with ThreadPoolExecutor(4) as pool:
        for seen in pool.map(lambda _: model.predict_rows(ROWS), range(40)):
            np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("estimator", [REGRESSORS[1], CLASSIFIERS[3], REGRESSORS[4]], ids=str)
def test_the_bytes_of_a_forest_are_those_of_its_nodes(estimator: Any) -> None:
    target = TARGET if "Regressor" in type(estimator).__name__ else TWO
    model = compiled(SklearnModel(estimator.fit(ROWS, target)))
    assert isinstance(model, Trees)
    _, threshold = trees._splits(estimator)
    assert 40 < size_bytes(model) / len(threshold) < 200


def test_an_answer_is_not_written_over_by_the_next() -> None:
    model = compiled(SklearnModel(HistGradientBoostingRegressor(max_iter=5).fit(ROWS, TARGET)))
    assert isinstance(model, Trees)
    first = model.predict_rows(ROWS[:2])
    before = first.copy()
    model.predict_rows(ROWS[2:4])
    np.testing.assert_array_equal(first, before)


def test_the_probes_stand_at_the_thresholds() -> None:
    estimator = DecisionTreeRegressor(max_depth=1).fit(ROWS[:, 1:2], TARGET)
    threshold = estimator.tree_.threshold[0]
    rows, _ = trees.probes(estimator, Steps.none(1), missing=False)
    assert {threshold, np.nextafter(threshold, np.inf), np.nextafter(threshold, -np.inf)} <= set(
        rows[:, 0].tolist()
    )
