"""What the operator knows of the servers' StatefulSet, on a real API server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tenantry_operator.cluster import statefulset
from tenantry_operator.cluster.client import Cluster
from tenantry_operator.cluster.statefulset import ScaleWatch
from tests.support.kubernetes.control_plane import ControlPlane, write_kubeconfig
from tests.support.network import valve as valves
from tests.support.network.valve import Valve
from tests.support.waiting import until_soon

STATEFUL_SETS = "/apis/apps/v1/namespaces/default/statefulsets"


@pytest.fixture
def valve(plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Valve]:
    """Between the operator and the API server."""
    monkeypatch.setattr(statefulset, "_CHECK_EVERY_S", 0.02)
    with valves.running(plane.url) as valve:
        write_kubeconfig(tmp_path / "kubeconfig", valve.url, plane.ca_file, plane.admin_token)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield valve


@pytest.fixture
def plane_with_pods(plane: ControlPlane) -> Iterator[ControlPlane]:
    pod = {"metadata": {"labels": {"app": "it"}}, "spec": {"containers": [{"name": "it", "image": "it"}]}}
    spec = {"replicas": 3, "serviceName": "it", "selector": {"matchLabels": {"app": "it"}}, "template": pod}
    body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "watched"}, "spec": spec}
    status, answer = plane.request("POST", STATEFUL_SETS, body)
    assert status == 201, answer
    yield plane
    plane.request("DELETE", f"{STATEFUL_SETS}/watched")


def to_replicas(plane: ControlPlane, count: int) -> None:
    found = plane.request("GET", f"{STATEFUL_SETS}/watched")[1]
    found["spec"]["replicas"] = count
    status, answer = plane.request("PUT", f"{STATEFUL_SETS}/watched", found)
    assert status == 200, answer


@asynccontextmanager
async def watching(name: str = "watched") -> AsyncIterator[ScaleWatch]:
    watch = ScaleWatch(f"default/{name}")
    async with Cluster(None) as cluster:
        running = asyncio.create_task(watch.run(cluster))
        try:
            yield watch
        finally:
            running.cancel()


async def test_it_follows_the_replicas(plane_with_pods: ControlPlane, valve: Valve) -> None:
    async with watching() as watch:
        assert not watch.is_leaving("watched-9"), "nothing is known yet"
        await until_soon(lambda: watch.is_leaving("watched-3"))
        assert not watch.is_leaving("watched-2")
        await asyncio.to_thread(to_replicas, plane_with_pods, 2)
        await until_soon(lambda: watch.is_leaving("watched-2"))
        await asyncio.to_thread(to_replicas, plane_with_pods, 4)
        await until_soon(lambda: not watch.is_leaving("watched-3"))


async def test_without_an_answer_what_was_known_last_holds(
    plane_with_pods: ControlPlane, valve: Valve
) -> None:
    """And it is logged once, not every two seconds."""
    with capture_logs() as logs:
        async with watching() as watch:
            await until_soon(lambda: watch.is_leaving("watched-3"))
            valve.cut()
            await asyncio.to_thread(to_replicas, plane_with_pods, 4)
            await until_soon(lambda: any("not known" in line["event"] for line in logs))
            await asyncio.sleep(0.2)  # ten more looks
            assert watch.is_leaving("watched-3")
            valve.open()
            await until_soon(lambda: not watch.is_leaving("watched-3"))
    assert sum("not known" in line["event"] for line in logs) == 1


@pytest.mark.usefixtures("valve")
async def test_where_there_is_none_nobody_is_leaving() -> None:
    with capture_logs() as logs:
        async with watching("misspelt") as watch:
            await until_soon(lambda: logs)
            assert not watch.is_leaving("misspelt-9")
    assert "does not exist" in logs[0]["error"]
