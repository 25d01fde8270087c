"""Classes of scikit-learn's API by others, and CatBoost's files, as a server reads them."""

import io
from pathlib import Path
from typing import Any

import catboost
import category_encoders
import joblib
import numpy as np
import pandas as pd
import pytest
from imblearn.ensemble import BalancedRandomForestClassifier, EasyEnsembleClassifier, RUSBoostClassifier
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline as balanced
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid, FeatureMismatch
from tenantry_server.describing.card_of import card_of
from tenantry_server.formats import load_model
from tenantry_server.rows.json_payload import parse
from tenantry_server.scoring.calls import score

RNG = np.random.default_rng(0)
NUMBERS = pd.DataFrame({"km": RNG.uniform(0, 10, 80), "hour": RNG.uniform(0, 24, 80)})
CITIES = NUMBERS.assign(city=RNG.choice(["Oslo", "Rome"], 80))
CATEGORIES = CITIES.assign(city=CITIES["city"].astype("category"))
TARGET = 2 * NUMBERS["km"] + NUMBERS["hour"] + (CITIES["city"] == "Rome")
RARE = (TARGET.quantile(0.8) < TARGET).astype(int)
THREE = pd.cut(TARGET, 3, labels=["low", "middle", "high"]).astype(str)
SMALL: dict[str, Any] = {
    "iterations": 10,
    "verbose": False,
    "thread_count": 1,
    "allow_writing_files": False,
}


def served(fitted: Any, **how: Any) -> Model:
    file = io.BytesIO()
    joblib.dump(fitted, file)
    return load_model(file.getvalue(), ModelId("file:///m.joblib", **how))


def check(model: Model, fitted: Any, frame: pd.DataFrame, method: str = "predict") -> None:
    """Rows one by one and together answer as the library's own class does, whatever the columns' order."""
    few = frame.head(5)
    expected = np.asarray(getattr(fitted, method)(few))
    expected = expected[:, 0] if method == "predict" and expected.ndim == 2 else expected
    turned = few[few.columns[::-1]]
    together = score(model, parse(turned.to_json(orient="records", double_precision=15).encode()))
    close(together, expected)
    for number in range(len(few)):
        alone = turned.iloc[[number]].to_json(orient="records", double_precision=15)
        close(score(model, parse(alone.encode())), together[[number]])


def close(seen: Any, expected: Any) -> None:
    """The same labels, or numbers that differ by what a library rounds otherwise in a batch."""
    if np.asarray(expected).dtype.kind == "f":
        np.testing.assert_allclose(seen, expected, rtol=1e-12)
    else:
        assert seen.tolist() == expected.tolist()


