"""The bytes of an exchange between servers, however the network cuts them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tenantry_server.peers.answers.answer import PeerAnswer, PeerLost
from tenantry_server.peers.answers.heads import HeadReader
from tenantry_server.peers.sending.connection import PeerConnection
from tests.support.waiting import until_soon

ANSWER = b"HTTP/1.1 200 OK\r\nTenantry-Server: peer\r\nX: 1\r\nContent-Length: 5\r\n\r\n[1.0]"
ASKED = b"GET / HTTP/1.1\r\n\r\n"


class Sink(asyncio.Transport):
    """Takes whatever is written."""

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        pass


@asynccontextmanager
async def connection(answer: Callable[[asyncio.StreamWriter], None]) -> AsyncIterator[PeerConnection]:
    """To a server that answers each request with whatever `answer` writes."""
    tasks: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    _, made = await loop.create_connection(lambda: PeerConnection(HeadReader("peer")), "127.0.0.1", port)
    try:
        yield made
    finally:
        made.fail(PeerLost("the test is over"))
        server.close()
        await asyncio.gather(*filter(None, tasks))
        await asyncio.sleep(0)  # the sockets close in the loop's next turn


@pytest.mark.parametrize("size_bytes", [1, 2, 3, 7, 20, 64])
def test_an_answer_may_come_in_pieces_of_any_size(size_bytes: int) -> None:
    async def exchange() -> PeerAnswer:
        made = PeerConnection(HeadReader("peer"))
        made.connection_made(Sink())
        asking = asyncio.create_task(made.ask(ASKED, b""))
        await asyncio.sleep(0)
        for cut in range(0, len(ANSWER), size_bytes):
            assert not asking.done()
            made.data_received(ANSWER[cut : cut + size_bytes])
        answer = await asking
        assert made.reusable
        return answer

    answer = asyncio.run(exchange())
    assert (answer.status, answer.body) == (200, b"[1.0]")
    assert dict(answer.headers()) == {"Tenantry-Server": "peer"}


async def test_a_connection_serves_one_request_after_another() -> None:
    async with connection(lambda writer: writer.write(ANSWER)) as made:
        for _ in range(3):
            assert (await made.ask(ASKED, b"")).body == b"[1.0]"
            assert made.reusable


WRONG = {
    "another server": ANSWER.replace(b"peer", b"p33r"),
    "no server": ANSWER.replace(b"Tenantry-Server", b"Server"),
    "no length": ANSWER.replace(b"Content-Length: 5", b"Connection: close"),
    "a length that is not a number": ANSWER.replace(b"Length: 5", b"Length: -5"),
    "a body that would not fit": ANSWER.replace(b"Length: 5", b"Length: 999999999999"),
    "a longer body": ANSWER + b"!",
    "no HTTP": b"220 smtp.example ESMTP\r\n\r\n",
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER,
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000,
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_no_server_of_ours_says_is_no_answer(what: str) -> None:
    async with connection(lambda writer: writer.write(WRONG[what])) as made:
        with pytest.raises(PeerLost) as lost:
            await made.ask(ASKED, b"")
        assert not lost.value.stale
        assert not made.reusable


async def test_who_says_something_unasked_is_not_asked_again() -> None:
    """It would be taken for the answer to the next request."""

    def twice(writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER)
        asyncio.get_running_loop().call_later(0.01, writer.write, ANSWER)

    async with connection(twice) as made:
        assert (await made.ask(ASKED, b"")).body == b"[1.0]"
        await until_soon(lambda: not made.reusable)


async def test_only_an_old_connection_that_said_nothing_may_have_been_closed_meanwhile() -> None:
    answers = [ANSWER, b""]

    def answer(writer: asyncio.StreamWriter) -> None:
        text = answers.pop(0)
        writer.write(text)
        if not text:
            writer.transport.abort()

    async with connection(answer) as made:
        await made.ask(ASKED, b"")
        with pytest.raises(PeerLost) as lost:
            await made.ask(ASKED, b"")
        assert lost.value.stale
        with pytest.raises(PeerLost) as lost:
            await made.ask(ASKED, b"")
        assert lost.value.stale
    for first in (b"", ANSWER[:-1]):  # at the start, and in the middle of an answer
        answers[:] = [first]

        def cut(writer: asyncio.StreamWriter) -> None:
            writer.write(answers[0])
            writer.close()

        async with connection(cut) as made:
            with pytest.raises(PeerLost) as lost:
                await made.ask(ASKED, b"")
            assert not lost.value.stale


async def test_who_gives_up_waiting_spoils_the_connection() -> None:
    """Its answer may still come."""
    async with connection(lambda _: None) as made:
        asking = asyncio.create_task(made.ask(ASKED, b""))
        await until_soon(lambda: made.waits_since_s is not None)
        asking.cancel()
        await asyncio.wait([asking])
        assert not made.reusable
