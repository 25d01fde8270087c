"""A peer that is not one of ours, or is broken: nothing of what it adds reaches a client.

Each client reads its connection byte by byte, and asks again on it: an answer that ends elsewhere than it
says would be taken for the next one.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tenantry.errors import ArtifactUnavailable
from tests.support.network.beside_scripted_peer import ROWS, USER, V2_ROWS, WAYS, answer_to, serving
from tests.support.network.scripted_peer import Exchange, ScriptedPeer
from tests.support.processes.cluster import Cluster
from tests.support.waiting import PATIENCE_S, until_soon

EVIL = b"evil"
V1 = f"/v1/models/{USER}:predict"
FORECAST = f"/forecast/{USER}"
ALL_WAYS = [*WAYS, V1, FORECAST]
Raw = Callable[[bytes], bytes]
"""From the body of a right answer to the bytes that the peer sends."""


def answer(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK", length: bytes | None = None) -> Raw:
    """A right answer, with more lines."""

    def raw(body: bytes) -> bytes:
        ours = [b"Content-Type: application/json", b"Tenantry-Server: peer"]
        size = b"Content-Length: %d" % len(body) if length is None else length
        return b"\r\n".join([first, *ours, size, *lines, b"", body])

    return raw


def with_body(body: bytes, kind: bytes = b"application/json") -> Raw:
    return lambda _: (
        b"HTTP/1.1 200 OK\r\nTenantry-Server: peer\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (kind, len(body), body)
    )


def refusal(status: int, body: bytes, kind: bytes = b"application/json") -> Raw:
    return lambda _: with_body(body, kind)(b"").replace(b"200 OK", b"%d Evil" % status)


BROKEN: dict[str, Raw] = {
    "two lengths that agree": answer(b"Content-Length: 5"),
    "two lengths that differ": lambda body: answer(b"Content-Length: %d" % (len(body) + 99))(body),
    "a length twice in one line": answer(length=b"Content-Length: 5, 5"),
    "a signed length": answer(length=b"Content-Length: +5"),
    "a length in hexadecimal": answer(length=b"Content-Length: 0x5"),
    "no length": answer(length=b"X-Evil: 1"),
    "both framings": answer(b"Transfer-Encoding: chunked"),
    "chunks alone": answer(length=b"Transfer-Encoding: chunked"),
    "a coding": answer(b"Content-Encoding: gzip"),
    "a second answer behind": lambda body: answer()(body) + answer(b"Set-Cookie: evil=1")(b"[666]"),
    "a folded line": answer(b"X-Evil: 1\r\n folded: evil"),
    "a folded known one": answer(b"Tenantry-Reason: A\r\n\tevil"),
    "a bare CR": answer(b"Tenantry-Model-Id: m\rSet-Cookie: evil=1"),
    "a bare LF": answer(b"Tenantry-Model-Id: m\nSet-Cookie: evil=1"),
    "a NUL": answer(b"X: \x00evil"),
    "a space before the colon": answer(b"Content-Length : 3"),
    "no name": answer(b": evil"),
    "a line without a colon": answer(b"evil"),
    "a model id that is none": answer(b"Tenantry-Model-Id: s3://evil/key"),
    "a model id twice": answer(b"Tenantry-Model-Id: m-1", b"tenantry-model-id: evil"),
    "a number that is none": answer(b"Tenantry-Shards: evil"),
    "a wait that is none": answer(b"Retry-After: evil"),
    "a date that is none": answer(b"Date: evil"),
    "too long a header": answer(b"X-Evil: " + EVIL * 5000),
    "too many headers": answer(*(b"X-Evil-%d: 1" % number for number in range(100))),
    "another server": answer(b"Tenantry-Server: evil"),
    "an interim answer": answer(first=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"),
    "many interim answers": answer(first=b"HTTP/1.1 103 Evil\r\n\r\n" * 500 + b"HTTP/1.1 200 OK"),
    "another protocol": answer(b"Upgrade: evil", first=b"HTTP/1.1 101 Switching Protocols"),
    "another version": answer(first=b"HTTP/1.0 200 OK"),
    "an unknown status": answer(first=b"HTTP/1.1 299 Evil"),
    "a redirect": answer(b"Location: http://evil/", first=b"HTTP/1.1 307 Evil"),
    "a status of four digits": answer(first=b"HTTP/1.1 2000 Evil"),
    "a CR in the status line": answer(first=b"HTTP/1.1 200 OK\rSet-Cookie: evil=1"),
    "no JSON": with_body(b'{"predictions": [evil]}'),
    "no list": with_body(b'{"predictions": 1, "outputs": {}, "evil": 1}'),
    "a bare text": with_body(b'"evil"'),
    "no body": with_body(b""),
    "a large body that is not JSON": with_body(b"<evil>" * 20_000),
    "a page": with_body(b"<script>evil</script>", b"text/html"),
    "JSON as a page": lambda body: with_body(body, b"text/html")(b""),
    "bytes nobody asked for": lambda body: with_body(body, b"application/octet-stream")(b""),
    "too large a body": answer(length=b"Content-Length: 99999999999"),
    "an error without words": refusal(422, b"{}"),
    "an error as a page": refusal(404, b"<p>evil", b"text/html"),
}
LEFT_OUT: dict[str, Raw] = {
    "a cookie": answer(b"Set-Cookie: evil=1"),
    "versions": answer(b"Server: evil/1.0", b"X-Powered-By: evil"),
    "headers for browsers": answer(
        b"Access-Control-Allow-Origin: evil", b"Location: http://evil/", b"Refresh: 0; evil", b"Link: evil"
    ),
    "words in the status line": answer(first=b"HTTP/1.1 200 evil words \x80"),
    "another hop": answer(b"Tenantry-Hop: evil", b"Tenantry-Proof: evil", b"WWW-Authenticate: evil"),
    "of the connection": answer(b"Keep-Alive: evil", b"Trailer: evil", b"TE: evil", b"Connection: close"),
}


class Hostile:
    """Answers as the case says; its right answers are 666."""

    raw: Raw = staticmethod(answer())

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.body()
        exchange.writer.write(self.raw(answer_to(exchange, 666.0)))
        await exchange.writer.drain()


@asynccontextmanager
async def beside(hostile: Hostile) -> AsyncIterator[tuple[Cluster, ScriptedPeer]]:
    async with serving(hostile) as (servers, peer):
        yield servers, peer


class Client:
    """One connection, read by its bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, way: str) -> tuple[int, bytes, bytes]:
        """Status, head and body of one answer, as its own length ends it."""
        body = V2_ROWS if "/v2/" in way else ROWS
        head = f"POST {way} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        async with asyncio.timeout(PATIENCE_S):
            head_back = await self._reader.readuntil(b"\r\n\r\n")
            (length,) = re.findall(rb"(?i)\r\ncontent-length: (\d+)\r\n", head_back)
            content = await self._reader.readexactly(int(length))
        assert head_back.startswith(b"HTTP/1.1 "), "this answer begins where the last one ended"
        return int(head_back[9:12]), head_back, content

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def connected(servers: Cluster) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", servers["a"].port))


