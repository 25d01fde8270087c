"""The examples for Argo CD and Flux tell the truth: paths, order, and each state of a TenantModel."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tenantry.manifest import status
from tenantry.manifest.status import State, Status
from tests.support.kubernetes.gitops import GITOPS, health
from tests.support.kubernetes.manifests import ROOT


def _live(said: Status | None, *, generation: int = 1) -> dict[str, Any]:
    """An object as the API server gives it, with this status."""
    written: dict[str, Any] = {"observedGeneration": -1}
    if said is not None:
        conditions = status.conditions(said, status.since(None, {}, said, 0.0))
        written = {"observedGeneration": said.observed_generation, "conditions": conditions}
    return {"metadata": {"name": "it", "generation": generation}, "status": written}


HEALTH = {
    "ready": (Status(State.READY, "Ready", "fine", 1), 1, "Healthy", "Ready: fine"),
    "ready, of the generation before": (
        Status(State.READY, "Ready", "fine", 1),
        2,
        "Progressing",
        "not decided",
    ),
    "loading": (Status(State.RECONCILING, "Loading", "on s-0", 1), 1, "Progressing", "Loading: on s-0"),
    "stalled": (Status(State.STALLED, "ArtifactInvalid", "bad", 1), 1, "Degraded", "ArtifactInvalid: bad"),
    "stalled, of the generation before": (
        Status(State.STALLED, "VersionSkew", "", 1),
        2,
        "Progressing",
        "not",
    ),
    "degraded": (Status(State.RECONCILING, "Degraded", "gone", 1), 1, "Degraded", "Degraded: gone"),
    "not seen yet": (None, 1, "Progressing", "has not decided about this generation yet"),
}


@pytest.mark.parametrize(("said", "generation", "expected", "words"), HEALTH.values(), ids=HEALTH.keys())
def test_argo_cd_shows_each_state(said: Status | None, generation: int, expected: str, words: str) -> None:
    found, message = health(_live(said, generation=generation))
    assert found == expected
    assert words in message


def test_argo_cd_waits_for_an_object_without_a_status() -> None:
    """As an older CRD made them."""
    assert health({"metadata": {"generation": 1}})[0] == "Progressing"


def _documents(folder: Path) -> list[Any]:
    found = [
        each for file in sorted(folder.glob("*.yaml")) for each in yaml.safe_load_all(file.read_text())
    ]
    return sorted(found, key=lambda each: str(each["metadata"]["name"]))


def test_argo_cd_applies_paths_that_exist_and_prunes_no_crd() -> None:
    applications = {
        each["metadata"]["name"]: each["spec"]
        for each in _documents(GITOPS / "argocd")
        if each["kind"] == "Application"
    }
    assert set(applications) == {"tenantry-crds", "tenantry", "tenants"}
    for name in ("tenantry-crds", "tenantry"):
        assert (ROOT / applications[name]["source"]["path"] / "kustomization.yaml").exists()
    assert "prune" not in applications["tenantry-crds"]["syncPolicy"]["automated"]
    assert applications["tenants"]["syncPolicy"]["automated"]["prune"] is True


def test_flux_applies_paths_that_exist_in_order_and_waits() -> None:
    documents = _documents(GITOPS / "flux")
    steps = {
        each["metadata"]["name"]: each["spec"] for each in documents if each["kind"] == "Kustomization"
    }
    sources = {each["metadata"]["name"] for each in documents if each["kind"] == "GitRepository"}
    assert {name: [each["name"] for each in spec.get("dependsOn", [])] for name, spec in steps.items()} == {
        "tenantry-crds": [],
        "tenantry": ["tenantry-crds"],
        "tenants": ["tenantry"],
    }
    assert all(spec["wait"] is True and spec["sourceRef"]["name"] in sources for spec in steps.values())
    assert {name: spec["prune"] for name, spec in steps.items()} == {
        "tenantry-crds": False,
        "tenantry": True,
        "tenants": True,
    }
    for name in ("tenantry-crds", "tenantry"):
        assert (ROOT / steps[name]["path"] / "kustomization.yaml").exists()
