"""TenantModels on a real API server: what `kubectl apply` of one leads to."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from sklearn.linear_model import LinearRegression

from tenantry import TenantModel
from tenantry_server import publish
from tests.support.child_process import Child
from tests.support.control_plane import ControlPlane
from tests.support.up import TENANTRY
from tests.support.waiting import until

CRD = Path(__file__).parents[2] / "crds" / "tenantmodel.yaml"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TENANT_MODELS = "/apis/tenantry.dev/v1alpha1/namespaces/default/tenantmodels"


class Home:
    """An operator and a server on a registry, and what a person does to the cluster."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self.folder = folder
        self.registry_url = f"sqlite:///{folder}/registry.db"
        self.env = {**os.environ, "KUBECONFIG": str(plane.kubeconfig)}
        self.children: dict[str, Child] = {}

    def start(self, name: str, *args: str) -> Child:
        command = [*TENANTRY, *args, "--registry", self.registry_url]
        self.children[name] = Child(command, log=self.folder / f"{name}.log", env=self.env)
        return self.children[name]

    def start_operator(self) -> Child:
        return self.start("operator", "operator", "--kubernetes")

    def publish(self, user_id: str, slope: float) -> TenantModel:
        fitted = LinearRegression().fit([[0.0], [1.0]], [0.0, slope])
        return publish(fitted, user_id=user_id, to=self.folder / "models")

    def apply(self, declared: TenantModel) -> dict[str, Any]:
        """Create, or replace the spec of what stands there."""
        path = f"{TENANT_MODELS}/{declared.name}"
        status, found = self.plane.request("GET", path)
        document = declared.to_manifest()
        if status == 404:
            status, body = self.plane.request("POST", TENANT_MODELS, document)
        else:
            found["spec"] = document["spec"]
            status, body = self.plane.request("PUT", path, found)
        assert status in (200, 201), body
        return dict(body)

    def delete(self, name: str) -> None:
        assert self.plane.request("DELETE", f"{TENANT_MODELS}/{name}")[0] == 200

    def get(self, name: str) -> dict[str, Any]:
        return dict(self.plane.request("GET", f"{TENANT_MODELS}/{name}")[1])

    def until(self, name: str, reason: str, *, timeout_s: float = 30.0) -> dict[str, Any]:
        """Until the status speaks of the newest generation, with this reason."""

        def settled() -> dict[str, Any] | None:
            found = self.get(name)
            status = found["status"]
            ready = [c for c in status.get("conditions", []) if c["type"] == "Ready"]
            newest = status["observedGeneration"] == found["metadata"]["generation"]
            return found if newest and ready and ready[0]["reason"] == reason else None

        found = until(settled, f"{name} {reason}", timeout_s=timeout_s)
        assert found is not None
        return found

    def predict(self, user_id: str, x: float) -> float | None:
        body = f'{{"instances": [[{x}]]}}'
        command = [*TENANTRY, "predict", user_id, "-d", body, "--registry", self.registry_url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            assert "404 ModelNotAssigned" in done.stderr, done.stderr
            return None
        return float(yaml.safe_load(done.stdout)["predictions"][0])


@pytest.fixture(scope="module")
def home(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    status, body = plane.request("POST", CRDS, yaml.safe_load(CRD.read_text()))
    assert status in (201, 409), body
    until(lambda: plane.request("GET", TENANT_MODELS)[0] == 200, "the CRD is served")
    started = Home(plane, tmp_path_factory.mktemp("kubernetes"))
    started.start_operator()
    started.start("server", "serve")
    yield started
    for child in started.children.values():
        child.stop(grace_s=20)


def test_apply_becomes_ready_and_answers(home: Home) -> None:
    home.apply(home.publish("ann", 2.0))
    found = home.until("ann", "Ready")
    assert "sha256=" in found["status"]["modelId"]
    assert found["status"]["sizeBytes"] > 0
    assert [c["type"] for c in found["status"]["conditions"]] == ["Ready"]
    assert home.predict("ann", 4.0) == pytest.approx(8.0)


def test_one_change_costs_one_write_of_the_status(home: Home) -> None:
    """The resourceVersion of the object's last write follows the one of the apply directly."""
    home.apply(home.publish("bob", 1.0))
    first = home.until("bob", "Ready")
    applied = home.apply(home.publish("bob", 5.0))
    assert applied["metadata"]["generation"] == 2
    second = home.until("bob", "Ready")
    assert second["status"]["modelId"] != first["status"]["modelId"]
    assert home.predict("bob", 1.0) == pytest.approx(5.0)
    patched = _patches(home.plane, "bob")
    assert patched == 2, f"{patched} status writes for two changes"


def _patches(plane: ControlPlane, name: str) -> int:
    """Successful writes of a status, as the API server's own audit log counts them."""
    assert plane.audit_log is not None
    lines = map(yaml.safe_load, plane.audit_log.read_text().splitlines())
    return sum(
        line["verb"] == "patch"
        and line["stage"] == "ResponseComplete"
        and line["objectRef"].get("name") == name
        and line["objectRef"].get("subresource") == "status"
        and line["responseStatus"]["code"] == 200
        for line in lines
        if line.get("objectRef", {}).get("resource") == "tenantmodels"
    )


def test_what_only_the_operator_can_know_becomes_a_condition(home: Home) -> None:
    good = home.publish("cid", 3.0)
    home.apply(good)
    home.until("cid", "Ready")
    document = good.to_manifest()
    document["spec"]["model"] = {"uri": "file:///nowhere/cid.joblib"}
    home.apply(TenantModel.parse(document))
    found = home.until("cid", "ArtifactNotFound")
    assert [c["type"] for c in found["status"]["conditions"]] == ["Ready", "Reconciling"]
    assert "keeps serving" in found["status"]["conditions"][0]["message"]
    assert home.predict("cid", 1.0) == pytest.approx(3.0)
    home.apply(good)
    home.until("cid", "Ready")


def test_of_two_for_one_user_the_older_wins_and_the_other_takes_over(home: Home) -> None:
    home.apply(home.publish("dan", 1.0))
    created = home.until("dan", "Ready")["metadata"]["creationTimestamp"]
    # Creation times are whole seconds, and within one the uid decides.
    until(lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}" > created, "the next second")
    rival = home.publish("dan", 9.0)
    rival = TenantModel(rival.namespace, "dan-rival", rival.spec)
    home.apply(rival)
    found = home.until("dan-rival", "UserIdConflict")
    assert "default/dan" in found["status"]["conditions"][0]["message"]
    assert home.predict("dan", 1.0) == pytest.approx(1.0)
    home.delete("dan")
    home.until("dan-rival", "Ready")
    assert home.predict("dan", 1.0) == pytest.approx(9.0)


def test_a_restarted_operator_writes_nothing_and_sees_what_it_missed(home: Home) -> None:
    home.apply(home.publish("eve", 1.0))
    home.apply(home.publish("fay", 1.0))
    versions = {name: home.until(name, "Ready")["metadata"]["resourceVersion"] for name in ("eve", "fay")}
    home.children["operator"].stop(grace_s=20)
    home.delete("fay")
    home.apply(home.publish("gil", 7.0))
    home.start_operator()
    home.until("gil", "Ready")
    assert home.predict("gil", 1.0) == pytest.approx(7.0)
    assert home.predict("fay", 1.0) is None
    assert home.get("eve")["metadata"]["resourceVersion"] == versions["eve"]


def test_a_status_that_somebody_wrote_over_is_put_right(home: Home) -> None:
    """Nobody else may say Ready."""
    home.apply(home.publish("hal", 1.0))
    found = home.until("hal", "Ready")
    wrong = {"status": {"observedGeneration": 1, "modelId": "made-up", "conditions": []}}
    status, body = home.plane.request(
        "PUT", f"{TENANT_MODELS}/hal/status", {**found, "status": wrong["status"]}
    )
    assert status == 200, body
    mended = home.until("hal", "Ready")
    assert mended["status"] == found["status"]


def test_a_standby_takes_over_and_a_paused_leader_writes_nothing(plane: ControlPlane, home: Home) -> None:
    """The pause outlives the lease: on waking, the former leader is refused by the registry, and ends."""
    home.children["operator"].stop(grace_s=20)
    lease = {"metadata": {"name": "operator"}, "spec": {}}
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    assert plane.request("POST", leases, lease)[0] == 201
    args = ["operator", "--kubernetes", "--lease", "default/operator"]
    first = home.start("first", *args)
    until(lambda: _led(home, "first"), "the first leads")
    home.start("second", *args)
    until(lambda: "waiting for the lease" in _log(home, "second"), "the second waits")
    home.apply(home.publish("ida", 1.0))
    home.until("ida", "Ready")
    assert not _led(home, "second")
    os.kill(first.pid, signal.SIGSTOP)
    home.apply(home.publish("ida", 2.0))
    found = home.until("ida", "Ready", timeout_s=60)
    assert _led(home, "second")
    os.kill(first.pid, signal.SIGCONT)
    until(lambda: not first.running, "the former leader ends", timeout_s=60)
    said = _log(home, "first")
    assert "another operator leads since epoch" in said or "the lease was lost" in said
    assert home.get("ida")["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]
    assert home.predict("ida", 1.0) == pytest.approx(2.0)


def _led(home: Home, name: str) -> bool:
    return '"event": "leading"' in _log(home, name)


def _log(home: Home, name: str) -> str:
    return (home.folder / f"{name}.log").read_text()


def test_it_is_one_or_the_other() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tenantry_cli", "operator"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "give either FOLDER or --kubernetes" in done.stderr