async def until_believed(servers: Cluster) -> None:
    """The peer answered a probe, and is asked again."""
    peer = servers["a"].peers.peers["peer"]
    await until_soon(lambda: peer.usable)


@pytest.mark.parametrize("way", ALL_WAYS)
async def test_nothing_of_a_broken_answer_reaches_a_client(
    way: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The next server answers in its place, on a connection that goes on."""
    hostile = Hostile()
    async with beside(hostile) as (servers, peer):
        client = await connected(servers)
        for case, raw in BROKEN.items():
            hostile.raw = raw
            await until_believed(servers)
            before = len(peer.seen)
            status, head, body = await client.ask(way)
            assert b"Tenantry-Server: c\r\n" in head, (case, head)
            assert status == (422 if way == FORECAST else 200), case  # c's model does not forecast
            assert len(peer.seen) == before + 1, case
            assert EVIL not in (head + body).lower(), case
            assert b"666" not in body, case
        hostile.raw = answer()
        await until_believed(servers)
        status, head, body = await client.ask(way)
        assert (status, b"Tenantry-Server: peer\r\n" in head, b"666" in body) == (200, True, True)
        await client.close()
    shown = "".join(capfd.readouterr())
    assert shown.count("a peer answers what no server of ours does") == 1
    assert "evil" not in shown.lower()


@pytest.mark.parametrize("way", ALL_WAYS)
async def test_what_a_peer_adds_is_left_out(way: str) -> None:
    """Also a newer release may send headers that this one does not know."""
    hostile = Hostile()
    async with beside(hostile) as (servers, _):
        client = await connected(servers)
        for case, raw in LEFT_OUT.items():
            hostile.raw = raw
            await until_believed(servers)
            status, head, body = await client.ask(way)
            assert (status, b"666" in body) == (200, True), case
            assert b"Tenantry-Server: peer\r\n" in head, case
            assert EVIL not in head.lower(), case
            names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:-2]]
            assert len(names) == len({*names}), case
        await client.close()


@pytest.mark.parametrize("way", [WAYS[0], WAYS[2]])
async def test_a_body_that_trickles_ends_with_the_request(way: str) -> None:
    async def trickles(exchange: Exchange) -> None:
        await exchange.body()
        exchange.writer.write(answer()(answer_to(exchange) + b" " * 10_000)[:-10_000])
        while not exchange.writer.is_closing():
            exchange.writer.write(b" ")
            await exchange.writer.drain()
            await asyncio.sleep(0.05)

    async with serving(trickles, predict_timeout_s=0.5) as (servers, _):
        client = await connected(servers)
        status, head, _ = await client.ask(way)
        assert (status, b"Tenantry-Reason: PredictionTimeout\r\n" in head) == (504, True)
        await client.close()


async def test_where_only_the_peer_could_answer_the_refusal_is_clear() -> None:
    hostile = Hostile()
    hostile.raw = BROKEN["two lengths that differ"]
    async with serving(hostile, names="a") as (servers, _):
        servers["a"].models.failure = ArtifactUnavailable("s3://models/bob", "ConnectTimeoutError")
        client = await connected(servers)
        status, head, _ = await client.ask(WAYS[0])
        assert (status, b"Tenantry-Reason: ArtifactUnavailable\r\n" in head) == (503, True)
        await client.close()
