"""What a hostile client can do on the port for gRPC: its own connection ends, and no other call notices."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tenantry_server.grpc_v2.asking import Application
from tenantry_server.grpc_v2.http2 import frames
from tenantry_server.grpc_v2.http2.frames import Code, frame
from tests.support.network.clients.http2_client import CALL, RawClient, connected
from tests.support.network.grpc_port import SUM, Stub, infer, served
from tests.support.tenants.application import BODY_BYTES, GatedModel
from tests.support.waiting import PATIENCE_S, until_soon

STREAMS = 100  # of a connection
FLOOD = 2200  # twice what is borne within a second: a pause in the middle begins that second again


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Stub]:
    """A port whose other client is answered before and after a test; no error reaches the event loop."""
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with served(tmp_path) as each:
        await answers(each)
        yield each
        await answers(each)
    assert not errors


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Keeps the model `gated` waiting, for no longer than the test."""
    monkeypatch.setattr(GatedModel, "gate", made := type(GatedModel.gate)())
    yield made
    made.set()


async def answers(stub: Stub) -> None:
    answer = await stub.send("ModelInfer", infer(), timeout=PATIENCE_S, wait_for_ready=True)
    assert list(answer.outputs[0].contents.fp64_contents) == [SUM]


async def left(client: RawClient) -> Code:
    """Return why the server ended the connection, once it has."""
    goodbye = await client.until(frames.GOAWAY)
    assert goodbye is not None
    code = Code(goodbye.code)
    assert await client.until(frames.GOAWAY) is None
    return code


@pytest.mark.parametrize(
    "one",
    [
        frame(frames.PING, 0, 0, bytes(8)),
        frame(frames.PING, frames.ACK, 0, bytes(8)),
        frame(frames.SETTINGS, 0, 0),
        frame(frames.SETTINGS, 0, 0, bytes(6) * 64) * 2,
        frame(frames.PRIORITY, 0, 1, bytes(5)),
        frame(frames.WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
        frame(0xFA, 0, 0, b"unknown"),
        frame(frames.RST_STREAM, 0, 1, bytes(4)),
        frame(frames.DATA, 0, 1),
        frame(frames.DATA, 0, 1, b"\0"),
        frame(frames.DATA, frames.PADDED, 1, b"\xff" + bytes(255)),
    ],
    ids=lambda one: f"{one[3]}-{one[4]}-{len(one)}",
)
async def test_a_flood_of_frames_that_no_call_needs_ends_its_connection(stub: Stub, one: bytes) -> None:
    async with connected(stub.number) as client:
        client.write(client.headers(1))
        client.write(one * FLOOD)
        assert await left(client) in (Code.ENHANCE_YOUR_CALM, Code.FLOW_CONTROL_ERROR)


async def test_calls_that_are_begun_and_reset_end_their_connection(stub: Stub, gate: Any) -> None:
    """CVE-2023-44487: what was begun for them ends too."""
    closed: list[int] = []
    plain = Application._rest

    def rest(self: Application, connection: Any) -> None:
        plain(self, connection)
        closed.append(connection.is_closing())

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Application, "_rest", rest)
        async with connected(stub.number) as client:
            for number in range(1, FLOOD, 2):  # each counts as four
                asked = client.headers(number) + client.data(number, infer("gated"))
                client.write(asked, frames.reset(number, Code.CANCEL))
            assert await left(client) is Code.ENHANCE_YOUR_CALM
        gate.set()
    assert closed
    assert all(closed)


