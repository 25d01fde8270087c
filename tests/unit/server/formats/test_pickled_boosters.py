"""Pickled classes of XGBoost and LightGBM that were fitted with pandas' categories: a row alone has all."""

import io
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from tenantry import ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.describing.card_of import card_of
from tenantry_server.formats import load_model
from tenantry_server.rows.json_payload import parse
from tenantry_server.scoring.calls import score

RANDOM = np.random.default_rng(0)
# The order of the categories is not that of the alphabet, and one is in no row.
CITY = pd.Categorical(
    RANDOM.choice(["rome", "oslo", "bern"], 80), categories=["rome", "bern", "oslo", "nuuk"]
)
FRAME = pd.DataFrame({"km": RANDOM.uniform(1, 9, 80), "city": CITY})
TARGET = FRAME["km"] + 10 * (FRAME["city"] == "oslo") - 5 * (FRAME["city"] == "bern")
LABEL = np.where(TARGET > 5, 1, 0)
FEW: dict[str, Any] = {"n_estimators": 5, "n_jobs": 1}


@pytest.mark.parametrize(
    ("model", "target", "method"),
    [
        (xgboost.XGBRegressor(enable_categorical=True, **FEW), TARGET, "predict"),
        (xgboost.XGBClassifier(enable_categorical=True, **FEW), LABEL, "predict"),
        (xgboost.XGBClassifier(enable_categorical=True, **FEW), LABEL, "predict_proba"),
        (lightgbm.LGBMRegressor(verbose=-1, min_child_samples=2, **FEW), TARGET, "predict"),
        (lightgbm.LGBMClassifier(verbose=-1, min_child_samples=2, **FEW), LABEL, "predict"),
        (lightgbm.LGBMClassifier(verbose=-1, min_child_samples=2, **FEW), LABEL, "predict_proba"),
    ],
    ids=lambda each: type(each).__name__ if hasattr(each, "fit") else each if isinstance(each, str) else "",
)
def test_a_row_alone_answers_as_in_its_frame(model: Any, target: Any, method: str) -> None:
    """The card names the categories; without one, the artifact is refused in words."""
    fitted = model.fit(FRAME, target)
    file = io.BytesIO()
    joblib.dump(fitted, file)
    exact = ModelId("file:///m.joblib", method=method)
    with pytest.raises(ArtifactInvalid, match="publish it with example="):
        load_model(file.getvalue(), exact)
    card = card_of(file.getvalue(), exact, FRAME.head(5), model=fitted).to_json()
    served = load_model(file.getvalue(), exact, card)
    some = pd.concat([FRAME[FRAME["city"] == city].head(2) for city in ("rome", "bern", "oslo")])
    expected = np.asarray(getattr(fitted, method)(some))
    together = score(served, parse(some.to_json(orient="records", double_precision=15).encode()))
    np.testing.assert_allclose(together, expected, rtol=1e-6)
    for number in range(len(some)):
        alone = some.iloc[[number]].to_json(orient="records", double_precision=15)
        np.testing.assert_array_equal(score(served, parse(alone.encode())), together[[number]])
