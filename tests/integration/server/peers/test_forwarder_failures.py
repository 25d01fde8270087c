"""What a peer can do to a request on the wire, and that whoever asked never sees it."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tenantry.runtime import set_within
from tenantry_server.assignments.routing_table import OnRegistryLoss
from tenantry_server.toys import SlowModel, SumModel
from tests.support.network import scripted_peer
from tests.support.network.scripted_peer import Exchange, Script, ScriptedPeer
from tests.support.processes import cluster
from tests.support.processes.cluster import Cluster, user_for
from tests.support.waiting import PATIENCE_S, until_soon

USER = user_for("peer", "c", "a")  # the peer holds it, then c would, then a
ROWS = b'{"instances": [[1.0, 2.0]]}'
WAYS = [f"/predict/{USER}", f"/predict/{USER}?the=long+way", f"/v2/models/{USER}/infer?x=%20y"]
PLAIN = WAYS[:2]
V2_ROWS = json.dumps(
    {"inputs": [{"name": "input", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}]}
).encode()

Serving = Callable[..., AbstractAsyncContextManager[tuple[Cluster, ScriptedPeer]]]


@asynccontextmanager
async def serving(
    script: Script, names: str = "ac", **settings: Any
) -> AsyncIterator[tuple[Cluster, ScriptedPeer]]:
    """Servers a and c, and a peer that does what `script` says and holds the user's model."""
    models = settings.pop("models", {USER: SumModel})
    async with (
        scripted_peer.running(script) as peer,
        cluster.running(models, {USER: "peer"}, names=names, **settings) as servers,
    ):
        servers.introduce({"peer": peer.url})
        yield servers, peer


class Reply:
    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.server = response.headers.get("Tenantry-Server")
        self.reason = response.headers.get("Tenantry-Reason")
        self.body = body


async def ask(
    servers: Cluster, path: str = WAYS[0], body: Any = None, *, at: str = "a", **headers: str
) -> Reply:
    """A prediction asked of server a; `a_b` names the header A-B."""
    if body is None:
        body = V2_ROWS if "/v2/" in path else ROWS
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    url = f"{servers[at].url}{path}"
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=sent) as response:
        return Reply(response, await response.read())


async def answers(exchange: Exchange) -> None:
    await exchange.body()
    await exchange.answer()


# What a peer is sent


