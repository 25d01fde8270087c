"""Sidecars as a pod runs them: processes beside two servers, under the promise of Ready."""

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.processes import sidecars
from tests.support.processes.fleet import Fleet
from tests.support.processes.sidecars import Sidecar
from tests.support.tenants import lines
from tests.support.tenants.census import Census
from tests.support.waiting import until

TENANTS = 8
MOST_MIB = 60.0
SECRET = {"TENANTRY_FLEET_SECRET": "correct horse battery staple"}


class Street:
    """Two servers, an operator and sidecars, and a reader that never stops asking one of them."""

    def __init__(self, folder: Path) -> None:
        self.census = Census(f"file://{folder}/models", folder / "manifests", TENANTS, alone=TENANTS)
        registry_url = f"sqlite:///{folder}/registry.db"
        self.census.write()
        self.census.register(registry_url)
        env = {**SECRET, "TENANTRY_AUTH": "required"}  # a sidecar proves that it is one of the fleet
        self.fleet = Fleet(folder, registry_url, [str(self.census.manifests)], env=env, servers=2)
        self.versions = dict.fromkeys(range(TENANTS), 1)
        self.sidecars: dict[str, Sidecar] = {}

    def close(self) -> None:
        for sidecar in self.sidecars.values():
            sidecar.child.stop(grace_s=60.0)
        self.fleet.close()

    def sidecar(self, name: str) -> Sidecar:
        urls = " ".join(self.fleet.urls.values())
        self.sidecars[name] = started = sidecars.start(self.fleet, name, urls, SECRET)
        return started

    def publish(self, n: int) -> int:
        """Declare the next version of a tenant, and wait until it is Ready; return that version."""
        version = self.versions[n] + 1
        self.census.write([n], version=version)
        self.census.declare(n, version)
        until(
            lambda: self.fleet.ready_generation(lines.user_id(n)) == version, f"version {version} is Ready"
        )
        self.versions[n] = version
        return version


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    street = Street(tmp_path_factory.mktemp("street"))
    try:
        street.fleet.start()
        street.fleet.until_settled()
        for name in ("pod-a", "pod-b", "pod-c"):
            street.sidecar(name)
        for sidecar in street.sidecars.values():
            until(lambda sidecar=sidecar: sidecar.ready, f"{sidecar.name} has caught up")  # type: ignore[misc]
        yield street
    finally:
        street.close()


def asked(pod: Sidecar, path: str, *, by_socket: bool = False) -> tuple[int, Any]:
    """Status and document; asked again while it reaches no server, as just after a machine stood still."""

    def answer() -> tuple[int, Any] | None:
        status, body, _ = pod.ask("POST", path, lines.BODY, by_socket=by_socket)
        said = json.loads(body)
        lost = status == 503 and said["error"]["reason"] == "FleetUnreachable"
        return None if lost else (status, said)

    found = until(answer, f"{pod.name} answers")
    assert found is not None
    return found


def predicted(pod: Sidecar, n: int, *, by_socket: bool = False) -> tuple[int, int]:
    """Whose answer came for a tenant, and of which version."""
    status, said = asked(pod, f"/predict/{lines.user_id(n)}", by_socket=by_socket)
    assert status == 200, said
    return lines.read(said["predictions"])


def test_a_sidecar_answers_on_loopback_and_on_its_socket(street: Street) -> None:
    """Also in other protocols; and lists of all users are for nobody."""
    pod = street.sidecars["pod-a"]
    for n in range(TENANTS):
        assert predicted(pod, n) == (n, 1)
        assert predicted(pod, n, by_socket=True) == (n, 1)
    assert pod.socket.stat().st_mode & 0o777 == 0o660
    answered = asked(pod, f"/v1/models/{lines.user_id(1)}:predict")
    assert answered == (200, {"predictions": [1.0, 2.0]})
    status, said = asked(pod, "/predict/nobody")
    assert (status, said["error"]["reason"]) == (404, "ModelNotAssigned")
    assert pod.ask("GET", "/v1/models")[0] == 403
    assert pod.probe("/predict/nobody")[0] == 404


def test_what_is_asked_for_often_is_answered_without_a_hop(street: Street) -> None:
    """And the copy comes from a server, with the fleet's secret as the proof."""
    pod = street.sidecars["pod-a"]
    hops = 0.0
    headers: Mapping[str, str] = {}

    def copied() -> bool:
        nonlocal hops, headers
        hops = pod.metric('tenantry_forwarded_total{result="answered"}')
        status, _, headers = pod.ask("POST", f"/predict/{lines.user_id(2)}", lines.BODY)
        return status == 200 and "Tenantry-Hop" not in headers

    until(copied, "a copy of this one is there")
    assert pod.metric("tenantry_near_models") >= 1
    assert headers["Tenantry-Server"] == "pod-a"
    assert pod.metric('tenantry_forwarded_total{result="answered"}') == hops


