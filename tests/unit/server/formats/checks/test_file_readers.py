"""A vectorizer that reads the files that requests name is refused, wherever and however it is stored."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingRegressor
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from tenantry import ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server import SklearnModel
from tenantry_server.formats import load_model

TEXTS = ["one two", "two three", "three four", "four five"]
ANSWERS = [1.0, 2.0, 3.0, 4.0]
READERS: dict[str, Callable[..., Any]] = {
    "CountVectorizer": CountVectorizer,
    "TfidfVectorizer": TfidfVectorizer,
    "HashingVectorizer": lambda **given: HashingVectorizer(n_features=16, **given),
}
INSIDE: dict[str, Callable[[Any], Any]] = {
    "a pipeline": lambda reader: make_pipeline(reader, Ridge()),
    "a union": lambda reader: make_pipeline(FeatureUnion([("one", reader)]), Ridge()),
    "a nested pipeline": lambda reader: Pipeline([("in", Pipeline([("v", reader)])), ("out", Ridge())]),
    "a vote": lambda reader: VotingRegressor([("one", make_pipeline(reader, Ridge()))]),
    "a search": lambda reader: GridSearchCV(make_pipeline(reader, Ridge()), {"ridge__alpha": [1.0]}, cv=2),
}


def stored(model: Any, suffix: str) -> bytes:
    if suffix == "skops":
        return bytes(skops.io.dumps(model))
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


def load(model: Any, suffix: str) -> Any:
    return load_model(stored(model, suffix), ModelId(f"file:///m/model.{suffix}"))


def switched(model: Any, given: str) -> Any:
    """Fitted on texts, and then told to read files: as a forger would, who needs no files to fit it."""
    from tenantry_server.formats.checks.file_readers import _VECTORIZERS, _parts  # noqa: PLC0415 - only here

    for part in _parts(model):
        if isinstance(part, _VECTORIZERS):
            part.input = given
    return model


@pytest.mark.parametrize(
    ("suffix", "given"), [("skops", "filename"), ("joblib", "filename"), ("pkl", "file")]
)
@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("reader", READERS)
def test_it_is_refused_in_words(suffix: str, inside: str, reader: str, given: str) -> None:
    model = INSIDE[inside](READERS[reader]()).fit(TEXTS, ANSWERS)
    with pytest.raises(ArtifactInvalid, match=f"{reader} has input='{given}', so requests would name"):
        load(switched(model, given), suffix)


@pytest.mark.parametrize("suffix", ["skops", "joblib"])
@pytest.mark.parametrize("reader", READERS)
def test_one_that_reads_texts_is_served(suffix: str, reader: str) -> None:
    model = make_pipeline(READERS[reader](), Ridge()).fit(TEXTS, ANSWERS)
    load(model, suffix)


def test_a_column_of_file_names_is_refused(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.txt" for n in range(4)]
    for path, text in zip(paths, TEXTS, strict=True):
        path.write_text(text)
    reader = ColumnTransformer([("texts", CountVectorizer(input="filename"), 0)])
    rows = np.array([[str(path)] for path in paths], dtype=object)
    model = make_pipeline(reader, Ridge()).fit(rows, ANSWERS)
    with pytest.raises(ArtifactInvalid, match="input='filename'"):
        load(model, "joblib")


def test_one_in_a_model_of_ours_is_refused_too() -> None:
    model = switched(make_pipeline(CountVectorizer(), Ridge()).fit(TEXTS, ANSWERS), "filename")
    with pytest.raises(ArtifactInvalid, match="input='filename'"):
        load(SklearnModel(model), "joblib")


class Circular(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Refers to itself, which ends no search."""

    def fit(self, _rows: Any, _answers: Any = None) -> "Circular":
        self.self_, self.fitted_ = self, [[self]]
        return self

    def transform(self, rows: Any) -> Any:
        return rows


def test_a_circle_is_walked_once() -> None:
    load(make_pipeline(Circular(), Ridge()).fit([[1.0], [2.0]], [1.0, 2.0]), "joblib")
