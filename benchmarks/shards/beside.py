"""A sidecar beside its application: what it answers with, what it passes on, and what it costs."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from tests.support.databases import tcp_postgres
from tests.support.network.clients.http_client import Connections
from tests.support.processes import sidecars
from tests.support.processes.fleet import Fleet
from tests.support.processes.sidecars import Sidecar
from tests.support.tenants import lines
from tests.support.tenants.census import Census
from tests.support.waiting import until

from benchmarks.operator.report import Row, quantile

_ASKED = 50  # tenants
_ROUNDS = 60
_WARM = 20  # rounds that are not counted, in which calls of the models are measured
_PATIENCE_S = 60.0
_SECRET = {"TENANTRY_FLEET_SECRET": "of a benchmark"}
_WAYS = ("sidecar, by its copies", "sidecar, passed on", "a server, as a Service would pick it")


def beside(folder: Path, tenants: int) -> list[Row]:
    """Two servers and two sidecars, one of which keeps no copies; one request at a time.

    Args:
        tenants: that the fleet has.
    """
    census = Census(f"file://{folder}/models", folder / "manifests", tenants)
    census.write(range(_ASKED))
    with tcp_postgres.running() as database:
        url = database.database()
        census.register(url)
        with Fleet(folder / "fleet", url, [str(census.manifests)], env=_SECRET, servers=2) as fleet:
            fleet.start()
            fleet.until_settled()
            began_s = time.perf_counter()
            near = sidecars.start(fleet, "near", fleet.members["server-0"].url, _SECRET)
            far = sidecars.start(
                fleet, "far", fleet.members["server-0"].url, _SECRET | {"TENANTRY_NEAR_CACHE_BYTES": "0"}
            )
            try:
                return _measured(fleet, near, far, began_s)
            finally:
                for each in (near, far):
                    each.child.stop(grace_s=30.0)


def _measured(fleet: Fleet, near: Sidecar, far: Sidecar, began_s: float) -> list[Row]:
    until(lambda: near.ready and far.ready, "both sidecars have caught up")
    ready_s = time.perf_counter() - began_s
    until(lambda: "caught up" in near.log, "it has given back what its start took")
    idle = near.metric("tenantry_sidecar_resident_bytes")
    servers = [member.port for member in fleet.members.values()]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        took_ms = runner.run(_ask([near.port, far.port], servers))
    used = near.metric("tenantry_sidecar_resident_bytes")
    tenants = int(near.metric("tenantry_sidecar_tenants"))
    return [
        Row(f"ready after, {tenants} tenants, two at once", f"{ready_s:.2f} s"),
        *(
            Row(f"p50, p99: {way}", f"{quantile(ms, 0.5):.3f} ms, {quantile(ms, 0.99):.3f} ms", "printed")
            for way, ms in zip(_WAYS, took_ms, strict=True)
        ),
        Row("answered by its copies", f"{len(took_ms[0]) / len(took_ms[1]):.0%}", "printed"),
        Row(f"resident, idle, {tenants} tenants", f"{idle / (1 << 20):.1f} MiB"),
        Row("resident, after the requests", f"{used / (1 << 20):.1f} MiB"),
    ]


async def _ask(ports: Sequence[int], servers: Sequence[int]) -> list[list[float]]:
    """Milliseconds of each way, in turns; of servers one after the other, as a Service does it."""
    connections = Connections()
    took_ms: list[list[float]] = [[], [], []]
    await _until_near(connections, ports[0])
    for turn in range(_ROUNDS):
        for port, kept_ms in zip((*ports, servers[turn % len(servers)]), took_ms, strict=True):
            for n in range(_ASKED):
                began_s = time.perf_counter()
                path = f"/predict/{lines.user_id(n)}"
                reply = await connections.post(port, path, lines.BODY, timeout_s=10)
                ms = (time.perf_counter() - began_s) * 1e3
                assert reply.status == 200, reply.body
                by_copy = reply.headers["tenantry-server"] == "near"
                if turn >= _WARM and (by_copy or port != ports[0]):
                    kept_ms.append(ms)
    connections.close()
    return took_ms


async def _until_near(connections: Connections, port: int) -> None:
    """Ask a sidecar for every tenant until it answers each of them by a copy of its own."""
    answered: set[int] = set()
    async with asyncio.timeout(_PATIENCE_S):
        while len(answered) < _ASKED:
            for n in set(range(_ASKED)) - answered:
                path = f"/predict/{lines.user_id(n)}"
                reply = await connections.post(port, path, lines.BODY, timeout_s=10)
                if reply.headers["tenantry-server"] == "near":
                    answered.add(n)
