"""A batch tries one of the models that are built alike, and every other one by itself."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tenantry import ModelId
from tenantry_server import publish_many
from tenantry_server.formats.checks import trial as trials
from tenantry_server.publishing.batch.alike import Alike

RNG = np.random.default_rng(7)
ROWS = RNG.normal(size=(20, 3))


def fitted(kind: Any = Ridge, columns: int = 3, rows: int = 20, **how: Any) -> Any:
    return kind(**how).fit(ROWS[:rows, :columns], RNG.normal(size=rows))


def key(model: Any, **declared: str) -> Any:
    return Alike().key(model, pickle.dumps(model), ModelId("file:///m.joblib", **declared))


def scaled(rows: int = 20) -> Any:
    return make_pipeline(StandardScaler(), Ridge()).fit(ROWS[:rows], RNG.normal(size=rows))


def test_models_that_differ_in_their_numbers_alone_are_alike() -> None:
    for first, second in (
        (fitted(), fitted(alpha=2.0)),
        (fitted(LinearRegression), fitted(LinearRegression)),
        (scaled(), scaled(rows=12)),
    ):
        assert key(first) is not None
        assert key(first) == key(second)
        assert key(first) != key(first, method="decision_function")


@pytest.mark.parametrize(
    "other",
    [
        Ridge(),
        fitted(columns=2),
        fitted(LinearRegression),
        fitted(fit_intercept=False),
        Ridge().fit(pd.DataFrame(ROWS, columns=["a", "b", "c"]), ROWS[:, 0]),
        Ridge().fit(ROWS, ROWS[:, :2]),
        Ridge().fit(ROWS, ROWS[:, 0].astype(np.float32)).set_params(solver="svd"),
    ],
    ids=["unfitted", "columns", "class", "a parameter", "names", "outputs", "solver"],
)
def test_models_that_differ_in_anything_else_are_not(other: Any) -> None:
    assert key(other) is not None
    assert key(other) != key(fitted())


def test_classes_must_be_the_same() -> None:
    two = [LogisticRegression().fit(ROWS, np.arange(20) % 2 + shift) for shift in (0, 1)]
    assert key(two[0]) != key(two[1])


def test_what_may_decide_by_its_values_is_always_tried() -> None:
    own = fitted()
    own.predict = lambda rows: rows
    for model in (
        fitted(RandomForestRegressor),
        make_pipeline(FunctionTransformer(np.abs), Ridge()).fit(ROWS, ROWS[:, 0]),
        {"coef_": ROWS},
    ):
        assert key(model) is None
    assert Alike().key(own, b"\x80\x04 sklearn.linear_model", ModelId("file:///m.joblib")) is None
    assert Alike().key(None, bytes(1 << 20), ModelId("file:///m.joblib")) is None
    assert Alike().key(fitted(), b"", ModelId("file:///m.onnx")) is None


def test_a_batch_tries_each_structure_once_and_refuses_what_it_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an unfitted model, or one without the method, comes after a thousand that work."""
    tried: list[str] = []
    once = trials.try_once

    def counted(model: Any, method: str, model_id: ModelId) -> None:
        tried.append(model_id.uri)
        once(model, method, model_id)

    monkeypatch.setattr("tenantry_server.formats.sklearn.reader.try_once", counted)
    good = [fitted() for _ in range(30)] + [scaled() for _ in range(5)]
    broken = fitted()
    del broken.intercept_
    bad = [Ridge(), broken, StandardScaler().fit(ROWS), make_pipeline(StandardScaler(), Ridge())]
    items: list[dict[str, Any]] = [
        {"user_id": f"u{number}", "model": model} for number, model in enumerate([*good, *bad])
    ]
    items += [{"user_id": "method", "model": fitted(), "method": "predict_proba"}]
    report = publish_many(items, to=tmp_path / "models")
    problems = [(failure.number, failure.problem) for failure in report.failed]
    assert [number for number, _ in problems] == [35, 36, 37, 38, 39]
    words = ("not fitted", "intercept_", "no predict method", "not fitted", "no method predict_proba")
    for (_, problem), said in zip(problems, words, strict=True):
        assert said in problem
    assert len(report.published) == 35
    assert len([uri for uri in tried if "/u0/" in uri or "/u30/" in uri]) == 2
    assert len(tried) == 2 + len([each for each in bad if hasattr(each, "predict")])
