"""A pod of examples/sidecar as its manifest says it, as real processes with its commands and settings.

Beside a fleet whose secrets are a file; only addresses and paths are this machine's.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from tenantry_server import publish
from tests.support.kubernetes.deploying.manifests import (
    MANIFESTS,
    ROOT,
    Document,
    composed,
    environment,
    pod_of,
    rendered,
    the,
)
from tests.support.network import certificates
from tests.support.network.certificates import Authority
from tests.support.network.ports import free_ports
from tests.support.processes.child_process import Child
from tests.support.processes.fleet import Fleet
from tests.support.waiting import until

EXAMPLE = ROOT / "examples" / "sidecar"
USER = "store-042"
HOST = "127.0.0.1"
GRACE_S = 60.0


def _get(url: str) -> tuple[int, str]:
    """Status and text; 0 where nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


class Pod:
    """The two containers of the example's pod.

    Attributes:
        sidecar, application: the containers, as the API server would have them.
    """

    def __init__(self, fleet: Fleet, documents: list[Document], **of_this_machine: str) -> None:
        self._folder = folder = fleet.folder
        deployment = the(documents, "Deployment", "shop")
        (self.sidecar,) = pod_of(deployment)["initContainers"]
        (self.application,) = pod_of(deployment)["containers"]
        port, self._probe_port, self._port = free_ports(3)
        self._of_this_machine = {
            "TENANTRY_FLEET_URL": " ".join(fleet.urls.values()),
            "TENANTRY_FLEET_SECRET_FILE": str(folder / "secrets"),
            "TENANTRY_PORT": str(port),
            "TENANTRY_PROBE_HOST": HOST,
            "TENANTRY_PROBE_PORT": str(self._probe_port),
            "TENANTRY_SOCKET": str(folder / "sidecar.sock"),
            "SIDECAR_SOCKET": str(folder / "sidecar.sock"),
            "HOST": HOST,
            "PORT": str(self._port),
            **of_this_machine,
        }
        self.children: dict[str, Child] = {}

    def start(self, container: Document) -> Child:
        made = {
            "metadata": {"namespace": "shop"},
            "spec": {"template": {"spec": {"containers": [container]}}},
        }
        env = {"PATH": os.environ["PATH"], **environment(made, "shop-0", {}), **self._of_this_machine}
        python, *arguments = container["command"]
        assert python == "python"
        here = [each.replace("/app/", f"{ROOT}/examples/sidecar/") for each in arguments]
        log = self._folder / f"{container['name']}.log"
        child = Child([sys.executable, *here], log=log, env=env)
        self.children[container["name"]] = child
        return child

    def probe(self, which: str) -> int:
        """Ask as the kubelet does."""
        get = self.sidecar[f"{which}Probe"]["httpGet"]
        assert get["port"] == self.sidecar["ports"][0]["name"]
        return _get(f"http://{HOST}:{self._probe_port}{get['path']}")[0]

    def metric(self, name: str) -> float:
        _, text = _get(f"http://{HOST}:{self._probe_port}/metrics")
        (line,) = (each for each in text.splitlines() if each.startswith(f"{name} "))
        return float(line.split()[1])

    def price(self) -> float:
        """What the application says of five km, as soon as it has an answer."""
        return until(self._price, "an answer")

    def _price(self) -> float:
        status, said = self.ask(f"/price/{USER}?km=5")
        return float(said["price"]) if status == 200 else 0.0

    def ask(self, path: str) -> tuple[int, Any]:
        """Ask the application."""
        status, text = _get(f"http://{HOST}:{self._port}{path}")
        return status, json.loads(text) if status else text

    def reason(self, path: str) -> str:
        """Of the error that the application answers with; another one where the machine stood still."""
        status, said = self.ask(path)
        return str(said["error"]["reason"]) if status >= 400 else ""


def _publish(folder: Path, price: float) -> None:
    trips = pd.DataFrame({"km": [0.0, 1.0]})
    model = LinearRegression().fit(trips, [0.0, price])
    publish(model, user_id=USER, to=str(folder / "models"), manifests=str(folder / "manifests"))


