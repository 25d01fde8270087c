"""Servers of a StatefulSet come and go under load: nobody notices, and no TenantModel is written to.

No controller runs beside the API server, so the test plays the StatefulSet's: it starts a pod's process
when the object says so, and stops it later than that.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Self

import pytest

from tenantry.registry import Claim, RegistryReader
from tenantry_cli.views import shards
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.home import Home, install_crd
from tests.support.waiting import until

STATEFUL_SETS = "/apis/apps/v1/namespaces/default/statefulsets"
USERS = [f"store-{number}" for number in range(40)]


class Fleet(Home):
    """A home whose servers are the pods of a StatefulSet called `pod`."""

    def scale(self, replicas: int) -> None:
        """As `kubectl scale`: the object only."""
        status, found = self.plane.request("GET", f"{STATEFUL_SETS}/pod")
        if status == 404:
            pod = {"labels": {"app": "pod"}}, {"containers": [{"name": "it", "image": "it"}]}
            spec = {
                "replicas": replicas,
                "serviceName": "pods",
                "selector": {"matchLabels": pod[0]["labels"]},
                "template": {"metadata": pod[0], "spec": pod[1]},
            }
            body = {
                "apiVersion": "apps/v1",
                "kind": "StatefulSet",
                "metadata": {"name": "pod"},
                "spec": spec,
            }
            status, answer = self.plane.request("POST", STATEFUL_SETS, body)
        else:
            found["spec"]["replicas"] = replicas
            status, answer = self.plane.request("PUT", f"{STATEFUL_SETS}/pod", found)
        assert status in (200, 201), answer

    def shares(self) -> dict[str, shards.Share]:
        """What each server holds."""
        with RegistryReader.of_existing(self.registry_url) as registry:
            return {share.server_id: share for share in shards.shard_map(registry).shares}

    def is_settled(self, *names: str) -> bool:
        """Whether exactly these hold shards, and none is being handed over."""
        shares = self.shares().values()
        holders = {share.server_id for share in shares if share.shards or share.arriving}
        return holders == set(names) and not any(share.arriving for share in shares)

    def claims(self) -> list[Claim]:
        with RegistryReader.of_existing(self.registry_url) as registry:
            return sorted(registry.claims(), key=lambda claim: claim.uid)


class Clients:
    """Ask all servers for all users by turns, until told to stop; each answer is checked.

    Attributes:
        asked: requests that were answered rightly, by server.
        failed: the others.
    """

    def __init__(self, urls: dict[str, str], home: Home) -> None:
        self.urls = dict(urls)
        self.asked: Counter[str] = Counter()
        self.failed: list[str] = []
        self._home = home
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(first,)) for first in (0, 20)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def go_on(self) -> None:
        """Until every server that is asked has answered for everybody twice more."""
        goal = self.asked + Counter(dict.fromkeys(self.urls, 2 * len(USERS)))
        until(lambda: all(self.asked[name] >= goal[name] for name in self.urls), "more requests")

    def _ask(self, first: int) -> None:
        for number in itertools.count(first):
            if self._over.is_set():
                return
            for server_id, url in list(self.urls.items()):
                user = USERS[number % len(USERS)]
                try:
                    told: Any = self._home.ask_at(url, user, 2.0)
                    right = told.status == 200 and told.body["predictions"][0] == pytest.approx(
                        slope(user) * 2
                    )
                except OSError as error:
                    told, right = error, False
                if right:
                    self.asked[server_id] += 1
                else:
                    self.failed.append(f"{server_id} for {user}: {told}")


def slope(user: str) -> float:
    return 1.0 + USERS.index(user)


@pytest.fixture(scope="module")
def fleet(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    install_crd(plane)
    started = Fleet(plane, tmp_path_factory.mktemp("scaling"))
    started.scale(4)
    names = [f"pod-{ordinal}" for ordinal in range(4)]
    for name in names:
        started.start_server(name)
    started.start_operator(env={"TENANTRY_STATEFULSET": "default/pod", "TENANTRY_REBALANCE_AFTER_S": "2"})
    try:
        until(lambda: set(started.servers()) == set(names), "all servers live")
        until(lambda: started.is_settled(*names), "all have their part")
        for user in USERS:
            started.apply(started.publish(user, slope(user)))
        for user in USERS:
            started.until(user, "Ready")
        yield started
    finally:
        started.stop()


def test_a_pod_is_drained_before_it_is_told_to_stop_and_comes_back_as_it_went(fleet: Fleet) -> None:
    claims = fleet.claims()
    versions = {user: fleet.get(user)["metadata"]["resourceVersion"] for user in USERS}
    with Clients(fleet.servers(), fleet) as clients:
        clients.go_on()
        fleet.scale(3)
        until(lambda: fleet.is_settled("pod-0", "pod-1", "pod-2"), "pod-3 holds nothing")
        assert fleet.shares()["pod-3"].state == "live", "nobody has told it yet"
        clients.go_on()
        del clients.urls["pod-3"]  # as a Service does with a pod that is to go
        clients.go_on()
        began_s = time.monotonic()
        fleet.children["pod-3"].stop(grace_s=30)
        stopped_s = time.monotonic() - began_s
        clients.go_on()
        fleet.scale(4)
        fleet.start_server("pod-3")
        until(lambda: fleet.is_settled("pod-0", "pod-1", "pod-2", "pod-3"), "it has its part")
        clients.urls = fleet.servers()
        clients.go_on()
    print(
        f"asked {clients.asked.total()}, failed {len(clients.failed)}, pod-3 stopped in {stopped_s:.1f} s"
    )
    assert clients.failed == []
    assert '"event": "handed over"' in fleet.log("pod-3")
    assert "not handed over" not in fleet.log("pod-3")
    assert fleet.claims() == claims
    assert {user: fleet.get(user)["metadata"]["resourceVersion"] for user in USERS} == versions
