"""TenantModels on a real API server: what `kubectl apply` of one leads to."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tenantry import TenantModel
from tests.support.kubernetes import gitops
from tests.support.kubernetes.control_plane import ControlPlane, write_kubeconfig
from tests.support.kubernetes.home import CRDS, TENANT_MODELS, TENANT_POLICIES, Home, install_crd
from tests.support.network import ports
from tests.support.waiting import until

DEFAULT = "/api/v1/namespaces/default"


@pytest.fixture(scope="module")
def home(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    install_crd(plane)
    started = Home(plane, tmp_path_factory.mktemp("kubernetes"))
    started.start_operator("--probe-port", "0")
    started.start_server()
    until(started.servers, "a server lives; before, the operator would say NoServer")
    yield started
    started.stop()


def test_apply_becomes_ready_and_answers(home: Home) -> None:
    home.apply(home.publish("ann", 2.0))
    found = home.until("ann", "Ready")
    assert "sha256=" in found["status"]["modelId"]
    assert found["status"]["sizeBytes"] > 0
    assert [c["type"] for c in found["status"]["conditions"]] == ["Ready"]
    assert gitops.health(found) == ("Healthy", f"Ready: {found['status']['conditions'][0]['message']}")
    assert home.predict("ann", 4.0) == pytest.approx(8.0)


def test_one_change_costs_one_write_of_the_status(home: Home) -> None:
    """Only a load that takes long has a write of its own in between."""
    home.apply(home.publish("bob", 1.0))
    first = home.until("bob", "Ready")
    applied = home.apply(home.publish("bob", 5.0))
    assert applied["metadata"]["generation"] == 2
    assert gitops.health(applied)[0] == "Progressing", "its status is about the version before"
    second = home.until("bob", "Ready")
    assert second["status"]["modelId"] != first["status"]["modelId"]
    assert home.predict("bob", 1.0) == pytest.approx(5.0)
    assert home.settled_writes("bob") == ["Ready", "Ready"]


def test_policies_and_labels_of_namespaces_are_followed(home: Home) -> None:
    home.restrict("gold", namespaceSelector={"matchLabels": {"tier": "gold"}}, maxReplicas=1)
    document = home.publish("gil", 1.0).to_manifest()
    document["spec"]["replicas"] = 2
    home.apply(TenantModel.parse(document))
    home.until("gil", "Ready")
    for tier, reason in (("gold", "PolicyDenied"), ("iron", "Ready"), ("gold", "PolicyDenied")):
        namespace = home.plane.request("GET", DEFAULT)[1]
        namespace["metadata"].setdefault("labels", {})["tier"] = tier
        assert home.plane.request("PUT", DEFAULT, namespace)[0] == 200
        denied = home.until("gil", reason)
        assert home.predict("gil", 1.0) == pytest.approx(1.0), "what answered goes on"
    message = denied["status"]["conditions"][0]["message"]
    assert "TenantPolicy 'gold', rule maxReplicas: 2 replicas are more than 1" in message
    assert home.plane.request("DELETE", f"{TENANT_POLICIES}/gold")[0] == 200
    home.until("gil", "Ready")


def test_a_wish_to_prewarm_is_one_write_and_no_new_version(home: Home) -> None:
    declared = home.publish("pam", 1.0)
    home.apply(declared)
    first = home.until("pam", "Ready")
    document = declared.to_manifest()
    document["spec"]["prewarm"] = True
    home.apply(TenantModel.parse(document))
    second = home.until("pam", "Ready")
    assert second["metadata"]["generation"] == second["status"]["observedGeneration"] == 2
    assert second["status"]["modelId"] == first["status"]["modelId"]
    assert home.settled_writes("pam") == ["Ready", "Ready"]


def test_what_only_the_operator_can_know_becomes_a_condition(home: Home) -> None:
    good = home.publish("cid", 3.0)
    home.apply(good)
    home.until("cid", "Ready")
    document = good.to_manifest()
    document["spec"]["model"] = {"uri": f"file://{home.folder}/nowhere/cid.joblib"}
    home.apply(TenantModel.parse(document))
    found = home.until("cid", "ArtifactNotFound")
    assert [c["type"] for c in found["status"]["conditions"]] == ["Ready", "Reconciling"]
    assert "keeps serving" in found["status"]["conditions"][0]["message"]
    assert gitops.health(found)[0] == "Progressing"
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
    assert gitops.health(found)[0] == "Degraded"
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
    home.start_operator("--probe-port", "0")
    home.until("gil", "Ready")
    assert home.predict("gil", 1.0) == pytest.approx(7.0)
    assert home.predict("fay", 1.0) is None
    assert home.get("eve")["metadata"]["resourceVersion"] == versions["eve"]


def test_probes_and_metrics_tell_what_is_so(plane: ControlPlane, home: Home) -> None:
    assert home.probe("/healthz") == (200, "ok\n")
    assert home.probe("/readyz") == (200, "ok\n")
    assert home.probe("/nothing")[0] == 404
    items = plane.request("GET", TENANT_MODELS)[1]["items"]
    stalled = sum(any(c["type"] == "Stalled" for c in item["status"]["conditions"]) for item in items)
    told = home.probe("/metrics")[1].splitlines()
    assert f'tenantry_operator_tenantmodels{{state="Ready"}} {len(items) - stalled:.1f}' in told
    assert f'tenantry_operator_tenantmodels{{state="Stalled"}} {stalled:.1f}' in told
    assert "tenantry_operator_servers 1.0" in told
    assert "tenantry_operator_registry_up 1.0" in told


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
    args = ["--lease", "elected/operator", "--probe-port", "0"]
    first = home.start_operator(*args, name="first")
    problem = """can't make the Lease elected/operator: 404 namespaces "elected" not found"""
    until(lambda: home.probe("/readyz", "first") == (503, f"{problem}\n"), "it says why it is not ready")
    assert plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": "elected"}})[0] == 201
    until(lambda: home.leads("first"), "the first made the Lease, and leads")
    home.start_operator(*args, name="second")
    until(lambda: "waiting for the lease" in home.log("second"), "the second waits")
    home.apply(home.publish("ida", 1.0))
    home.until("ida", "Ready")
    assert not home.leads("second")
    until(lambda: home.probe("/readyz", "second") == (200, "ok\n"), "ready, else a rollout would never end")
    assert "tenantry_operator_leading 0.0" in home.probe("/metrics", "second")[1]
    assert "tenantry_operator_leading 1.0" in home.probe("/metrics", "first")[1]
    os.kill(first.pid, signal.SIGSTOP)
    home.apply(home.publish("ida", 2.0))
    found = home.until("ida", "Ready")
    assert home.leads("second")
    os.kill(first.pid, signal.SIGCONT)
    until(lambda: not first.running, "the former leader ends")
    said = home.log("first")
    assert "another operator leads since epoch" in said or "the lease could not be renewed" in said
    assert home.get("ida")["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]
    assert home.predict("ida", 1.0) == pytest.approx(2.0)


def test_whoever_stops_in_order_gives_the_lease_back(plane: ControlPlane, home: Home) -> None:
    """A rollout must not wait until the lease of a process that ended long ago has run out."""
    lease = "/apis/coordination.k8s.io/v1/namespaces/elected/leases/operator"
    assert plane.request("GET", lease)[1]["spec"]["holderIdentity"]
    home.children["second"].stop(grace_s=20)
    assert "holderIdentity" not in plane.request("GET", lease)[1]["spec"]
    assert '"event": "stopped"' in home.log("second")


def test_the_crd_may_go_and_come_back(plane: ControlPlane, home: Home) -> None:
    """The watch ends with the CRD, for good: the operator begins another one."""
    home.start_operator("--probe-port", "0")
    home.apply(home.publish("jon", 1.0))
    home.until("jon", "Ready")
    assert plane.request("DELETE", f"{CRDS}/tenantmodels.tenantry.dev")[0] == 200
    until(lambda: plane.request("GET", TENANT_MODELS)[0] == 404, "the CRD is gone")
    until(lambda: "can't be listed yet" in home.log("operator"), "the operator notices")
    install_crd(plane)
    home.apply(home.publish("jon", 2.0))
    home.until("jon", "Ready")
    assert home.predict("jon", 1.0) == pytest.approx(2.0)


def test_it_stops_in_order_where_no_api_server_answers(plane: ControlPlane, tmp_path: Path) -> None:
    """And says what it waits for, without a traceback."""
    (port,) = ports.free_ports(1)
    kubeconfig = tmp_path / "kubeconfig"
    write_kubeconfig(kubeconfig, f"https://127.0.0.1:{port}", plane.ca_file, plane.admin_token)
    lonely = Home(plane, tmp_path)
    operator = lonely.start_operator(env={"KUBECONFIG": str(kubeconfig)})
    until(lambda: "waiting for the API server" in lonely.log("operator"), "it tries")
    operator.stop(grace_s=20)
    assert '"event": "stopped"' in lonely.log("operator")
    assert "Traceback" not in lonely.log("operator")


def test_it_is_one_or_the_other() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tenantry_cli", "operator"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "give either FOLDER or --kubernetes" in done.stderr