@pytest.mark.parametrize("frame", [NUMBERS, CITIES, CATEGORIES], ids=["numbers", "texts", "categories"])
@pytest.mark.parametrize(
    ("kind", "target", "method"),
    [
        (catboost.CatBoostRegressor, TARGET, "predict"),
        (catboost.CatBoostClassifier, RARE, "predict"),
        (catboost.CatBoostClassifier, RARE, "predict_proba"),
        (catboost.CatBoostClassifier, THREE, "predict"),
    ],
)
def test_catboost(kind: Any, target: Any, method: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    """Pickled and as its own file, in the columns' own order, texts and categories included."""
    fitted = kind(cat_features=["city"] if "city" in frame else [], **SMALL).fit(frame, target)
    check(served(fitted, method=method), fitted, frame, method)
    fitted.save_model(str(tmp_path / "m.cbm"))
    data = (tmp_path / "m.cbm").read_bytes()
    model = load_model(data, ModelId("file:///m.cbm", method=method))
    check(model, fitted, frame, method)
    assert model.feature_names == tuple(frame.columns)
    size = model.own_bytes()
    assert size is not None
    assert size > len(data)


def test_catboost_without_names_and_without_numbers() -> None:
    fitted = catboost.CatBoostRegressor(**SMALL).fit(NUMBERS.to_numpy(), TARGET)
    model = served(fitted)
    assert (model.feature_names, model.feature_count, model.numeric) == (None, 2, True)
    asked = parse(b'{"instances": [[2.5, 3], [null, 3]]}')
    expected = fitted.predict(np.array([[2.5, 3], [np.nan, 3]]))
    np.testing.assert_allclose(score(model, asked), expected)
    with pytest.raises(FeatureMismatch, match="row 0 has 3 values, the model takes 2"):
        score(model, parse(b'{"instances": [[1, 2, 3]]}'))


def test_catboost_that_can_not_be_served_is_named(tmp_path: Path) -> None:
    fitted = catboost.CatBoostRegressor(**SMALL).fit(NUMBERS, TARGET)
    fitted.save_model(str(tmp_path / "m.cbm"))
    whole = (tmp_path / "m.cbm").read_bytes()
    with pytest.raises(ArtifactInvalid, match="the CatBoostRegressor of catboost: it is not fitted"):
        served(catboost.CatBoostRegressor(**SMALL))
    with pytest.raises(ArtifactInvalid, match="it has no method predict_proba"):
        served(fitted, method="predict_proba")
    with pytest.raises(ArtifactInvalid, match="it is not a CatBoost model"):
        load_model(b"no model\n", ModelId("file:///m.cbm"))
    with pytest.raises(ArtifactInvalid, match="CatBoost can't read it"):
        load_model(whole[:8] + bytes(len(whole) - 8), ModelId("file:///m.cbm"))


def test_catboost_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    """CatBoost itself loads some of them, with what happens to stand in memory where the rest should be."""
    catboost.CatBoostRegressor(**SMALL).fit(NUMBERS, TARGET).save_model(str(tmp_path / "m.cbm"))
    whole = (tmp_path / "m.cbm").read_bytes()
    for length in range(4, len(whole)):
        with pytest.raises(ArtifactInvalid, match=r"it is cut off: \d+ bytes of at least \d+"):
            load_model(whole[:length], ModelId("file:///m.cbm"))


@pytest.mark.parametrize(
    "encoder",
    [
        category_encoders.TargetEncoder,
        category_encoders.OrdinalEncoder,
        category_encoders.OneHotEncoder,
        category_encoders.CatBoostEncoder,
        category_encoders.BinaryEncoder,
        category_encoders.HashingEncoder,
    ],
)
def test_category_encoders(encoder: Any) -> None:
    fitted = make_pipeline(encoder(cols=["city"]), Ridge()).fit(CITIES, TARGET)
    check(served(fitted), fitted, CITIES)


@pytest.mark.parametrize(
    "made",
    [
        balanced(StandardScaler(), SMOTE(k_neighbors=3, random_state=0), LogisticRegression()),
        BalancedRandomForestClassifier(n_estimators=5, random_state=0),
        EasyEnsembleClassifier(n_estimators=3, random_state=0),
        RUSBoostClassifier(n_estimators=3, random_state=0),
    ],
    ids=lambda made: type(made).__name__,
)
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_imbalanced_learn(made: Any, method: str) -> None:
    fitted = made.fit(NUMBERS, RARE)
    check(served(fitted, method=method), fitted, NUMBERS, method)


@pytest.mark.parametrize(
    "fitted",
    [
        catboost.CatBoostRegressor(cat_features=["city"], **SMALL).fit(CATEGORIES, TARGET),
        make_pipeline(category_encoders.TargetEncoder(cols=["city"]), Ridge()).fit(CATEGORIES, TARGET),
    ],
    ids=["catboost", "category_encoders"],
)
def test_a_card_keeps_pandas_categories(fitted: Any) -> None:
    """Published with an example, a server answers as the model does here."""
    file = io.BytesIO()
    joblib.dump(fitted, file)
    exact = ModelId("file:///m.joblib")
    card = card_of(file.getvalue(), exact, CATEGORIES.head(5), model=fitted)
    assert card.answers == pytest.approx(fitted.predict(CATEGORIES.head(5)).tolist())
    check(load_model(file.getvalue(), exact, card.to_json()), fitted, CATEGORIES)
