"""MLflow model folders without MLflow; those that MLflow writes are tested in tests/apart."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from tenantry import ModelId
from tenantry.errors import ArtifactInvalid, NotPublished
from tenantry_server import publish
from tenantry_server.cards.card import Card
from tenantry_server.formats import load_model
from tenantry_server.formats.checks import archive

ROWS = pd.DataFrame({"km": [1.0, 2.0, 4.0], "hour": [7, 8, 9]})
FITTED = Ridge().fit(ROWS, [1.0, 2.0, 3.0])
SKLEARN = {"sklearn": {"pickled_model": "model.pkl", "code": None}}
SIGNATURE = {"inputs": json.dumps([{"type": "double", "name": "km"}, {"type": "long", "name": "hour"}])}


def folder(root: Path, document: Any) -> Path:
    """A folder as MLflow writes it; JSON is YAML."""
    root.mkdir(exist_ok=True)
    joblib.dump(FITTED, root / "model.pkl")
    (root / "MLmodel").write_text(document if isinstance(document, str) else json.dumps(document))
    return root


def refusal(data: bytes, uri: str = "file:///m.mlflow") -> str:
    with pytest.raises(ArtifactInvalid) as refused:
        load_model(data, ModelId(uri))
    return str(refused.value)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (
            {"flavors": {"sklearn": {"pickled_model": "../../etc/passwd"}}},
            "which lies outside of the folder",
        ),
        ({"flavors": {"sklearn": {"pickled_model": "/etc/passwd"}}}, "which lies outside of the folder"),
        ({"flavors": {"sklearn": {"pickled_model": "C:\\model.pkl"}}}, "which lies outside of the folder"),
        (
            {"flavors": {"sklearn": {"pickled_model": "other.pkl"}}},
            "'other.pkl', which the folder does not hold",
        ),
        ({"flavors": {"sklearn": {"pickled_model": ["model.pkl"]}}}, "which must be a path"),
        ({"flavors": {"sklearn": {}}}, "does not say which file holds the sklearn model"),
        ({"flavors": {"sklearn": "model.pkl"}}, "has no mapping for sklearn"),
        (
            {"flavors": {"python_function": {"artifacts": {"a": {"path": "../b"}}}}},
            "for artifacts.a.path, which lies outside",
        ),
        ({"flavors": {"spark": {}}}, "its flavors are spark; served are sklearn, xgboost"),
        ({"flavors": {}}, "names no flavors"),
        ("[1, 2]", "has no mapping for the whole"),
        ("a: [", "can't be read: while parsing"),
        ("[" * 100_000, "nested more than 50 deep"),
        ("a: &a {b: 1}\nc: {<<: [*a, *a]}", "it has a merge key"),
        ("a: " + "b" * (1 << 20), "at most 1048576 are allowed"),
    ],
)
def test_an_mlmodel_that_misleads_is_refused_in_words(document: Any, words: str, tmp_path: Path) -> None:
    assert words in refusal(archive.pack(folder(tmp_path / "m", document)))


def test_a_link_is_refused_when_packed_and_when_read(tmp_path: Path) -> None:
    root = folder(tmp_path / "m", {"flavors": SKLEARN})
    (tmp_path / "secret").write_text("x")
    (root / "beside").symlink_to(tmp_path / "secret")
    with pytest.raises(NotPublished, match="beside is a link that leads out of the folder"):
        publish(root, user_id="ann", to=tmp_path / "models")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        member = zipfile.ZipInfo("MLmodel")
        member.external_attr = 0o120777 << 16
        written.writestr(member, "/etc/passwd")
    assert "symbolic link" in refusal(buffer.getvalue())


def test_an_archive_without_mlmodel_or_under_another_suffix_says_so(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("x")
    assert "it holds no file MLmodel" in refusal(archive.pack(tmp_path))
    data = archive.pack(folder(tmp_path / "m", {"flavors": SKLEARN}))
    assert "it is an MLflow model folder; declare format: mlflow" in refusal(data, "file:///m.zip")


def test_signature_and_example_become_the_card(tmp_path: Path) -> None:
    info = {"artifact_path": "input_example.json", "type": "dataframe", "pandas_orient": "split"}
    document = {"flavors": SKLEARN, "signature": SIGNATURE, "saved_input_example_info": info}
    root = folder(tmp_path / "m", document)
    (root / "input_example.json").write_text('{"columns": ["hour", "km"], "data": [[7, 1.0], [9, 4.0]]}')
    declared = publish(root, user_id="ann", to=tmp_path / "models")
    assert declared.spec.model.uri.endswith(".mlflow")
    assert declared.spec.model.card is not None
    card = Card.read(Path(declared.spec.model.card.uri.removeprefix("file://")).read_bytes())
    assert [(column.name, column.dtype) for column in card.columns] == [
        ("km", "float64"),
        ("hour", "int64"),
    ]
    np.testing.assert_allclose(card.answers, FITTED.predict(ROWS.iloc[[0, 2]]))
    untried = publish(root, user_id="bob", to=tmp_path / "models", check=False)
    assert untried.spec.model.card is None


def test_a_folder_within_the_archive_and_one_within_the_folder(tmp_path: Path) -> None:
    """Some tools zip the folder itself; a function may hold another model as an artifact."""
    (tmp_path / "all").mkdir()
    root = folder(tmp_path / "all" / "m", {"flavors": SKLEARN})
    folder(root / "artifact", {"flavors": {"spark": {}}})
    model = load_model(archive.pack(tmp_path / "all"), ModelId("file:///m.zip", format="mlflow"))
    np.testing.assert_allclose(model.predict_rows(ROWS.to_numpy()), FITTED.predict(ROWS))
