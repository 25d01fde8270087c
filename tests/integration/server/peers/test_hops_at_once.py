"""A hop on a connection that is kept: sent and answered without a task, and ended as others are."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenantry_server.wire import later
from tests.support.network.beside_scripted_peer import USER, answer_to, serving
from tests.support.network.clients.http_client import Connections
from tests.support.network.scripted_peer import Exchange, ScriptedPeer
from tests.support.processes.cluster import Cluster
from tests.support.waiting import PATIENCE_S, until_soon

PATH = f"/predict/{USER}"
BODY = b'{"instances": [[1.0, 2.0]]}'


class Held:
    """A peer that answers at first, so that its connection is kept, and then does what a test says."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self.how = "answered"

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.body()
        if self.how == "answered":
            await exchange.answer(answer_to(exchange))
        elif self.how == "refused":
            await exchange.answer(b'{"error": {}}', 503, Tenantry_Reason="Unavailable")
        elif self.how == "cut":
            self.how = "answered"  # only this one
            exchange.cut()
        else:
            self.asked.set()
            await exchange.left()
            self.left.set()


@pytest.fixture
async def held(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Held, Cluster, ScriptedPeer]]:
    """A connection to the peer that is kept; nobody takes the peer's silence for its end."""
    monkeypatch.setattr("tenantry_server.peers.peer._SILENT_S", PATIENCE_S)
    script = Held()
    async with serving(script) as (servers, peer):
        for _ in range(2):  # the first one is aiohttp's, which learns its head
            assert await asked_of(servers) == (200, "peer")
        script.how = "held"
        peer.seen.clear()
        yield script, servers, peer


async def asked_of(servers: Cluster) -> tuple[int, str | None]:
    """The status of a prediction asked of server a, and who answered."""
    connections = Connections()
    reply = await connections.post(servers["a"].port, PATH, BODY, timeout_s=PATIENCE_S)
    connections.close()
    return reply.status, reply.headers.get("tenantry-server")


def awaited(servers: Cluster) -> later.Later | None:
    """The only answer that server a waits for."""
    every = [each for each in servers["a"].server.connections if isinstance(each, later.Connection)]
    return next((each._later for each in every if each._later is not None), None)


async def test_it_waits_in_no_task(held: tuple[Held, Cluster, ScriptedPeer]) -> None:
    script, servers, _ = held
    asking = asyncio.create_task(asked_of(servers))
    await until_soon(script.asked.is_set)
    found = awaited(servers)
    assert found is not None
    assert found._rest is None  # type: ignore[attr-defined]
    asking.cancel()
    await asyncio.wait([asking])


async def test_a_client_that_leaves_ends_it_and_says_nothing_about_the_peer(
    held: tuple[Held, Cluster, ScriptedPeer],
) -> None:
    script, servers, peer = held
    asking = asyncio.create_task(asked_of(servers))
    await until_soon(script.asked.is_set)
    asking.cancel()
    await asyncio.wait([asking])
    await until_soon(script.left.is_set)
    known = servers["a"].peers.peers["peer"]
    await until_soon(lambda: known.in_flight == 0)
    assert (known.usable, peer.probes, awaited(servers)) == (True, 0, None)
    script.how = "answered"
    assert await asked_of(servers) == (200, "peer")


async def test_who_refuses_is_not_asked_again(held: tuple[Held, Cluster, ScriptedPeer]) -> None:
    """A task goes on with the next server."""
    script, servers, peer = held
    script.how = "refused"
    assert await asked_of(servers) == (200, "c")
    assert len(peer.seen) == 1
    assert servers["a"].counts["failed_over"] == 1


async def test_a_connection_that_was_closed_meanwhile_is_replaced(
    held: tuple[Held, Cluster, ScriptedPeer],
) -> None:
    script, servers, peer = held
    script.how = "cut"
    assert await asked_of(servers) == (200, "peer")
    assert len(peer.seen) == 2
