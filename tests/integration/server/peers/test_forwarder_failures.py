"""What a peer may do to a request, and that the client never sees it."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tenantry.processes.runtime import set_within
from tenantry_server.toys import SumModel
from tests.support.network import scripted_peer
from tests.support.network.beside_scripted_peer import (
    PLAIN,
    WAYS,
    answer_to,
    answers,
    ask,
    serving,
)
from tests.support.network.scripted_peer import Exchange, Script
from tests.support.processes import cluster
from tests.support.processes.cluster import Cluster, user_for
from tests.support.waiting import PATIENCE_S, until_soon


@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_that_was_closed_meanwhile_is_replaced(way: str) -> None:
    """The request may have crossed with the end of a connection that was idle for long."""

    async def cuts_the_second(exchange: Exchange) -> None:
        if exchange.number == 1:
            exchange.cut()
        else:
            await answers(exchange)

    async with serving(cuts_the_second) as (servers, peer):
        replies = [await ask(servers, way) for _ in range(2)]
        assert [reply.server for reply in replies] == ["peer", "peer"]
        assert [exchange.connection for exchange in peer.seen] == [1, 1, 2]
        assert servers["a"].counts == {"answered": 2}


async def cuts_at_once(exchange: Exchange) -> None:
    exchange.cut()


async def cuts_the_head(exchange: Exchange) -> None:
    await exchange.body()
    exchange.writer.write(b"HTTP/1.1 200 OK\r\nTenantry-Server: pe")
    await exchange.writer.drain()
    exchange.cut()


async def cuts_the_body(exchange: Exchange) -> None:
    await exchange.body()
    exchange.writer.write(b"HTTP/1.1 200 OK\r\nTenantry-Server: peer\r\nContent-Length: 9\r\n\r\n[1.0")
    await exchange.writer.drain()
    exchange.cut()


async def is_another(exchange: Exchange) -> None:
    await exchange.body()
    await exchange.answer(b'{"error": "no such path"}', 404, Tenantry_Server="stranger")


async def speaks_no_http(exchange: Exchange) -> None:
    exchange.writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    await exchange.writer.drain()
    await exchange.left()


async def sends_chunks(exchange: Exchange) -> None:
    exchange.writer.write(
        b"HTTP/1.1 200 OK\r\nTenantry-Server: peer\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    await exchange.writer.drain()
    await exchange.left()


async def says_too_much(exchange: Exchange) -> None:
    exchange.writer.write(b"HTTP/1.1 200 OK\r\nTenantry-Server: peer\r\nContent-Length: 1\r\n\r\n[1.0]")
    await exchange.writer.drain()
    await exchange.left()


async def can_not(exchange: Exchange) -> None:
    await exchange.body()
    await exchange.answer(b'{"error": {}}', 503, Tenantry_Reason="ArtifactUnavailable")


FAILURES = [
    cuts_at_once,
    cuts_the_head,
    cuts_the_body,
    is_another,
    speaks_no_http,
    sends_chunks,
    says_too_much,
    can_not,
]


@pytest.mark.parametrize("way", PLAIN)
@pytest.mark.parametrize("failure", FAILURES)
async def test_the_next_server_answers_where_a_peer_fails(failure: Script, way: str) -> None:
    async with serving(failure) as (servers, peer):
        reply = await ask(servers, way)
        assert (reply.status, reply.body, reply.server) == (200, b'{"predictions":[3.0]}', "c")
        assert (servers["a"].counts, len(peer.seen)) == ({"failed_over": 1}, 1)


@pytest.mark.parametrize("way", PLAIN)
async def test_this_server_answers_where_every_peer_fails(way: str) -> None:
    async with serving(cuts_at_once) as (servers, _):
        await servers["c"].stop()
        reply = await ask(servers, way)
        assert (reply.status, reply.server, reply.headers.get("Tenantry-Hop")) == (200, "a", None)
        assert servers["a"].counts == {"self": 1}


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("protocol", ["/predict/{}", "/v2/models/{}/infer"])
async def test_a_request_that_two_servers_were_lost_on_is_not_tried_on_a_third(
    protocol: str, warm: bool
) -> None:
    """Else one that ends a process would end them all, one after another; over connections old and new."""
    user = user_for("peer", "peer-2", "c", "a")

    async def cuts(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.answer(answer_to(exchange)) if warm and exchange.number == 0 else exchange.cut()

    async with (
        scripted_peer.running(cuts) as peer,
        scripted_peer.running(cuts_at_once) as second,
        cluster.running({user: SumModel}, {user: "peer"}, names="ac") as servers,
    ):
        servers.introduce({"peer": peer.url, "peer-2": second.url})
        if warm:
            assert (await ask(servers, protocol.format(user))).server == "peer"
        reply = await ask(servers, protocol.format(user))
        assert (reply.status, reply.reason, reply.server) == (500, "ServersLost", "a")
        assert b"peer and peer-2 were lost while they worked on this request" in reply.body
        assert len(second.seen) == 1


@pytest.mark.parametrize("models_here", [False, True])
async def test_two_silent_servers_are_no_reason_to_fail_where_no_model_holds_up_a_server(
    models_here: bool,
) -> None:
    user = user_for("peer", "peer-2", "a")

    async def says_nothing(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.left()

    async with (
        scripted_peer.running(says_nothing) as peer,
        scripted_peer.running(says_nothing) as second,
        cluster.running({user: SumModel}, {user: "peer"}, names="a", models_here=models_here) as servers,
    ):
        peer.answers_probes = second.answers_probes = False
        servers.introduce({"peer": peer.url, "peer-2": second.url})
        reply = await ask(servers, f"/predict/{user}")
        assert (len(peer.seen), len(second.seen)) == (1, 1)
        if models_here:
            assert (reply.status, reply.reason) == (500, "ServersLost")
        else:
            assert (reply.status, reply.body, reply.server) == (200, b'{"predictions":[3.0]}', "a")


@pytest.mark.parametrize("way", PLAIN)
@pytest.mark.parametrize("reason", ["ModelNotReady", "ModelLoading"])
async def test_an_answer_that_no_other_server_could_better_is_final(reason: str, way: str) -> None:
    async def waits(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.answer(b'{"error": {}}', 503, Tenantry_Reason=reason, Retry_After="1")

    async with serving(waits) as (servers, _):
        reply = await ask(servers, way)
        assert (reply.status, reply.server, reply.reason) == (503, "peer", reason)
        assert reply.headers["Retry-After"] == "1"


async def test_a_large_body_is_sent_whole_to_the_next_server() -> None:
    """Although the first peer took half of it and went, while it still came."""
    values = [[0.5, 1.0]] * 20_000
    body = json.dumps({"instances": values}).encode()

    async def takes_half(exchange: Exchange) -> None:
        assert exchange.header("Transfer-Encoding") == "chunked"
        await exchange.some(len(body) // 2)
        exchange.cut()

    async def pieces(servers: Cluster) -> AsyncIterator[bytes]:
        middle = len(body) // 2 + 10_000
        for cut in range(0, middle, 10_000):
            yield body[cut : min(cut + 10_000, middle)]
        await until_soon(lambda: in_flight(servers, "c"))
        yield body[middle:]

    async with serving(takes_half) as (servers, _):
        reply = await ask(servers, body=pieces(servers))
        assert (reply.status, reply.server) == (200, "c")
        assert json.loads(reply.body) == {"predictions": [1.5] * len(values)}


async def test_a_peer_may_answer_before_it_has_read_the_body() -> None:
    answered = asyncio.Event()

    async def refuses(exchange: Exchange) -> None:
        await exchange.answer(b'{"error": {}}', 422)
        answered.set()
        await exchange.left()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"[" * 100
        await answered.wait()
        await asyncio.sleep(0.05)
        yield b"]"

    async with serving(refuses) as (servers, peer):
        reply = await ask(servers, body=pieces())
        assert (reply.status, reply.server) == (422, "peer")
        await ask(servers)
        assert [exchange.connection for exchange in peer.seen] == [1, 2], "the first can't be used again"


# Silence


async def test_a_silent_peer_that_lives_is_waited_for() -> None:
    """It loads the model, say."""
    looked = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        await exchange.body()
        await looked.wait()
        await exchange.answer()

    async with serving(waits) as (servers, peer):
        asking = asyncio.create_task(ask(servers))
        await until_soon(lambda: peer.probes >= 2)
        assert not asking.done()
        looked.set()
        assert (await asking).server == "peer"


@pytest.mark.parametrize("way", PLAIN)
async def test_a_peer_that_answers_no_probe_is_not_asked_until_it_answers_one(way: str) -> None:
    silent = True
    probes: list[int] = []  # how many there were when a request was taken away

    async def says_nothing(exchange: Exchange) -> None:
        if silent:
            await exchange.left()
            probes.append(peer.probes)
        else:
            await answers(exchange)

    async with serving(says_nothing) as (servers, peer):
        peer.answers_probes = False
        replies = await asyncio.gather(*(ask(servers, way) for _ in range(10)))
        assert {reply.server for reply in replies} == {"c"}
        await until_soon(lambda: len(probes) == len(peer.seen))
        assert max(probes) <= 1, "ten requests, one probe"
        seen = len(peer.seen)
        assert (await ask(servers, way)).server == "c"
        assert (len(peer.seen), servers["a"].peers.down) == (seen, 1)
        silent, peer.answers_probes = False, True
        await until_soon(lambda: servers["a"].peers.down == 0)
        assert (await ask(servers, way)).server == "peer"


async def test_a_peer_that_refuses_connections_is_down_until_it_listens_again() -> None:
    async with serving(answers) as (servers, peer):
        await peer.stop()
        for _ in range(3):
            assert (await ask(servers)).server == "c"
        assert servers["a"].peers.down == 1
        await peer.start()
        await until_soon(lambda: servers["a"].peers.down == 0)
        assert (await ask(servers)).server == "peer"


async def test_a_server_that_restarted_elsewhere_is_asked_there() -> None:
    async with serving(answers) as (servers, peer):
        await ask(servers)
        await peer.stop()
        peer.url = ""
        await peer.start()
        servers.introduce({"peer": peer.url})
        assert (await ask(servers)).server == "peer"


@pytest.mark.parametrize("way", PLAIN)
async def test_a_client_that_leaves_ends_the_hop(way: str) -> None:
    left = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.left()
        left.set()

    async with serving(waits) as (servers, peer):
        asking = asyncio.create_task(ask(servers, way))
        await until_soon(lambda: peer.seen)
        asking.cancel()
        assert await set_within(left, PATIENCE_S)
        await until_soon(lambda: not in_flight(servers, "peer"))


def in_flight(servers: Cluster, name: str) -> int:
    """Requests that a passed on to another and that are not answered."""
    peer = servers["a"].peers.peers.get(name)
    return 0 if peer is None else peer.in_flight
