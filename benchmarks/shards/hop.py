"""What it costs to ask the wrong server: one request for its own tenant, one for its peer's, in turns."""

import asyncio
import time
from pathlib import Path

import uvloop
from tests.support.databases import tcp_postgres
from tests.support.network.clients.http_client import Connections
from tests.support.processes.fleet import Fleet
from tests.support.tenants import lines
from tests.support.tenants.census import Census

import tenantry
from benchmarks.operator.report import Row, quantile
from tenantry.placement import shard_of

_TENANTS = 200
_ENTRY = "server-0"
_ROUNDS = 40  # of which the first is not counted
_ROWS = [[0.0], [1.0]]  # as lines.BODY
_WAYS = ("passed on", "asked itself")


def hop(folder: Path) -> list[Row]:
    """Two servers; all requests go to one of them, one at a time, over one connection."""
    census = Census(f"file://{folder}/models", folder / "manifests", _TENANTS)
    census.write()
    with tcp_postgres.running() as database:
        url = database.database()
        census.register(url)
        env = {"TENANTRY_NEAR_CACHE_BYTES": "0"}  # else only the first requests of each tenant hop
        with Fleet(folder / "fleet", url, [str(census.manifests)], env=env, servers=2) as fleet:
            fleet.start()
            fleet.until_settled()
            shards = fleet.shards()
            held = {n: shards[shard_of(lines.user_id(n))].server_id for n in range(_TENANTS)}
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                owned_ms, forwarded_ms = runner.run(_ask(fleet.members[_ENTRY].port, held))
            url = fleet.members[_ENTRY].url
            ways = {way: _client_ms(url, held, direct=way == "asked itself") for way in _WAYS}
    p50 = quantile(owned_ms, 0.5), quantile(forwarded_ms, 0.5)
    p99 = quantile(owned_ms, 0.99), quantile(forwarded_ms, 0.99)
    return [
        Row("p50 owned, p50 forwarded, one request at a time", f"{p50[0]:.3f} ms, {p50[1]:.3f} ms"),
        Row("p99 owned, p99 forwarded", f"{p99[0]:.3f} ms, {p99[1]:.3f} ms"),
        *(Row(f"p50 of tenantry.Client, {way}", f"{quantile(ms, 0.5):.3f} ms") for way, ms in ways.items()),
        Row("p50 forwarded / p50 owned", f"{p50[1] / p50[0]:.2f}", "printed"),
    ]


async def _ask(port: int, held: dict[int, str]) -> tuple[list[float], list[float]]:
    """Milliseconds of each, in turns."""
    connections = Connections()
    owned = [n for n, server in held.items() if server == _ENTRY]
    others = [n for n, server in held.items() if server != _ENTRY]
    took_ms: tuple[list[float], list[float]] = ([], [])
    for turn in range(_ROUNDS):
        for pair in zip(owned, others, strict=False):
            for n, kept_ms in zip(pair, took_ms, strict=True):
                began_s = time.perf_counter()
                reply = await connections.post(
                    port, f"/predict/{lines.user_id(n)}", lines.BODY, timeout_s=10
                )
                ms = (time.perf_counter() - began_s) * 1e3
                assert reply.status == 200, reply.body
                assert reply.headers["tenantry-server"] == held[n], "it was answered by its holder"
                if turn:
                    kept_ms.append(ms)
    connections.close()
    return took_ms


def _client_ms(url: str, held: dict[int, str], *, direct: bool) -> list[float]:
    """Milliseconds of requests for the other server's tenants, by a client that was given the entry."""
    took_ms = []
    with tenantry.Client(url, direct=direct) as client:
        for turn in range(_ROUNDS):
            for n, server in held.items():
                if server != _ENTRY:
                    began_s = time.perf_counter()
                    answer = client.predict(lines.user_id(n), _ROWS)
                    ms = (time.perf_counter() - began_s) * 1e3
                    assert answer.passed_on is not direct, "the map has led it to the holder"
                    if turn:
                        took_ms.append(ms)
    return took_ms
