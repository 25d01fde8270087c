"""Whatever estimator is served, over HTTP its answers are scikit-learn's own."""

import io
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from aiohttp.test_utils import TestClient, TestServer
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
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
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from tenantry import Model, ModelId
from tenantry_server import CachedModelRepository, bounded_cache, make_app
from tenantry_server.app import FAST_PATH
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.formats import load_model

REGRESSORS = [
    LinearRegression,
    Ridge,
    Lasso,
    ElasticNet,
    SGDRegressor,
    lambda: ExtraTreesRegressor(7),
    lambda: HistGradientBoostingRegressor(max_iter=9),
    KNeighborsRegressor,
]
CLASSIFIERS = [
    LogisticRegression,
    SGDClassifier,
    LinearSVC,
    DecisionTreeClassifier,
    lambda: RandomForestClassifier(7),
    lambda: GradientBoostingClassifier(n_estimators=7),
    GaussianNB,
]
IN_FRONT = [None, StandardScaler, MinMaxScaler, SimpleImputer]


class Itself(ModelInfoRepository):
    """A user's model id is the user id."""

    def get_model_id_by_user_id(self, user_id: str) -> str:
        return user_id

    def peek(self, user_id: str) -> str | None:
        return user_id


class Shelf(ModelRepository):
    """Estimators, read as their artifacts would be."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[Any, str]] = {}

    def get_model(self, model_id: str) -> Model:
        estimator, method = self.held[model_id]
        buffer = io.BytesIO()
        joblib.dump(estimator, buffer)
        return load_model(buffer.getvalue(), ModelId("file:///m.joblib", method=method))


def drawn(seed: int) -> tuple[Any, str, pd.DataFrame]:
    """An estimator fitted on random data, a method of it, and rows to ask it about."""
    rng = np.random.default_rng(seed)
    names = [f"c{position}" for position in range(int(rng.integers(1, 7)))]
    scale = 10.0 ** rng.integers(-2, 4, size=len(names))
    rows = pd.DataFrame(rng.normal(size=(60, len(names))) * scale, columns=names)
    classifies = bool(rng.integers(2))
    kinds = CLASSIFIERS if classifies else REGRESSORS
    final = kinds[rng.integers(len(kinds))]()
    signal = (rows / scale).sum(axis=1).to_numpy()
    target = np.digitize(signal, [-0.5, 0.5][: rng.integers(1, 3)]) if classifies else signal
    if classifies and rng.integers(2):
        target = np.array(["low", "mid", "high"])[target]
    first = IN_FRONT[rng.integers(len(IN_FRONT))]
    front: Any = None if first is None else first()
    if front is not None and rng.integers(2):
        front = ColumnTransformer([("some", front, names[:1])], remainder="passthrough")
    estimator = (final if front is None else make_pipeline(front, final)).fit(rows, target)
    methods = [m for m in ("predict", "predict_proba", "decision_function") if hasattr(estimator, m)]
    asked = pd.DataFrame(rng.normal(size=(int(rng.integers(1, 9)), len(names))) * scale, columns=names)
    return estimator, methods[rng.integers(len(methods))], asked


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
async def test_served_answers_are_scikit_learns_own() -> None:
    """A hundred estimators, each asked twice: cold, and then on the fast path."""
    shelf = Shelf()
    app = make_app(Itself(), CachedModelRepository(shelf, bounded_cache(1 << 28)))
    async with TestClient(TestServer(app)) as client:
        runner = client.server.runner
        assert runner is not None
        assert runner.server is not None
        app[FAST_PATH].install(runner.server)
        for seed in range(100):
            estimator, method, rows = drawn(seed)
            shelf.held[f"user-{seed}"] = estimator, method
            expected = getattr(estimator, method)(rows)
            for _ in range(2):
                async with client.post(f"/predict/user-{seed}", json=rows.to_dict("records")) as response:
                    seen = await response.json()
                    assert response.status == 200, (seed, estimator, seen)
                if expected.dtype.kind in "fc":
                    size = np.abs(expected).max()
                    np.testing.assert_allclose(
                        seen, expected, rtol=1e-9, atol=1e-12 * size, err_msg=f"{seed}: {estimator}"
                    )
                else:
                    assert seen == expected.tolist(), (seed, estimator)
