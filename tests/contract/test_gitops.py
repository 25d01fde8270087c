"""The examples for Argo CD and Flux tell the truth: paths, order, and each state of a TenantModel."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tenantry.manifest import status
from tenantry.manifest.status import State, Status
from tests.support.kubernetes.deploying import helm
from tests.support.kubernetes.deploying.manifests import (
    BASE,
    NAMESPACE,
    ROOT,
    Document,
    of_kind,
    rendered,
    the,
)
from tests.support.kubernetes.gitops import GITOPS, health


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


# With the charts


def _enforced(labels: dict[str, str]) -> str:
    return labels["pod-security.kubernetes.io/enforce"]


def _made(values: dict[str, Any], release: str) -> list[Document]:
    """What the chart makes of an example's values: names are those that the other pages expect."""
    documents = helm.manifests(values, name=release)
    server = the(documents, "StatefulSet", "tenantry-server")
    assert "replicas" not in server["spec"], "an autoscaler decides, and a sync would undo it"
    assert of_kind(documents, "Secret") == [], "a password that is made up changes with each rendering"
    return documents


def test_argo_cd_may_take_the_charts_instead() -> None:
    applications = {
        each["metadata"]["name"]: each["spec"] for each in _documents(GITOPS / "argocd" / "helm")
    }
    assert set(applications) == {"tenantry-crds", "tenantry"}
    for name, chart in (("tenantry-crds", helm.CRDS_CHART), ("tenantry", helm.CHART)):
        assert ROOT / applications[name]["source"]["path"] == chart
        assert applications[name]["destination"]["namespace"] == NAMESPACE
    assert "prune" not in applications["tenantry-crds"]["syncPolicy"]["automated"]
    its = applications["tenantry"]
    assert _made(its["source"]["helm"]["valuesObject"], its["source"]["helm"]["releaseName"])
    (namespace,) = of_kind(rendered(BASE), "Namespace")
    assert _enforced(its["syncPolicy"]["managedNamespaceMetadata"]["labels"]) == _enforced(
        namespace["metadata"]["labels"]
    )


def test_flux_may_take_the_charts_instead_and_tests_each_release() -> None:
    documents = _documents(GITOPS / "flux" / "helm")
    releases = {each["metadata"]["name"]: each["spec"] for each in of_kind(documents, "HelmRelease")}
    sources = {
        each["metadata"]["name"] for each in _documents(GITOPS / "flux") if each["kind"] == "GitRepository"
    }
    charts = {"tenantry-crds": helm.CRDS_CHART, "tenantry": helm.CHART}
    assert set(releases) == set(charts)
    for name, spec in releases.items():
        asked = spec["chart"]["spec"]
        assert ROOT / asked["chart"] == charts[name]
        assert asked["sourceRef"]["name"] in sources
        assert asked["reconcileStrategy"] == "Revision", (
            "else a commit without a new version is not applied"
        )
        assert (spec["targetNamespace"], spec["releaseName"]) == (NAMESPACE, name)
    its = releases["tenantry"]
    assert its["dependsOn"] == [{"name": "tenantry-crds"}]
    made = _made(its["values"], its["releaseName"])
    assert its["test"]["enable"]
    assert [each["metadata"]["annotations"]["helm.sh/hook"] for each in of_kind(made, "Pod")] == ["test"]
    (namespace,) = of_kind(documents, "Namespace")
    assert namespace["metadata"]["name"] == NAMESPACE
    assert _enforced(namespace["metadata"]["labels"]) == "restricted"
