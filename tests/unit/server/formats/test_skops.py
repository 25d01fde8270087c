"""skops files: what scikit-learn itself needs is read, whatever else is refused before it is made."""

import io
import os
import zipfile
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, TweedieRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.formats import load_model

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["a", "b"])
SUM = FRAME.sum(axis=1).to_numpy()
TWO = (SUM > 0).astype(int)


def loaded(estimator: Any, **model_id: Any) -> Model:
    return load_model(skops.io.dumps(estimator), ModelId("file:///m.skops", **model_id))


@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        (make_pipeline(StandardScaler(), Ridge()), SUM),
        (make_pipeline(SimpleImputer(), FunctionTransformer(np.expm1), Ridge()), SUM),
        (RandomForestClassifier(5, random_state=0), TWO),
        (GradientBoostingRegressor(n_estimators=5), SUM),
        (HistGradientBoostingClassifier(max_iter=5), TWO),
        (GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}, cv=2), SUM),
        (CalibratedClassifierCV(LogisticRegression(), cv=2), TWO),
        (MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", max_iter=2000, random_state=0), SUM),
        (TweedieRegressor(power=0), SUM),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("compiled", ["auto", "off"])
def test_it_predicts_what_was_dumped(estimator: Any, target: Any, compiled: str) -> None:
    estimator.fit(FRAME, target)
    model = loaded(estimator, compile=compiled)
    assert model.feature_names == ("a", "b")
    np.testing.assert_allclose(model.predict(FRAME), estimator.predict(FRAME), rtol=1e-9)


def test_a_pipeline_with_columns_of_text_is_read() -> None:
    frame = FRAME.assign(city=["Oslo", "Rome"] * 20)
    steps = ColumnTransformer([("city", OneHotEncoder(), ["city"]), ("a", StandardScaler(), ["a"])])
    fitted = make_pipeline(steps, Ridge()).fit(frame, SUM)
    np.testing.assert_allclose(loaded(fitted).predict(frame), fitted.predict(frame))


def test_the_chosen_method_is_called_and_one_that_it_lacks_refused() -> None:
    fitted = LogisticRegression().fit(FRAME, TWO)
    chances = loaded(fitted, method="predict_proba").predict(FRAME)
    np.testing.assert_allclose(chances, fitted.predict_proba(FRAME))
    with pytest.raises(ArtifactInvalid, match=r"Ridge has no method predict_proba; correct"):
        loaded(Ridge().fit(FRAME, SUM), method="predict_proba")


class Stranger(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator of nobody's library."""

    made = 0

    def __new__(cls) -> Self:
        cls.made += 1
        made: Self = super().__new__(cls)
        return made

    def fit(self, _: Any, y: Any) -> Self:
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, x: Any) -> Any:
        return np.full(len(x), self.mean_)


def test_a_strangers_class_is_refused_by_name_before_one_is_made() -> None:
    dumped = skops.io.dumps(make_pipeline(StandardScaler(), Stranger()).fit(FRAME, SUM))
    made = Stranger.made
    with pytest.raises(ArtifactInvalid) as raised:
        load_model(dumped, ModelId("file:///m.skops"))
    assert Stranger.made == made
    assert f"neither skops nor Tenantry trusts: {__name__}.Stranger; " in str(raised.value)
    assert "publish it with joblib" in str(raised.value)


@pytest.mark.parametrize(
    ("estimator", "named"),
    [
        (make_pipeline(FunctionTransformer(os.system), Ridge()), r"posix\.system"),
        (make_pipeline(FunctionTransformer(np.load), Ridge()), r"numpy\.load"),
        (KNeighborsRegressor(), r"EuclideanDistance64, sklearn\.neighbors\._kd_tree\.KDTree"),
    ],
    ids=["a shell", "a function of numpy", "indices that scikit-learn does not check"],
)
def test_functions_and_unchecked_memory_are_refused(estimator: Any, named: str) -> None:
    fitted = estimator.fit(FRAME, SUM) if isinstance(estimator, KNeighborsRegressor) else estimator
    with pytest.raises(ArtifactInvalid, match=named):
        loaded(fitted)


def test_scikit_learns_functions_are_no_classes_of_its() -> None:
    """Some of them open files or call what they are given."""
    from sklearn.datasets import load_svmlight_file  # noqa: PLC0415 - shows the case

    with pytest.raises(ArtifactInvalid, match="load_svmlight_file"):
        loaded(make_pipeline(FunctionTransformer(load_svmlight_file), Ridge()))


def test_an_archive_that_would_fill_the_memory_is_refused() -> None:
    buffer = io.BytesIO(skops.io.dumps(Ridge().fit(FRAME, SUM)))
    with (
        zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as member,
    ):
        for _ in range(300):
            member.write(bytes(1 << 20))
    assert len(buffer.getvalue()) < 1 << 20
    with pytest.raises(ArtifactInvalid, match=r"bytes would unpack to 3\d{8}; a model never does"):
        load_model(buffer.getvalue(), ModelId("file:///m.skops"))


def test_a_file_that_is_cut_off_is_refused() -> None:
    whole = skops.io.dumps(RandomForestClassifier(2, random_state=0).fit(FRAME, TWO))
    for cut in [*range(0, len(whole), len(whole) // 20), len(whole) - 1]:
        with pytest.raises(ArtifactInvalid):
            load_model(whole[:cut], ModelId("file:///m.skops"))


def test_what_does_not_predict_is_refused() -> None:
    with pytest.raises(ArtifactInvalid, match="it holds a StandardScaler, which has no predict method"):
        loaded(StandardScaler().fit(FRAME))
