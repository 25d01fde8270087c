"""Publishing again: what the manifest said before is kept, and nobody else's manifest is replaced."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from tenantry import TenantModel
from tenantry.errors import NotPublished
from tenantry_server import publish

BEFORE = """\
# edited by hand
apiVersion: tenantry.dev/v1alpha1
kind: TenantModel
metadata:
  name: ann
  namespace: shop
  uid: 7d1c
  resourceVersion: "12"
  creationTimestamp: 2026-11-29T10:00:00Z
  labels: {team: pricing, since: 2026-11-29, code: "0089"}
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: "{}"
    argocd.argoproj.io/sync-wave: "5"
spec:
  userId: ann
  refreshInterval: 5m
  prewarm: true
  replicas: 3
  isolation: dedicated
  model:
    uri: s3://models/ann.joblib
    sha256: "1111111111111111111111111111111111111111111111111111111111111111"
    versionId: v1
    format: sklearn
    method: predict_proba
    compile: "off"
status: {modelId: old}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "manifests" / "ann.yaml"
    path.parent.mkdir()
    path.write_text(BEFORE)
    return path


def again(manifest: Path, **said: Any) -> TenantModel:
    said = {"user_id": "ann", "to": manifest.parents[1] / "models", "manifests": manifest.parent, **said}
    return publish(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), **said)


def test_publishing_again_keeps_what_the_manifest_said(manifest: Path) -> None:
    """predict_proba once became predict, and a pinned tenant was no longer prewarmed."""
    declared = again(manifest)
    written = yaml.safe_load(manifest.read_text())
    assert TenantModel.parse(written) == declared
    assert written["metadata"] == {
        "name": "ann",
        "namespace": "shop",
        "labels": {"team": "pricing", "since": "2026-11-29", "code": "0089"},
        "annotations": {"argocd.argoproj.io/sync-wave": "5"},
    }
    spec = written["spec"]
    model = spec.pop("model")
    assert spec == {
        "userId": "ann",
        "refreshInterval": "5m",
        "prewarm": True,
        "replicas": 3,
        "isolation": "dedicated",
    }
    uri, sha256 = model.pop("uri"), model.pop("sha256")
    assert uri.startswith("file:///")
    assert sha256 != "1" * 64
    assert model == {"format": "sklearn", "method": "predict_proba", "compile": "off"}
    assert set(written) == {"apiVersion", "kind", "metadata", "spec"}


def test_it_may_be_published_any_number_of_times(manifest: Path) -> None:
    first = again(manifest)
    second = again(manifest)
    assert second.spec.model.uri != first.spec.model.uri
    assert [second.spec.prewarm, second.spec.model.method] == [True, "predict_proba"]
    assert yaml.safe_load(manifest.read_text())["metadata"]["labels"]["team"] == "pricing"


def test_what_the_caller_says_goes_first(manifest: Path) -> None:
    spec = {"prewarm": False, "refreshInterval": None, "replicas": 2, "model": {"compile": "auto"}}
    declared = again(manifest, method="predict", spec=spec)
    assert (declared.spec.prewarm, declared.spec.refresh_interval, declared.spec.replicas) == (False, "", 2)
    assert (declared.spec.model.method, declared.spec.model.compile) == ("predict", "auto")
    assert (declared.spec.isolation, declared.namespace) == ("dedicated", "shop")


def test_a_format_is_kept_for_the_same_kind_of_file_only(manifest: Path) -> None:
    manifest.write_text(BEFORE.replace("ann.joblib", "ann.onnx").replace("format: sklearn", "format: onnx"))
    assert again(manifest).spec.model.format == ""


@pytest.mark.parametrize(
    ("text", "said", "help_"),
    [
        (BEFORE, {"user_id": "bob", "name": "ann"}, "declares the userId 'ann', not 'bob'"),
        (BEFORE, {"namespace": "default"}, "declares the namespace 'shop', not 'default'"),
        (BEFORE.replace("name: ann", "name: ann-1"), {}, "declares the name 'ann-1', not 'ann'"),
        (BEFORE + "---\n" + BEFORE.replace("ann", "bob"), {}, "move that to a file of its own"),
        ("kind: List\nitems: []\n", {}, "move that to a file of its own"),
        ("kind: ConfigMap\n", {}, "move that to a file of its own"),
        ("spec: {", {}, "can't be read"),
        ("a: !!bool maybe", {}, "can't be read"),
        (BEFORE.replace("prewarm:", "prewarn:"), {}, "did you mean prewarm.*correct it there"),
    ],
    ids=["user", "namespace", "name", "two documents", "list", "other kind", "syntax", "value", "misspelt"],
)
def test_a_manifest_that_says_something_else_stays(
    manifest: Path, text: str, said: dict[str, Any], help_: str
) -> None:
    manifest.write_text(text)
    with pytest.raises(NotPublished, match=help_) as raised:
        again(manifest, **said)
    assert str(raised.value).startswith(f"{manifest}: ")
    assert manifest.read_text() == text
    assert not (manifest.parents[1] / "models").exists()


@pytest.mark.parametrize("text", ["", "\n# nothing yet\n", "---\n---\n"])
def test_a_manifest_that_says_nothing_is_replaced(manifest: Path, text: str) -> None:
    manifest.write_text(text)
    assert again(manifest).namespace == "default"


def test_a_name_leads_out_of_no_folder(manifest: Path) -> None:
    """The manifest is read only once its name is known to be one."""
    with pytest.raises(Exception, match=r"metadata\.name"):
        again(manifest, name="../ann")
