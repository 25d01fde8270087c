"""The fast path of a prediction, on the wire: when it is taken, and that no client can tell."""

import asyncio
import contextlib
import gzip
import json
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tenantry import Model
from tenantry.errors import ModelNotAssigned
from tenantry.model_id import public_name
from tenantry_server import CachedModelRepository, bounded_cache, make_app
from tenantry_server.app import FAST_PATH
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.protocols.fast_path import FastPath
from tenantry_server.toys import SumModel
from tenantry_server.wire.bodies import ARRIVING
from tenantry_server.wire.heads import JSON_LENGTH, Block, Target
from tenantry_server.wire.later import Later
from tenantry_server.wire.plain_connection import PlainServer

ROW = b'[{"a": 1, "b": 2}]'
BODY_BYTES = 200_000


class Quick(SumModel):
    """A SumModel that says it only computes; `rows @ 1`, so that it is quick."""

    may_block = False

    def predict_rows(self, rows: Any) -> Any:
        return rows.sum(axis=1) + self.plus


class Users(ModelInfoRepository):
    """Every model id is its user id, but for those whom nobody declared."""

    def get_model_id_by_user_id(self, user_id: str) -> str:
        if user_id.startswith("nobody"):
            raise ModelNotAssigned(user_id)
        return "line\nbreak" if user_id == "odd" else user_id

    def peek(self, user_id: str) -> str | None:
        return self.get_model_id_by_user_id(user_id)


class Models(ModelRepository):
    def get_model(self, model_id: str) -> Model:
        return SumModel(7) if model_id == "slow" else Quick(len(model_id))