@pytest.mark.parametrize("way", WAYS)
async def test_a_request_arrives_as_it_was(way: str) -> None:
    async with serving(answers) as (servers, peer):
        await ask(
            servers,
            way,
            X_Request_Id="17",
            Authorization="Bearer of good news",
            Cookie="a=b; c=d",
            Connection="keep-alive, X-Mine",
            X_Mine="of this connection",
            TE="trailers",
        )
    (seen,) = peer.seen
    assert seen.head.split("\r\n")[0] == f"POST {way} HTTP/1.1"
    assert seen.header("Host") == peer.url.removeprefix("http://")
    assert seen.header("X-Request-Id") == "17"
    assert seen.header("Authorization") == "Bearer of good news"
    assert seen.header("Cookie") == "a=b; c=d"
    assert seen.header("Tenantry-Hop") == "a"
    assert seen.header("Tenantry-Fresh") == "required"
    assert 9_000 < int(seen.header("Tenantry-Timeout-Ms") or 0) <= 10_000
    for of_the_connection in ("X-Mine", "TE", "Connection", "Expect"):
        assert seen.header(of_the_connection) is None
    assert seen.head.lower().count("\r\ncontent-length:") == 1


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_comes_back_as_it_was(way: str) -> None:
    async def tells(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.answer(
            b"\x00\xff" * 50_000, 299, X_Mine="1", Tenantry_Model_Id="m", Keep_Alive="timeout=5"
        )

    async with serving(tells) as (servers, _):
        reply = await ask(servers, way)
    assert (reply.status, reply.body, reply.server) == (299, b"\x00\xff" * 50_000, "peer")
    assert (reply.headers["X-Mine"], reply.headers["Tenantry-Model-Id"]) == ("1", "m")
    assert reply.headers["Tenantry-Hop"] == "a"
    assert "Keep-Alive" not in reply.headers
    assert len(reply.headers.getall("Content-Length")) == 1


async def test_a_decoded_body_no_longer_says_that_it_is_encoded() -> None:
    async with serving(answers) as (servers, peer):
        await ask(servers, body=gzip.compress(ROWS), Content_Encoding="gzip")
        await ask(servers, Expect="100-continue")
    assert peer.seen[0].header("Content-Encoding") is None
    assert peer.seen[0].header("Content-Length") == str(len(ROWS))
    assert peer.seen[1].header("Expect") is None


@pytest.mark.parametrize("way", WAYS)
async def test_connections_are_kept(way: str) -> None:
    async with serving(answers) as (servers, peer):
        for _ in range(5):
            await ask(servers, way)
    assert (peer.connections, len(peer.seen)) == (1, 5)


@pytest.mark.parametrize("way", WAYS)
async def test_a_peer_that_closes_its_connection_gets_another(way: str) -> None:
    """And the client's own connection stays."""

    async def closes(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.answer(Connection="close")
        exchange.cut()

    async with serving(closes) as (servers, peer), aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.post(f"{servers['a'].url}{way}", data=ROWS) as response:
                assert (await response.read(), response.headers["Tenantry-Server"]) == (b"[1.0]", "peer")
                assert "Connection" not in response.headers
    assert peer.connections == 3


# What a peer may do


@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_that_was_closed_meanwhile_is_opened_anew(way: str) -> None:
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
    await exchange.answer(b"{}", 503, Tenantry_Reason="ArtifactUnavailable")


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
async def test_the_next_answers_where_a_peer_fails(failure: Script, way: str) -> None:
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


@pytest.mark.parametrize("way", PLAIN)
@pytest.mark.parametrize("reason", ["ModelNotReady", "ModelLoading"])
async def test_what_no_other_server_knows_better_is_passed_on(reason: str, way: str) -> None:
    async def waits(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.answer(b"{}", 503, Tenantry_Reason=reason, Retry_After="1")

    async with serving(waits) as (servers, _):
        reply = await ask(servers, way)
        assert (reply.status, reply.server, reply.reason) == (503, "peer", reason)
        assert reply.headers["Retry-After"] == "1"


async def test_a_large_body_is_sent_whole_to_the_next() -> None:
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
        await exchange.answer(b"{}", 422)
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
async def test_a_silent_peer_that_answers_no_probe_is_left_alone_until_it_does(way: str) -> None:
    silent = True

    async def says_nothing(exchange: Exchange) -> None:
        if silent:
            await exchange.left()
        else:
            await answers(exchange)

    async with serving(says_nothing) as (servers, peer):
        peer.answers_probes = False
        replies = await asyncio.gather(*(ask(servers, way) for _ in range(10)))
        assert {reply.server for reply in replies} == {"c"}
        assert peer.probes == 1, "ten requests, one probe"
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


async def test_a_server_that_started_anew_elsewhere_is_asked_there() -> None:
    async with serving(answers) as (servers, peer):
        await ask(servers)
        await peer.stop()
        peer.url = ""
        await peer.start()
        servers.introduce({"peer": peer.url})
        assert (await ask(servers)).server == "peer"


@pytest.mark.parametrize("way", PLAIN)
async def test_who_leaves_ends_the_hop(way: str) -> None:
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


# Deadlines


@pytest.mark.parametrize("way", PLAIN)
async def test_what_is_left_of_the_time_is_passed_on(way: str) -> None:
    async with serving(answers) as (servers, peer):
        await ask(servers, way, Tenantry_Timeout_Ms="700")
        await ask(servers, way, Tenantry_Timeout_Ms="700000")
    sent = [int(exchange.header("Tenantry-Timeout-Ms") or 0) for exchange in peer.seen]
    assert 0 < sent[0] <= 700 < sent[1] <= 10_000


@pytest.mark.parametrize("value", ["", "-1", "1e3", "abc", "٣", "9" * 5_000, "0x10", " "])
async def test_a_malformed_time_is_none(value: str) -> None:
    async with serving(answers) as (servers, peer):
        assert (await ask(servers, Tenantry_Timeout_Ms=value)).status == 200
        assert (await ask(servers, Tenantry_Timeout_Ms=value, Tenantry_Hop="x")).status == 200
    assert int(peer.seen[0].header("Tenantry-Timeout-Ms") or 0) > 9_000


async def test_a_server_takes_no_longer_than_it_is_told() -> None:
    models = {USER: lambda: SlowModel(30.0)}
    async with serving(answers, models=models) as (servers, _):
        reply = await ask(servers, Tenantry_Hop="test", Tenantry_Timeout_Ms="100")
        assert (reply.status, reply.reason) == (504, "PredictionTimeout")
        assert b"no answer within 0.1 s" in reply.body


@pytest.mark.parametrize("way", PLAIN)
async def test_a_peer_that_does_not_keep_the_time_is_not_waited_for(way: str) -> None:
    """It lives and takes its time; nobody else has any left."""

    async def waits(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.left()

    async with serving(waits) as (servers, peer):
        reply = await ask(servers, way, Tenantry_Timeout_Ms="200")
        assert (reply.status, reply.server, reply.reason) == (504, "a", "PredictionTimeout")
        assert servers["c"].models.loads == []
        assert len(peer.seen) == 1


# The registry is lost


async def test_a_peer_whose_lease_is_over_is_passed_by() -> None:
    """It might answer with an older model than this server knows of."""

    async def has_none(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.answer(b"{}", 503, Tenantry_Reason="LeaseLost")

    async with serving(has_none) as (servers, peer):
        for _ in range(3):
            assert (await ask(servers)).server == "c"
        assert len(peer.seen) == 1, "it is not asked again for a while"


@pytest.mark.parametrize("way", PLAIN)
async def test_a_server_without_lease_says_so_at_once_to_whom_it_matters(way: str) -> None:
    async with serving(answers, names="a") as (servers, _):
        servers["a"].lease(held=False)
        reply = await ask(servers, way, Tenantry_Fresh="required", Tenantry_Hop="x")
        assert (reply.status, reply.reason, reply.server) == (503, "LeaseLost", "a")
        assert servers["a"].registry.asked == 0


@pytest.mark.parametrize("way", PLAIN)
@pytest.mark.parametrize("on_loss", OnRegistryLoss)
async def test_without_a_lease_a_peer_that_has_one_answers(way: str, on_loss: OnRegistryLoss) -> None:
    """Whoever holds the model: fresh comes before near."""
    async with cluster.running({USER: SumModel}, {USER: "a"}, on_loss=on_loss) as three:
        for name in "ab":
            three[name].lease(held=False)
        alone = await ask(three, way, Tenantry_Hop="test")
        assert alone.status == (200 if on_loss is OnRegistryLoss.SERVE else 503)
        for _ in range(3):
            reply = await ask(three, way)
            assert (reply.status, reply.server) == (200, "c")
            assert "Tenantry-Registry-Age" not in reply.headers
        assert [node.registry.asked for node in three.nodes.values()] == [0, 0, 0]


@pytest.mark.parametrize("way", PLAIN)
async def test_where_nobody_has_a_lease_the_holder_answers_and_says_how_old_it_is(way: str) -> None:
    user = user_for("b", "c", "a")
    way = way.replace(USER, user)
    async with cluster.running({user: SumModel}, {user: "b"}) as three:
        for node in three.nodes.values():
            node.lease(held=False)
        for name in "aba":
            reply = await ask(three, way, at=name)
            assert (reply.status, reply.server, reply.body) == (200, "b", b'{"predictions":[3.0]}')
            assert int(reply.headers["Tenantry-Registry-Age"]) >= 0
        assert [node.registry.asked for node in three.nodes.values()] == [0, 0, 0]
        reply = await ask(three, way, Tenantry_Fresh="required")
        assert (reply.status, reply.reason) == (503, "LeaseLost")


async def test_where_nobody_has_a_lease_and_all_shall_refuse_they_do() -> None:
    user = user_for("b", "c", "a")
    async with cluster.running({user: SumModel}, {user: "b"}, on_loss=OnRegistryLoss.REFUSE) as three:
        for node in three.nodes.values():
            node.lease(held=False)
        for name in "abc":
            reply = await ask(three, f"/predict/{user}", at=name)
            assert (reply.status, reply.reason) == (503, "RegistryUnavailable")
        assert [node.registry.asked for node in three.nodes.values()] == [0, 0, 0]


async def test_to_ask_everybody_takes_no_more_than_half_of_the_time() -> None:
    """A server that is cut off from all others still answers, or refuses, within it."""

    async def says_nothing(exchange: Exchange) -> None:
        await exchange.left()

    async with serving(says_nothing, names="a") as (servers, peer):
        peer.answers_probes = False
        servers.introduce({f"peer-{number}": peer.url for number in range(5)})
        servers["a"].lease(held=False)
        reply = await ask(servers, Tenantry_Timeout_Ms="3000")
        assert (reply.status, reply.server) == (200, "a")
        assert "Tenantry-Registry-Age" in reply.headers
