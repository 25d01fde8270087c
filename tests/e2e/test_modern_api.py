"""Operator, server and kubectl on an API server of today: CEL, selectable fields, versions, warnings."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tenantry_server.publishing import to_yaml
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.home import CRD, CRDS, Home, install_crd
from tests.support.kubernetes.kubectl import Kubectl
from tests.support.kubernetes.manifests import CRDS as CRD_FOLDER
from tests.support.kubernetes.manifests import composed
from tests.support.waiting import until


@pytest.fixture(scope="module")
def home(modern: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    install_crd(modern)
    started = Home(modern, tmp_path_factory.mktemp("modern"))
    try:
        started.start_operator()
        started.start_server()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def kubectl(modern: ControlPlane) -> Kubectl:
    return Kubectl(modern.kubeconfig)


def test_a_tenant_model_of_v1beta1_becomes_ready_and_its_user_stays(home: Home, kubectl: Kubectl) -> None:
    """The same manifest in v1alpha1 changes nothing afterwards; another userId is refused by CEL."""
    manifest = to_yaml(home.publish("ann", 2.0))
    newer = manifest.replace("tenantry.dev/v1alpha1", "tenantry.dev/v1beta1")
    kubectl.ok("apply", "-f", "-", stdin=newer)
    kubectl.ok("wait", "--for=condition=Ready", "--timeout=60s", "tm/ann")
    assert home.predict("ann", 4.0) == pytest.approx(8.0)
    before = kubectl.json("get", "tm", "ann")
    assert before["apiVersion"] == "tenantry.dev/v1beta1", "the newest is what kubectl asks for"
    kubectl.ok("apply", "-f", "-", stdin=manifest)
    after = kubectl.json("get", "tm", "ann")
    assert after["metadata"]["generation"] == before["metadata"]["generation"] == 1
    assert after["status"] == before["status"]
    done = kubectl.run("apply", "-f", "-", stdin=manifest.replace("userId: ann", "userId: somebody-else"))
    assert done.returncode == 1
    assert "userId is immutable; delete this TenantModel and declare another one" in done.stderr


def test_a_tenant_model_is_found_by_its_user(home: Home, kubectl: Kubectl) -> None:
    for user in ("bob", "cid"):
        kubectl.ok("apply", "-f", "-", stdin=to_yaml(home.publish(user, 1.0)))
    kubectl.ok("wait", "--for=condition=Ready", "--timeout=60s", "tm/bob", "tm/cid")
    for version in ("v1alpha1", "v1beta1"):
        kind = f"tenantmodels.{version}.tenantry.dev"
        table = kubectl.ok("get", kind, "-A", "--field-selector", "spec.userId=cid").splitlines()
        assert table[0].split() == ["NAMESPACE", "NAME", "USER", "READY", "REASON", "AGE"]
        assert [line.split()[:5] for line in table[1:]] == [["default", "cid", "cid", "True", "Ready"]]


def test_v1alpha1_warns_once_it_is_deprecated(home: Home, kubectl: Kubectl, tmp_path: Path) -> None:
    """Only clients of v1alpha1 see it, and the operator goes on."""
    plane, name = home.plane, "tenantmodels.tenantry.dev"
    assert "Warning" not in kubectl.run("get", "tenantmodels.v1alpha1.tenantry.dev").stderr
    (deprecated,) = composed(tmp_path, CRD_FOLDER, CRD_FOLDER / "deprecated-v1alpha1")
    found = plane.request("GET", f"{CRDS}/{name}")[1]
    found["spec"] = deprecated["spec"]
    assert plane.request("PUT", f"{CRDS}/{name}", found)[0] == 200
    warned = until(
        lambda: kubectl.run("get", "tenantmodels.v1alpha1.tenantry.dev").stderr, "the API server warns"
    )
    assert (
        "Warning: tenantry.dev/v1alpha1 TenantModel is deprecated; write apiVersion tenantry.dev/v1beta1"
        in warned
    )
    assert kubectl.run("get", "tenantmodels.v1beta1.tenantry.dev").stderr == ""
    kubectl.ok("apply", "-f", "-", stdin=to_yaml(home.publish("dan", 3.0)))
    kubectl.ok("wait", "--for=condition=Ready", "--timeout=60s", "tm/dan")
    found = plane.request("GET", f"{CRDS}/{name}")[1]
    found["spec"] = yaml.safe_load(CRD.read_text())["spec"]
    assert plane.request("PUT", f"{CRDS}/{name}", found)[0] == 200
