"""XGBoost files: answers as the library's own, and nothing that a cut file could break."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.formats import load_model
from tenantry_server.formats.checks import ubjson
from tests.support.load import growth

ROWS = np.random.default_rng(0).normal(size=(300, 3))
FRAME = pd.DataFrame(ROWS, columns=["a", "b", "c"])
SUM = ROWS.sum(axis=1)
TWO = (SUM > 0).astype(int)
THREE = TWO + (SUM > 1)
SMALL: dict[str, Any] = {"n_estimators": 5, "max_depth": 3, "n_jobs": 1}
GAPS = np.where(np.random.default_rng(1).random(ROWS.shape) < 0.2, np.nan, ROWS)


def saved(model: Any, folder: Path, suffix: str = ".ubj") -> bytes:
    path = folder / f"saved{suffix}"
    model.save_model(path)
    return path.read_bytes()


def loaded(data: bytes, uri: str = "file:///m.ubj", **model_id: Any) -> Model:
    return load_model(data, ModelId(uri, **model_id))


@pytest.mark.parametrize("suffix", [".ubj", ".json"])
@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        (xgboost.XGBRegressor(**SMALL), SUM),
        (xgboost.XGBRegressor(booster="dart", **SMALL), SUM),
        (xgboost.XGBRegressor(booster="gblinear", n_estimators=5, n_jobs=1), SUM),
        (xgboost.XGBRegressor(objective="reg:quantileerror", quantile_alpha=[0.1, 0.9], **SMALL), SUM),
        (xgboost.XGBRegressor(**SMALL), np.column_stack([SUM, -SUM])),
        (xgboost.XGBRFRegressor(**SMALL), SUM),
        (xgboost.XGBClassifier(**SMALL), TWO),
        (xgboost.XGBClassifier(objective="binary:hinge", **SMALL), TWO),
        (xgboost.XGBClassifier(**SMALL), THREE),
        (xgboost.XGBClassifier(objective="multi:softmax", **SMALL), THREE),
        (xgboost.XGBClassifier(**SMALL), np.column_stack([TWO, 1 - TWO])),
    ],
    ids=lambda value: getattr(value, "booster", None) or type(value).__name__,
)
def test_it_predicts_what_the_estimator_that_saved_it_predicts(
    estimator: Any, target: Any, suffix: str, tmp_path: Path
) -> None:
    estimator.fit(FRAME, target)
    model = loaded(saved(estimator, tmp_path, suffix), f"file:///m{suffix}")
    assert (model.feature_names, model.feature_count) == (("a", "b", "c"), 3)
    np.testing.assert_array_equal(model.predict_rows(ROWS), estimator.predict(FRAME))
    np.testing.assert_array_equal(model.predict(FRAME[["c", "a", "b"]]), estimator.predict(FRAME))
    np.testing.assert_array_equal(
        model.predict_rows(GAPS), estimator.predict(pd.DataFrame(GAPS, columns=["a", "b", "c"]))
    )


@pytest.mark.parametrize(
    ("objective", "target"),
    [("binary:logistic", TWO), ("multi:softprob", THREE), ("multi:softmax", THREE)],
)
def test_its_probabilities_are_the_classifiers(objective: str, target: Any, tmp_path: Path) -> None:
    classifier = xgboost.XGBClassifier(objective=objective, **SMALL).fit(ROWS, target)
    model = loaded(saved(classifier, tmp_path), method="predict_proba")
    assert model.feature_names is None
    np.testing.assert_array_equal(model.predict_rows(ROWS), classifier.predict_proba(ROWS))


def test_a_model_that_stopped_early_answers_with_its_best_trees(tmp_path: Path) -> None:
    half = slice(0, 150)
    noisy = SUM + np.random.default_rng(2).normal(size=300) * 2
    estimator = xgboost.XGBRegressor(n_estimators=60, early_stopping_rounds=5, n_jobs=1, learning_rate=1.0)
    estimator.fit(ROWS[half], noisy[half], eval_set=[(ROWS[150:], noisy[150:])], verbose=False)
    assert estimator.best_iteration + 1 < estimator.get_booster().num_boosted_rounds()
    model = loaded(saved(estimator, tmp_path))
    np.testing.assert_array_equal(model.predict_rows(ROWS), estimator.predict(ROWS))


def test_a_plain_booster_answers_as_a_booster_does(tmp_path: Path) -> None:
    """Its file does not say that it is a classifier: then the objective's own output is the answer."""
    matrix = xgboost.DMatrix(ROWS, TWO)
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, matrix, num_boost_round=5)
    data = saved(booster, tmp_path)
    chances = booster.predict(matrix)
    np.testing.assert_array_equal(loaded(data).predict_rows(ROWS), chances)
    both = loaded(data, method="predict_proba").predict_rows(ROWS)
    np.testing.assert_array_equal(both, np.column_stack([1 - chances, chances]))


