"""LightGBM files: answers as the library's own, and nothing that a cut file could break."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.formats import load_model
from tests.support.load import growth

ROWS = np.random.default_rng(0).normal(size=(300, 3))
FRAME = pd.DataFrame(ROWS, columns=["a", "b", "c"])
SUM = ROWS.sum(axis=1)
TWO = (SUM > 0).astype(int)
THREE = TWO + (SUM > 1)
GAPS = np.where(np.random.default_rng(1).random(ROWS.shape) < 0.2, np.nan, ROWS)
SMALL: dict[str, Any] = {"n_estimators": 5, "num_leaves": 7, "n_jobs": 1, "verbose": -1}


def saved(estimator: Any) -> bytes:
    text: str = estimator.booster_.model_to_string()
    return text.encode()


def loaded(data: bytes, **model_id: Any) -> Model:
    return load_model(data, ModelId("file:///m.txt", **model_id))


@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        (lightgbm.LGBMRegressor(**SMALL), SUM),
        (lightgbm.LGBMRegressor(linear_tree=True, **SMALL), SUM),
        (lightgbm.LGBMRegressor(boosting_type="dart", **SMALL), SUM),
        (lightgbm.LGBMRegressor(objective="poisson", **SMALL), SUM - SUM.min()),
        (lightgbm.LGBMRegressor(**SMALL), np.ones(300)),
        (lightgbm.LGBMClassifier(**SMALL), TWO),
        (lightgbm.LGBMClassifier(**SMALL), THREE),
        (lightgbm.LGBMClassifier(objective="multiclassova", **SMALL), THREE),
    ],
    ids=["plain", "linear trees", "dart", "poisson", "no tree splits", "two", "three", "one against all"],
)
def test_it_predicts_what_the_booster_predicts(estimator: Any, target: Any) -> None:
    estimator.fit(FRAME, target)
    model = loaded(saved(estimator))
    assert (model.feature_names, model.feature_count) == (("a", "b", "c"), 3)
    np.testing.assert_array_equal(model.predict_rows(ROWS), estimator.booster_.predict(ROWS))
    np.testing.assert_array_equal(model.predict(FRAME[["c", "a", "b"]]), estimator.booster_.predict(ROWS))
    np.testing.assert_array_equal(model.predict_rows(GAPS), estimator.booster_.predict(GAPS))


@pytest.mark.parametrize("target", [TWO, THREE], ids=["two", "three"])
def test_its_probabilities_are_the_classifiers(target: Any) -> None:
    classifier = lightgbm.LGBMClassifier(**SMALL).fit(FRAME, target)
    model = loaded(saved(classifier), method="predict_proba")
    np.testing.assert_array_equal(model.predict_rows(ROWS), classifier.predict_proba(FRAME))


def test_trained_without_names_it_takes_rows_by_position() -> None:
    """LightGBM makes up names for the columns then, which no caller knows."""
    model = loaded(saved(lightgbm.LGBMRegressor(**SMALL).fit(ROWS, SUM)))
    assert (model.feature_names, model.feature_count) == (None, 3)


@pytest.mark.parametrize("method", ["predict_proba", "decision_function"])
def test_a_method_that_it_lacks_is_refused(method: str) -> None:
    data = saved(lightgbm.LGBMRegressor(**SMALL).fit(ROWS, SUM))
    with pytest.raises(ArtifactInvalid, match=f"regression has no method {method}, only predict"):
        loaded(data, method=method)


def test_numbers_as_categories_are_taken_and_pandas_categories_refused() -> None:
    coded = FRAME.assign(a=np.arange(300) % 3)
    by_number = lightgbm.LGBMRegressor(**SMALL).fit(coded, SUM, categorical_feature=["a"])
    rows = coded.to_numpy(dtype=np.float64)
    np.testing.assert_array_equal(loaded(saved(by_number)).predict_rows(rows), by_number.predict(coded))
    frame = FRAME.assign(a=pd.Categorical(["x", "y", "z"] * 100))
    with pytest.raises(ArtifactInvalid, match="trained on pandas category columns; encode them as numbers"):
        loaded(saved(lightgbm.LGBMRegressor(**SMALL).fit(frame, SUM)))


def test_a_file_that_is_cut_off_is_refused_and_ends_no_process(tmp_path: Path) -> None:
    """LightGBM's own reader ends the process with it: hence in one of its own."""
    whole = saved(lightgbm.LGBMRegressor(**SMALL).fit(FRAME, SUM))
    (tmp_path / "whole").write_bytes(whole[: whole.index(b"end of parameters")])
    code = f"""
import pathlib
from tenantry import ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.formats import load_model
whole = pathlib.Path({str(tmp_path / "whole")!r}).read_bytes()
refused = 0
cuts = [*range(0, len(whole), 61), len(whole)]
for cut in cuts:
    try:
        load_model(whole[:cut], ModelId("file:///m.txt"))
    except ArtifactInvalid:
        refused += 1
print(refused == len(cuts) > 50)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_a_model_states_what_it_takes(tmp_path: Path) -> None:
    """Few and many trees, small and large ones: the model cache is bounded by it."""
    shapes = [(10, 7), (300, 7), (100, 4), (100, 100)]
    models = [
        lightgbm.LGBMRegressor(**{**SMALL, "n_estimators": trees, "num_leaves": leaves}).fit(ROWS, SUM)
        for trees, leaves in shapes
    ]
    found = dict(zip(shapes, growth.ratios([saved(m) for m in models], ".txt", tmp_path), strict=True))
    assert all(0.8 < ratio < 1.25 for ratio in found.values()), found
