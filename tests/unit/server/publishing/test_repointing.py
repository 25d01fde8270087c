"""Which declarations are pointed at another artifact, and what they keep."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tenantry import ModelId
from tenantry.errors import NotPublished
from tenantry_server.publishing import repointing

OLD = ModelId("s3://models/a.pkl", sha256="0" * 64)
CARD = {"uri": "s3://models/b.joblib.card.json", "sha256": "3" * 64}
NEW = {"uri": "s3://models/b.joblib", "sha256": "1" * 64, "card": CARD}


def manifest(folder: Path, model: dict[str, Any], **spec: Any) -> Path:
    path = folder / "ann.yaml"
    metadata = {"name": "ann", "annotations": {"owner": "red"}}
    document = {"apiVersion": "tenantry.dev/v1alpha1", "kind": "TenantModel", "metadata": metadata}
    path.write_text(yaml.safe_dump(document | {"spec": {"userId": "ann", "model": model, **spec}}))
    return path


def rewrite(path: Path) -> bool:
    return repointing.rewrite_manifest(path, OLD, NEW, user_id="ann", name="ann", namespace="default")


def test_it_keeps_all_that_is_not_of_one_version_and_is_written_once(tmp_path: Path) -> None:
    model = {"uri": OLD.uri, "sha256": OLD.sha256, "versionId": "v1", "method": "predict_proba"}
    path = manifest(tmp_path, model, prewarm=True)
    assert rewrite(path)
    document = yaml.safe_load(path.read_text())
    kept = {"userId": "ann", "model": {**NEW, "method": "predict_proba"}, "prewarm": True}
    assert document["spec"] == kept
    assert document["metadata"]["annotations"] == {"owner": "red"}
    written = path.stat()
    assert not rewrite(path)
    assert path.stat() == written


@pytest.mark.parametrize(
    ("model", "spec", "problem"),
    [
        ({"uri": OLD.uri}, {"refreshInterval": "5m"}, "follows an object"),
        ({"uri": "s3://models/c.pkl"}, {}, "another version is declared already: s3://models/c.pkl"),
        ({"uri": OLD.uri, "sha256": "2" * 64}, {}, "another version"),
    ],
)
def test_a_declaration_of_something_else_stays(
    model: dict[str, Any], spec: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    path = manifest(tmp_path, model, **spec)
    before = path.read_bytes()
    with pytest.raises(NotPublished, match=problem):
        rewrite(path)
    assert path.read_bytes() == before


def test_a_manifest_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotPublished, match="there is no manifest of ann"):
        rewrite(tmp_path / "ann.yaml")
    assert list(tmp_path.iterdir()) == []