async def test_more_calls_at_once_than_are_allowed_are_refused(stub: Stub, gate: Any) -> None:
    async with connected(stub.number) as client:
        for n in range(STREAMS + 1):
            client.write(client.headers(2 * n + 1), client.data(2 * n + 1, infer("gated"), flags=0))
        refused = await client.until(frames.RST_STREAM)
        assert refused is not None
        assert (refused.stream, refused.code) == (2 * STREAMS + 1, Code.REFUSED_STREAM)
        await answers(stub)


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([frame(frames.DATA, 0, 0, b"x")], Code.PROTOCOL_ERROR),
        ([frame(frames.DATA, 0, 1, b"x")], Code.PROTOCOL_ERROR),
        ([frame(frames.DATA, 0, 2, b"x")], Code.PROTOCOL_ERROR),
        ([frame(frames.HEADERS, frames.END_HEADERS, 2, b"\x82")], Code.PROTOCOL_ERROR),
        (
            [frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff")],
            Code.COMPRESSION_ERROR,
        ),
        ([frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x80")], Code.COMPRESSION_ERROR),
        ([frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x40\x7f\xff\xff")], Code.COMPRESSION_ERROR),
        ([frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x3f\xff\xff\x7f")], Code.COMPRESSION_ERROR),
        ([frame(frames.HEADERS, frames.PADDED, 1, b"\x09\x82")], Code.PROTOCOL_ERROR),
        ([frame(frames.HEADERS, 0, 1, b"\x82"), frame(frames.PING, 0, 0, bytes(8))], Code.PROTOCOL_ERROR),
        ([frame(frames.HEADERS, 0, 1, b"\x82"), frame(frames.CONTINUATION, 0, 3)], Code.PROTOCOL_ERROR),
        ([frame(frames.CONTINUATION, frames.END_HEADERS, 1, b"\x82")], Code.PROTOCOL_ERROR),
        ([frame(frames.PUSH_PROMISE, 0, 1, bytes(8))], Code.PROTOCOL_ERROR),
        ([frame(frames.SETTINGS, 0, 1)], Code.PROTOCOL_ERROR),
        ([frame(frames.SETTINGS, 0, 0, bytes(5))], Code.FRAME_SIZE_ERROR),
        ([frame(frames.SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff")], Code.FLOW_CONTROL_ERROR),
        ([frame(frames.SETTINGS, 0, 0, b"\0\5\0\0\0\1")], Code.PROTOCOL_ERROR),
        ([frame(frames.PING, 0, 0, b"short")], Code.FRAME_SIZE_ERROR),
        ([frame(frames.RST_STREAM, 0, 1, bytes(4))], Code.PROTOCOL_ERROR),
        ([frame(frames.RST_STREAM, 0, 1)], Code.FRAME_SIZE_ERROR),
        ([frame(frames.WINDOW_UPDATE, 0, 0, bytes(4))], Code.PROTOCOL_ERROR),
        ([frame(frames.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff")], Code.FLOW_CONTROL_ERROR),
        ([frame(frames.WINDOW_UPDATE, 0, 7, b"\0\0\0\1")], Code.PROTOCOL_ERROR),
        ([b"\xff\xff\xff\0\0\0\0\0\0"], Code.FRAME_SIZE_ERROR),
    ],
)
async def test_a_frame_that_breaks_the_protocol_ends_its_connection(
    stub: Stub, pieces: list[bytes], code: Code
) -> None:
    async with connected(stub.number) as client:
        client.write(*pieces)
        assert await left(client) is code


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", frames.PREFACE[:-1] + b"x"])
async def test_what_does_not_begin_as_http2_is_not_listened_to(stub: Stub, first: bytes) -> None:
    async with connected(stub.number, begins=False) as client:
        for byte in first:
            client.write(bytes((byte,)))
        assert await left(client) is Code.PROTOCOL_ERROR


async def test_headers_that_are_too_large_end_their_connection(stub: Stub) -> None:
    giant = (*CALL, ("x", "%" * 20_000))
    many = (*CALL, *(("a", "b") for _ in range(2000)))
    for pairs in (giant, many):
        async with connected(stub.number) as client:
            block = client.headers(1, pairs)[frames.HEAD.size :]
            client.write(frame(frames.HEADERS, 0, 1, block[:100]))
            for at in range(100, len(block), 5000):
                last = frames.END_HEADERS if at + 5000 >= len(block) else 0
                client.write(frame(frames.CONTINUATION, last, 1, block[at : at + 5000]))
            assert await left(client) is Code.ENHANCE_YOUR_CALM
    async with connected(stub.number) as client:  # CVE-2024-27316
        client.write(frame(frames.HEADERS, 0, 1, b"\x82"), frame(frames.CONTINUATION, 0, 1) * 100)
        assert await left(client) is Code.ENHANCE_YOUR_CALM


async def test_a_few_bytes_that_stand_for_many_headers_end_their_connection(stub: Stub) -> None:
    """The bomb of HPACK: an entry of 3 KB in the table, and a thousand bytes that point to it."""
    async with connected(stub.number) as client:
        client.write(client.headers(1, (*CALL, ("x", "y" * 3000))))
        client.write(frame(frames.HEADERS, frames.END_HEADERS, 3, b"\xbe" * 1000))
        assert await left(client) is Code.ENHANCE_YOUR_CALM


async def test_headers_that_no_client_needs_are_counted(stub: Stub) -> None:
    """Each costs time to decode."""
    async with connected(stub.number) as client:
        for number in range(1, 81, 2):  # twice what is borne, as above
            pairs = (*CALL, *((f"x-{number}-{n}", "y") for n in range(80)))
            client.write(client.headers(number, pairs, frames.END_HEADERS))
        assert await left(client) is Code.ENHANCE_YOUR_CALM


async def test_more_data_than_was_asked_for_ends_its_connection(stub: Stub) -> None:
    async with connected(stub.number) as client:
        client.write(client.headers(1), frame(frames.DATA, 0, 1, b"\0\0\1\0\0" + bytes(10_000)))
        for _ in range(200):
            client.write(frame(frames.DATA, 0, 1, bytes(10_000)))
        ended = await client.ended(1)  # a message of 64 KiB at most would do
        assert ended.get("grpc-status") in ("8", "3") or not ended


async def test_data_after_the_end_of_a_call_ends_its_connection(stub: Stub, gate: Any) -> None:
    async with connected(stub.number) as client:
        client.write(client.headers(1), client.data(1, infer("gated")), client.data(1, infer("gated")))
        assert await left(client) is Code.STREAM_CLOSED


async def test_parts_of_messages_hold_a_bounded_memory_and_the_oldest_goes(tmp_path: Path) -> None:
    few = {"max_arriving_bytes": 5 * BODY_BYTES}
    async with served(tmp_path, of_port=few) as stub:
        await answers(stub)
        async with connected(stub.number) as client:
            part = b"\0\0\0\x20\0" + bytes(6000)
            for number in range(1, 2 * 10, 2):
                client.write(client.headers(number), frame(frames.DATA, 0, number, part))
            ended = await client.ended(1)
            assert (ended["grpc-status"], ended["tenantry-reason"]) == ("8", "BodiesTooMany")
            assert stub.port.held_bytes <= 5 * BODY_BYTES
            await answers(stub)
        await until_soon(lambda: not stub.port.held_bytes)


async def test_an_answer_that_is_not_wanted_is_not_kept(tmp_path: Path, gate: Any) -> None:
    """A client whose windows are shut; one that does not read its socket at all."""
    async with served(tmp_path, of_port={"read_timeout_s": 0.5}) as stub:
        await answers(stub)
        async with connected(stub.number) as client:
            client.write(frame(frames.SETTINGS, 0, 0, b"\0\4\0\0\0\0"))
            client.write(client.headers(1), client.data(1, infer()))
            given_up = await client.until(frames.RST_STREAM)
            assert given_up is not None
            assert (given_up.stream, given_up.code) == (1, Code.CANCEL)
            client.write(client.headers(3), client.data(3, infer("nobody")))  # fits: it has no message
            assert (await client.ended(3))["grpc-status"] == "5"
        async with connected(stub.number) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.write(frame(frames.WINDOW_UPDATE, 0, 0, b"\x7f\0\0\0"))
            asked = infer(id="x" * 8000)
            number = 1
            while not client.writer.is_closing():  # the sockets between both fill; it sees the end then
                if client.writer.transport.get_write_buffer_size() < 1 << 20:
                    client.write(client.headers(number), client.data(number, asked))
                    number += 2
                await asyncio.sleep(0)
        await answers(stub)


async def test_a_connection_that_never_begins_is_closed(tmp_path: Path) -> None:
    async with served(tmp_path, of_port={"read_timeout_s": 0.2}) as stub:
        async with connected(stub.number, begins=False) as client:
            client.write(frames.PREFACE[:5])
            assert await client.until(frames.GOAWAY) is None
        await answers(stub)


async def test_streams_of_many_small_messages_do_not_hold_up_other_calls(stub: Stub) -> None:
    """They are answered a few at a time, and others in between."""
    async with connected(stub.number) as client:
        path = tuple((name, value.replace("ModelInfer", "ModelStreamInfer")) for name, value in CALL)
        message = client.data(1, infer(), flags=0)
        client.write(client.headers(1, path), *[message] * 300)
        await answers(stub)
        client.write(frame(frames.DATA, frames.END_STREAM, 1))
        assert (await client.ended(1))["grpc-status"] == "0"


async def test_changed_bytes_never_fail_in_here(stub: Stub) -> None:
    """Some bytes of a sound conversation are others, cut or doubled."""
    draw = random.Random(16)  # noqa: S311 - a test
    for _ in range(150):
        async with connected(stub.number, begins=False) as client:
            client.begin()
            sound = frames.PREFACE + frame(frames.SETTINGS, 0, 0)
            for number in (1, 3, 5):
                sound += client.headers(number) + client.data(number, infer("good", id=str(number)))
            changed = bytearray(sound + frame(frames.PING, 0, 0, bytes(8)))
            for _ in range(draw.randint(1, 5)):
                at = draw.randrange(len(frames.PREFACE), len(changed))
                if draw.random() < 0.7:
                    changed[at] = draw.randrange(256)
                else:
                    changed[at : at + draw.randrange(40)] = changed[at : at + draw.randrange(40)]
            client.write(bytes(changed[len(frames.PREFACE) + frames.HEAD.size :]))
            await client.writer.drain()
            client.writer.write_eof()
            async with asyncio.timeout(PATIENCE_S):
                while await client.frame() is not None:
                    pass


async def test_many_clients_at_once_leave_nothing(stub: Stub, gate: Any) -> None:
    """Each begins calls, of which some wait for a model, and is gone."""
    for _ in range(3):
        writers = []
        for _ in range(40):
            reader, writer = await asyncio.open_connection("127.0.0.1", stub.number)
            client = RawClient(reader, writer)
            client.begin()
            for number in range(1, 21, 2):
                client.write(
                    client.headers(number), client.data(number, infer(("good", "gated")[number % 4 > 1]))
                )
            client.write(client.headers(21), frame(frames.DATA, 0, 21, b"\0\0\0\x10\0" + bytes(1000)))
            writers.append(writer)
        await asyncio.gather(*(writer.drain() for writer in writers))
        for writer in writers:
            writer.transport.abort()
    await answers(stub)
    await until_soon(lambda: not stub.port.held_bytes and stub.port.connections == 1)


async def test_a_port_that_closes_lets_calls_end_and_turns_others_away(tmp_path: Path, gate: Any) -> None:
    async with served(tmp_path) as stub:
        await answers(stub)
        before = GatedModel.waiting
        waiting = asyncio.ensure_future(stub.send("ModelInfer", infer("gated"), timeout=PATIENCE_S))
        await until_soon(lambda: GatedModel.waiting > before)
        closing = asyncio.create_task(stub.port.close(PATIENCE_S))
        await asyncio.sleep(0)
        gate.set()
        assert list((await waiting).outputs[0].contents.fp64_contents) == [SUM - 100]
        await closing
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.send("ModelInfer", infer(), timeout=PATIENCE_S)
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