@contextmanager
def _fleet(folder: Path, **env: str) -> Iterator[Fleet]:
    """An operator and a server with the fleet's secrets as a file; neither is started yet."""
    secrets = folder / "secrets"
    secrets.write_text("the fleet's own\n")
    _publish(folder, 4.0)
    env |= {"TENANTRY_FLEET_SECRET_FILE": str(secrets)}
    registry_url = f"sqlite:///{folder}/registry.db"
    with Fleet(folder, registry_url, [str(folder / "manifests")], env=env, servers=1) as fleet:
        yield fleet


@contextmanager
def _pod(fleet: Fleet, documents: list[Document], **of_this_machine: str) -> Iterator[Pod]:
    pod = Pod(fleet, documents, **of_this_machine)
    try:
        yield pod
    finally:
        for child in pod.children.values():
            child.stop(grace_s=GRACE_S)


def test_a_pod_from_its_start_to_its_end(tmp_path: Path) -> None:
    with _fleet(tmp_path) as fleet, _pod(fleet, rendered(EXAMPLE)) as pod:
        _starts_without_the_fleet(pod)
        fleet.start()
        _keeps_the_promise_of_ready(pod, fleet)
        _bears_an_outage(pod, fleet)
        _ends_in_order(pod, fleet)


def _starts_without_the_fleet(its: Pod) -> None:
    """The application may start; the pod is not ready, and requests are told why."""
    its.start(its.sidecar)
    until(lambda: its.probe("startup") == 200, "the application may start")
    its.start(its.application)
    until(lambda: its.ask("/healthz")[0] == 200, "the application listens")
    assert its.probe("readiness") == 503
    status, said = its.ask(f"/price/{USER}?km=5")
    assert (status, said["error"]["reason"]) == (503, "FleetUnreachable")


def _keeps_the_promise_of_ready(its: Pod, fleet: Fleet) -> None:
    until(lambda: its.probe("readiness") == 200, "the pod is ready")
    assert its.price() == pytest.approx(20.0)
    until(lambda: its.reason("/price/nobody?km=5") == "ModelNotAssigned", "nobody has a model for nobody")

    def copied() -> bool:
        return its.price() > 0 and its.metric("tenantry_near_models") >= 1

    until(copied, "the sidecar has a copy")
    _publish(fleet.folder, 6.0)
    until(lambda: fleet.ready_generation(USER) == 2, "the next version is Ready")
    assert its.price() == pytest.approx(30.0), "nothing older"
    requested = its.sidecar["resources"]["requests"]["memory"]
    assert its.metric("tenantry_sidecar_resident_bytes") <= int(requested.removesuffix("Mi")) << 20


def _bears_an_outage(its: Pod, fleet: Fleet) -> None:
    """It takes no application out of its Service."""
    fleet.kill("server-0")
    until(lambda: its.ask(f"/price/{USER}?km=5")[0] == 503, "the lease is over")
    assert (its.probe("readiness"), its.probe("liveness")) == (200, 200)


def _ends_in_order(its: Pod, fleet: Fleet) -> None:
    """The kubelet ends the application first."""
    its.children["shop"].stop(grace_s=GRACE_S)
    its.children["tenantry-sidecar"].stop(grace_s=GRACE_S)
    log = (fleet.folder / "tenantry-sidecar.log").read_text()
    assert '"stopped"' in log
    assert "Traceback" not in log


def test_a_pod_of_a_fleet_that_speaks_tls(tmp_path: Path) -> None:
    """By the component sidecar-tls: servers ask the sidecar for a certificate; the application has none."""
    overlay, tls = tmp_path / "overlay", tmp_path / "tls"
    overlay.mkdir()
    ca = Authority()
    ca.issue().write(tls, ca)
    here = certificates.environment(tls)
    documents = composed(overlay, EXAMPLE, MANIFESTS / "components" / "sidecar-tls")
    with _fleet(tmp_path, **here) as fleet:
        here["TENANTRY_FLEET_URL"] = fleet.urls["server-0"].replace("http://", "https://")
        with _pod(fleet, documents, **here) as pod:
            told = {each["name"] for each in pod.sidecar["env"]}
            assert set(here) <= told, "all of it is what the component sets"
            fleet.start()
            pod.start(pod.sidecar)
            pod.start(pod.application)
            until(lambda: pod.probe("readiness") == 200, "the pod is ready")
            assert pod.price() == pytest.approx(20.0)
            until(lambda: pod.metric("tenantry_sidecar_lease_held") == 1.0, "it follows the server")