def test_servers_and_registry_do_not_count_it_as_one_of_them(street: Street) -> None:
    servers = {"server-0", "server-1"}  # whether their leases of three seconds hold just now or not
    assert street.fleet.servers().keys() == servers
    assert set(street.fleet.held()) <= servers


def test_an_idle_sidecar_takes_little_memory(street: Street) -> None:
    pods = street.sidecars.values()
    until(lambda: all("caught up" in pod.log for pod in pods), "what the start took was given back")
    mib = {pod.name: pod.metric("tenantry_sidecar_resident_bytes") / (1 << 20) for pod in pods}
    print({name: f"{each:.1f} MiB resident" for name, each in mib.items()})
    assert max(mib.values()) <= MOST_MIB


class Reader:
    """Asks a sidecar for one tenant again and again; collects what was older than Ready when it asked."""

    def __init__(self, street: Street, pod: Sidecar, n: int) -> None:
        self.asked = 0
        self.older: list[tuple[int, int]] = []
        self._street, self._pod, self._n = street, pod, n
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            ready = self._street.versions[self._n]
            path = f"/predict/{lines.user_id(self._n)}"
            status, body, _ = self._pod.ask("POST", path, lines.BODY)
            if status != 200:
                continue  # a server ended with the request
            version = lines.read(json.loads(body)["predictions"])[1]
            self.asked += 1
            if version < ready:
                self.older.append((ready, version))


@pytest.mark.parametrize("fault", ["paused", "killed"])
def test_ready_waits_for_a_sidecar_and_no_longer_than_its_lease(street: Street, fault: str) -> None:
    """Others have the new version; one that wakes does not answer with the older."""
    well, ill = street.sidecars["pod-a"], street.sidecar(f"{fault}-pod")
    until(lambda: ill.ready, "it has caught up")
    until(lambda: predicted(ill, 3) and ill.metric("tenantry_near_models") >= 1, "it has a copy")
    with Reader(street, well, 3) as reader:
        os.kill(ill.child.pid, signal.SIGSTOP if fault == "paused" else signal.SIGKILL)
        version = street.publish(3)
        assert predicted(well, 3) == (3, version)
        if fault == "paused":
            os.kill(ill.child.pid, signal.SIGCONT)
            assert predicted(ill, 3) == (3, version)
    assert reader.asked
    assert not reader.older


def test_the_server_that_is_followed_dies_and_nothing_older_is_answered(street: Street) -> None:
    pods = [street.sidecars["pod-b"], street.sidecars["pod-c"]]
    for pod in pods:
        until(lambda pod=pod: predicted(pod, 4) and pod.metric("tenantry_near_models") >= 1, "a copy")  # type: ignore[misc]
    with Reader(street, pods[0], 4) as one, Reader(street, pods[1], 4) as other:
        for name in ("server-0", "server-1"):
            street.fleet.kill(name)
            version = street.publish(4)
            assert [predicted(pod, 4) for pod in pods] == [(4, version)] * 2
            street.fleet.start(name)
            until(lambda name=name: street.fleet.ready(name), f"{name} is back")  # type: ignore[misc]
    assert one.asked
    assert other.asked
    assert (one.older, other.older) == ([], [])


def test_one_that_is_told_to_stop_ends_and_says_so_to_its_server(street: Street) -> None:
    pod = street.sidecar("stopping")
    until(lambda: pod.ready, "it has caught up")
    os.kill(pod.child.pid, signal.SIGTERM)
    until(lambda: not pod.child.running, "it ends")
    assert "stopped" in pod.log
    assert "Traceback" not in pod.log
    assert not pod.socket.exists()


def test_without_a_fleet_it_says_what_to_look_at(street: Street) -> None:
    pod = sidecars.start(street.fleet, "lonely", "http://127.0.0.1:9", SECRET)
    street.sidecars["lonely"] = pod
    until(lambda: "server lost" in pod.log, "it has tried")
    status, why = pod.probe("/readyz")
    assert status == 503
    assert "http://127.0.0.1:9" in why
    status, body, _ = pod.ask("POST", "/predict/ann", lines.BODY)
    assert status == 503
    assert "TENANTRY_FLEET_URL" in json.loads(body)["error"]["message"]
