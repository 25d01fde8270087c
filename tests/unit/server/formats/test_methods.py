"""Several methods of one model, and columns that it does not take, whatever the format of its artifact."""

import functools
import io
from collections.abc import Callable
from typing import Any

import joblib
import lightgbm
import numpy as np
import orjson
import pandas as pd
import pytest
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.formats import dump_model, load_model
from tenantry_server.kernels.base import Compiled
from tenantry_server.rows.json_payload import parse
from tenantry_server.scoring.calls import score, score_together
from tenantry_server.scoring.results import to_json
from tenantry_server.toys import SumModel

RNG = np.random.default_rng(7)
ROWS = pd.DataFrame(RNG.normal(size=(90, 2)), columns=["a", "b"])
NUMBERS = (ROWS["a"] > ROWS["b"]).astype(int)
LABELS = NUMBERS.map({0: "low", 1: "high"})
CITY = ROWS.assign(city=np.where(NUMBERS, "Oslo", "Rome"))
BOTH = "predict,predict_proba"


def with_text() -> Any:
    first = make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough")
    return make_pipeline(first, LogisticRegression()).fit(CITY, LABELS)


@functools.cache
def artifact(name: str) -> tuple[bytes, str]:
    models: dict[str, Callable[[], Any]] = {
        "linear": lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, LABELS),
        "forest": lambda: RandomForestClassifier(5, random_state=0).fit(ROWS, LABELS),
        "text": with_text,
        "xgboost": lambda: xgboost.XGBClassifier(n_estimators=3).fit(ROWS, NUMBERS).get_booster(),
        "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(ROWS, NUMBERS).booster_,
    }
    return dump_model(models[name]())


def loaded(name: str, **how: Any) -> Model:
    data, suffix = artifact(name)
    return load_model(data, ModelId(f"file:///m{suffix}", **how))


def answers(model: Model, records: list[dict[Any, Any]]) -> list[Any]:
    answered: list[Any] = orjson.loads(to_json(score(model, parse(orjson.dumps(records))), bare=True))
    return answered


@pytest.mark.parametrize("name", ["linear", "forest", "text", "xgboost", "lightgbm"])
def test_each_method_answers_as_it_does_alone(name: str) -> None:
    records = (CITY if name == "text" else ROWS).head(4).to_dict("records")
    alone = {method: answers(loaded(name, method=method), records) for method in BOTH.split(",")}
    together = answers(loaded(name, method=BOTH), records)
    assert [list(row) for row in together] == [["predict", "predict_proba"]] * 4
    for method, expected in alone.items():
        for row, wanted in zip(together, expected, strict=True):
            if isinstance(wanted, str):
                assert row[method] == wanted
            else:  # a kernel of one method may round otherwise
                np.testing.assert_allclose(row[method], wanted, rtol=1e-9)


def test_requests_that_wait_together_are_answered_together() -> None:
    model = loaded("linear", method=BOTH)
    payloads = [parse(orjson.dumps(ROWS.iloc[n : n + 2].to_dict("records"))) for n in range(3)]
    assert model.independent_rows
    for payload, together in zip(payloads, score_together(model, payloads), strict=True):
        assert not isinstance(together, Exception)
        assert together.tolist() == score(model, payload).tolist()


def test_a_method_that_one_lacks_is_named() -> None:
    data, suffix = dump_model(LinearRegression().fit(ROWS, NUMBERS))
    with pytest.raises(ArtifactInvalid, match="LinearRegression has no method predict_proba; correct"):
        load_model(data, ModelId(f"file:///m{suffix}", method=BOTH))
    with pytest.raises(ArtifactInvalid, match="binary has no method decision_function"):
        loaded("lightgbm", method="predict,decision_function")


@pytest.mark.parametrize("method", ["predict_proba", BOTH])
def test_a_model_of_ones_own_has_only_predict(method: str) -> None:
    """It was asked to predict, whatever the spec said: labels where probabilities were declared."""
    buffer = io.BytesIO()
    joblib.dump(SumModel(), buffer)
    with pytest.raises(ArtifactInvalid, match=f"not for {method}; remove spec.model.method"):
        load_model(buffer.getvalue(), ModelId("file:///m.joblib", method=method))


@pytest.mark.parametrize("name", ["linear", "forest", "text", "xgboost", "lightgbm"])
def test_extra_columns_are_left_out_by_models_of_every_kind(name: str) -> None:
    records = (CITY if name == "text" else ROWS).head(3).to_dict("records")
    wider = [{"c": "a text", **record} for record in records]
    assert answers(loaded(name, extra_columns="ignore"), wider) == answers(loaded(name), records)


def test_a_kernel_leaves_them_out_itself() -> None:
    assert isinstance(loaded("linear", extra_columns="ignore"), Compiled)


def test_where_columns_have_no_names_they_can_not_be_told_apart() -> None:
    data, suffix = dump_model(LinearRegression().fit(ROWS.to_numpy(), NUMBERS))
    with pytest.raises(ArtifactInvalid, match="needs the names of the columns, and the model has none"):
        load_model(data, ModelId(f"file:///m{suffix}", extra_columns="ignore"))
