"""What is sent to a peer, and what of its answer reaches the client."""

import gzip

import aiohttp
import pytest

from tests.support.network.beside_scripted_peer import ROWS, WAYS, answer_to, answers, ask, serving
from tests.support.network.scripted_peer import Exchange


@pytest.mark.parametrize("way", WAYS)
async def test_a_request_reaches_the_peer_unchanged(way: str) -> None:
    async with serving(answers, predict_timeout_s=60.0) as (servers, peer):
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
    assert seen.header("Authorization") is None  # a caller's credentials are for the server that it asked
    assert seen.header("Cookie") is None
    assert seen.header("Tenantry-Hop") == "a"
    assert seen.header("Tenantry-Fresh") == "required"
    assert 30_000 < int(seen.header("Tenantry-Timeout-Ms") or 0) <= 60_000
    for of_the_connection in ("X-Mine", "TE", "Connection", "Expect"):
        assert seen.header(of_the_connection) is None
    assert seen.head.lower().count("\r\ncontent-length:") == 1


@pytest.mark.parametrize("way", WAYS)
async def test_what_an_answer_says_reaches_the_client(way: str) -> None:
    """The body unchanged, and of the headers those that servers of ours send."""

    async def tells(exchange: Exchange) -> None:
        await exchange.body()
        body = answer_to(exchange)[:-1] + b" " * 100_000 + answer_to(exchange)[-1:]
        await exchange.answer(body, X_Mine="1", Tenantry_Model_Id="m-1", Keep_Alive="timeout=5")

    async with serving(tells) as (servers, peer):
        reply = await ask(servers, way)
    body = answer_to(peer.seen[0])
    assert (reply.status, len(reply.body), reply.server) == (200, len(body) + 100_000, "peer")
    assert reply.headers["Tenantry-Model-Id"] == "m-1"
    assert reply.headers["Tenantry-Hop"] == "a"
    assert not {"X-Mine", "Keep-Alive"} & reply.headers.keys()
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
        await exchange.answer(answer_to(exchange), Connection="close")
        exchange.cut()

    async with serving(closes) as (servers, peer), aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.post(f"{servers['a'].url}{way}", data=ROWS) as response:
                assert (response.status, response.headers["Tenantry-Server"]) == (200, "peer")
                assert "Connection" not in response.headers
    assert peer.connections == 3