@dataclass
class Wire:
    """A connection, and which requests took the fast path."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    short: list[str]
    app: web.Application
    server: PlainServer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        body = await self.reader.readexactly(int(headers.get("Content-Length", 0)))
        return int(status.split()[1]), headers, body

    async def ask(self, head: str, body: bytes = ROW) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(10):
            while not all(each._idle() for each in self.server.connections):  # type: ignore[attr-defined]  # noqa: ASYNC110
                await asyncio.sleep(0)  # aiohttp comes to rest after the last answer was sent
        await self.send(request(head, body))
        return await self.answer()


def request(head: str, body: bytes = ROW, version: str = "HTTP/1.1") -> bytes:
    first, *more = head.split("\n")
    lines = [f"{first} {version}", "Host: here", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
async def wire(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wire]:
    short: list[str] = []
    whole = FastPath.answer

    def noted(self: FastPath, target: Target, block: Block, body: bytes) -> bytes | Later | None:
        answer = whole(self, target, block, body)
        if answer is not None:
            short.append(f"/predict/{target.user_id}")
        return answer

    monkeypatch.setattr(FastPath, "answer", noted)
    app = make_app(
        Users(),
        CachedModelRepository(Models(), bounded_cache(1 << 20)),
        server_id="server-7",
        max_body_bytes=BODY_BYTES,
    )
    async with TestServer(app) as server:
        assert server.runner is not None
        assert server.runner.server is not None
        app[FAST_PATH].install(server.runner.server)
        assert isinstance(server.runner.server, PlainServer)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        wire = Wire(reader, writer, short, app, server.runner.server)
        for user_id in ("slow", "ann", "bob", "odd", "a.b~c@d:e+f-1"):
            assert (await wire.ask(f"POST /predict/{user_id}"))[0] == 200
            assert short == []  # the first call of a model is measured in a thread
            for _ in range(0 if user_id == "slow" else 100):  # that may have been a slow moment
                await wire.ask(f"POST /predict/{user_id}")
                if short:
                    break
            short.clear()
        yield wire
        await abort(writer)


async def abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_the_second_request_takes_it_and_gets_the_same(wire: Wire) -> None:
    status, headers, body = await wire.ask("POST /predict/ann")
    assert wire.short == ["/predict/ann"]
    assert (status, json.loads(body)) == (200, [6.0])
    assert headers["Tenantry-Model-Id"] == public_name("ann")
    assert headers["Tenantry-Server"] == "server-7"
    assert headers["Content-Type"] == "application/json"
    assert parsedate_to_datetime(headers["Date"]).tzinfo is not None


async def test_pipelined_requests_are_answered_in_their_order(wire: Wire) -> None:
    """In one chunk, past the fast path; the next one takes it again."""
    users = ["ann", "bob", "slow", "ann", "nobody", "bob", "ann"]
    await wire.send(b"".join(request(f"POST /predict/{user}") for user in users))
    answers = [await wire.answer() for _ in users]
    assert [status for status, _, _ in answers] == [200, 200, 200, 200, 404, 200, 200]
    assert [headers.get("Tenantry-Model-Id") for _, headers, _ in answers] == [
        public_name(user) if user != "nobody" else None for user in users
    ]
    assert wire.short == []
    assert (await wire.ask("POST /predict/ann"))[2] == b"[6.0]"
    assert wire.short == ["/predict/ann"]


LONG: dict[str, tuple[str, bytes, int]] = {
    "a model that may block": ("POST /predict/slow", ROW, 200),
    "nobody's model": ("POST /predict/nobody", ROW, 404),
    "another method": ("PUT /predict/ann", ROW, 405),
    "a query": ("POST /predict/ann?x=1", ROW, 200),
    "an encoded name": ("POST /predict/a%6En", ROW, 400),
    "a deeper path": ("POST /predict/ann/x", ROW, 404),
    "no name": ("POST /predict/", ROW, 404),
    "a broken body": ("POST /predict/ann", b"{", 422),
    "a wrong column": ("POST /predict/ann", b'[{"a": "x"}]', 422),
    "no rows": ("POST /predict/ann", b"[]", 200),
    "many rows": ("POST /predict/ann", b'{"instances": [' + b"[1]," * 99 + b"[1]]}", 200),
    "too large a body": ("POST /predict/ann", b" " * BODY_BYTES + ROW, 413),
}


@pytest.mark.parametrize("case", LONG)
async def test_everything_else_goes_the_long_way_and_the_next_request_is_well(
    wire: Wire, case: str
) -> None:
    head, body, expected = LONG[case]
    status, _, _ = await wire.ask(head, body)
    assert (status, wire.short) == (expected, [])
    assert (await wire.ask("POST /predict/ann"))[2] == b"[6.0]"


async def test_a_model_id_with_a_line_break_ends_no_header(wire: Wire) -> None:
    for how in ("", "?the=long+way"):
        status, headers, body = await wire.ask(f"POST /predict/odd{how}")
        assert (status, body) == (200, b"[13.0]")
        assert headers["Tenantry-Model-Id"] == public_name("line\nbreak")
    assert len(wire.short) == 1


async def test_a_name_with_every_character_that_is_allowed(wire: Wire) -> None:
    assert (await wire.ask("POST /predict/a.b~c@d:e+f-1"))[2] == b"[16.0]"
    assert len(wire.short) == 1


async def test_a_body_that_comes_later_is_waited_for(wire: Wire) -> None:
    """In pieces, and after `100 Continue`; in two or three pieces it takes the fast path."""
    whole = request("POST /predict/ann")
    for pieces in ((whole[:-10], whole[-10:-5], whole[-5:]), (whole[: -len(ROW)], ROW)):
        for piece in pieces:
            await wire.send(piece)
            await asyncio.sleep(0.01)
        assert (await wire.answer())[2] == b"[6.0]"
    assert len(wire.short) == 2
    head = request("POST /predict/ann\nExpect: 100-continue")[: -len(ROW)]
    await wire.send(head)
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await wire.send(ROW)
    assert (await wire.answer())[2] == b"[6.0]"
    assert len(wire.short) == 2


async def test_a_body_that_comes_too_late_is_waited_for_by_aiohttp(wire: Wire) -> None:
    """It has the deadline; and the next request takes the fast path again."""
    await wire.send(request("POST /predict/ann")[: -len(ROW)])
    arriving, holding = wire.app[ARRIVING], wire.server.holding
    async with asyncio.timeout(10):
        while holding or not len(arriving):  # noqa: ASYNC110 - a state of the server
            await asyncio.sleep(0.01)
    await wire.send(ROW)
    assert (await wire.answer())[2] == b"[6.0]"
    assert wire.short == []
    assert (await wire.ask("POST /predict/ann"))[2] == b"[6.0]"
    assert len(wire.short) == 1


@pytest.mark.parametrize(
    "header",
    ["traceparent: 00-%032x-b7ad6b7169203331-01", "X-Request-Id: %d", "Authorization: Bearer key-%d"],
)
async def test_heads_that_differ_in_a_value_stay_on_it(wire: Wire, header: str) -> None:
    for number in range(5):
        assert (await wire.ask(f"POST /predict/ann\n{header % number}"))[2] == b"[6.0]"
    assert len(wire.short) == 4  # aiohttp has read the first


async def test_the_protocols_of_kserve_take_it_too(wire: Wire) -> None:
    tensor = {"name": "rows", "shape": [1, 2], "datatype": "FP64"}
    v1, v2 = b'{"instances": [[1, 2]]}', json.dumps({"inputs": [{**tensor, "data": [1, 2]}]}).encode()
    described = {**tensor, "parameters": {"binary_data_size": 16}}
    text = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
    rows = struct.pack("<2d", 1, 2)
    binary = f"POST /v2/models/ann/infer\n{JSON_LENGTH}: {len(text)}"
    for head, body, expected in (
        ("POST /v1/models/ann:predict", v1, b'{"predictions":[6.0]}'),
        ("POST /v2/models/ann/infer", v2, b'"data":[6.0]'),
        (binary, text + rows, struct.pack("<d", 6)),
    ):
        whole = [await wire.ask(head, body) for _ in range(2)]
        assert [{**sent, "Date": ""} for _, sent, _ in whole[1:]] == [{**whole[0][1], "Date": ""}]
        assert whole[0][2] == whole[1][2]
        assert whole[1][0] == 200
        assert expected in whole[1][2]
    assert len(wire.short) == 5  # but for the first with the header of the binary one


async def test_chunked_and_compressed_bodies(wire: Wire) -> None:
    chunked = b"POST /predict/ann HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
    await wire.send(chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(ROW), ROW))
    assert (await wire.answer())[2] == b"[6.0]"
    answer = await wire.ask("POST /predict/ann\nContent-Encoding: gzip", gzip.compress(ROW))
    assert answer[2] == b"[6.0]"
    assert (await wire.ask("POST /predict/ann\nContent-Encoding: gzip", b"no gzip"))[0] == 400


@pytest.mark.parametrize(("version", "head"), [("HTTP/1.0", ""), ("HTTP/1.1", "\nConnection: close")])
async def test_a_connection_that_is_to_close_closes(wire: Wire, version: str, head: str) -> None:
    await wire.send(request(f"POST /predict/ann{head}", version=version))
    assert (await wire.answer())[2] == b"[6.0]"
    assert await wire.reader.read() == b""


async def test_a_client_that_leaves_hurts_nobody(wire: Wire) -> None:
    port = wire.writer.get_extra_info("peername")[1]
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("POST /predict/ann") * 50)
        await abort(writer)
    assert (await wire.ask("POST /predict/ann"))[2] == b"[6.0]"


async def test_a_client_that_reads_nothing_is_not_answered_for_ever(wire: Wire) -> None:
    """What waits for it stays bounded: the server stops to read from it."""
    port = wire.writer.get_extra_info("peername")[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    del reader
    many = request("POST /predict/ann") * 2000
    before = len(wire.short)
    for _ in range(50):
        writer.write(many)
        try:
            async with asyncio.timeout(0.2):
                await writer.drain()
        except TimeoutError:
            break
    else:
        pytest.fail("the server read 100,000 requests whose answers nobody took")
    assert len(wire.short) - before < 100_000
    await abort(writer)
    assert (await wire.ask("POST /predict/ann"))[2] == b"[6.0]"