def test_one_thread_scores_whatever_it_was_trained_with(tmp_path: Path) -> None:
    estimator = xgboost.XGBRegressor(n_estimators=2, n_jobs=4).fit(ROWS, SUM)
    model: Any = loaded(saved(estimator, tmp_path))
    assert '"nthread":"1"' in model._booster.save_config().replace(" ", "")


@pytest.mark.parametrize("method", ["predict_proba", "decision_function"])
def test_a_method_that_it_lacks_is_refused(method: str, tmp_path: Path) -> None:
    data = saved(xgboost.XGBRegressor(**SMALL).fit(ROWS, SUM), tmp_path)
    with pytest.raises(ArtifactInvalid, match=f"reg:squarederror has no method {method}, only predict"):
        loaded(data, method=method)


def test_categories_are_refused_in_words(tmp_path: Path) -> None:
    frame = FRAME.assign(a=pd.Categorical(["x", "y", "z"] * 100))
    data = saved(xgboost.XGBRegressor(enable_categorical=True, **SMALL).fit(frame, SUM), tmp_path)
    with pytest.raises(ArtifactInvalid, match="it has categorical columns; encode them as numbers"):
        loaded(data)


@pytest.mark.parametrize("suffix", [".ubj", ".json"])
def test_a_file_that_is_cut_off_is_refused_and_ends_no_process(suffix: str, tmp_path: Path) -> None:
    """XGBoost's own reader of .ubj runs past the end: hence in a process of its own."""
    (tmp_path / "whole").write_bytes(saved(xgboost.XGBRegressor(**SMALL).fit(FRAME, SUM), tmp_path, suffix))
    code = f"""
import pathlib
from tenantry import ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.formats import load_model
whole = pathlib.Path({str(tmp_path / "whole")!r}).read_bytes()
refused = 0
cuts = [*range(0, len(whole), 61), len(whole) - 1]
for cut in cuts:
    try:
        load_model(whole[:cut], ModelId("file:///m{suffix}"))
    except ArtifactInvalid:
        refused += 1
print(refused == len(cuts) > 50)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{i\x01aSi\x05abc", "cut off"),
        (b"{i\x01a[$d#L" + (1 << 60).to_bytes(8, "big") + b"}", "cut off"),
        (b"{i\xffa}", "negative length"),
        (b"{i\x01a?}", "unknown type '\\?'"),
        (b"[" * 100, "nests deeper"),
        (b"[$d]", "a type and no count"),
        (b"[#S", "no length"),
        (b"", "cut off"),
    ],
    ids=range(8),
)
def test_ubjson_that_does_not_end_where_it_says_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ubjson.check_whole(data)


def test_a_model_states_what_it_takes(tmp_path: Path) -> None:
    models = [xgboost.XGBRegressor(n_estimators=n, max_depth=5, n_jobs=1) for n in (10, 300)]
    artifacts = [saved(model.fit(ROWS, SUM), tmp_path) for model in models]
    found = growth.ratios(artifacts, ".ubj", tmp_path)
    assert all(0.5 < ratio < 2 for ratio in found), found
