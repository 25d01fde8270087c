"""Clients that send slowly, or not at all: they hold a bounded share of a server, for a bounded time."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from aiohttp.test_utils import TestServer

from tenantry_server.wire import bodies, connections
from tests.support.tenants.registered import Tenants
from tests.support.waiting import until_soon

MIB = 1 << 20
READ_S = 0.5
ROWS = b'[{"a": 1, "b": 2}]'


@asynccontextmanager
async def listening(tenants: Tenants, **limits: Any) -> AsyncIterator[Any]:
    async with TestServer(tenants.app(**limits)) as server:
        assert server.runner is not None
        assert server.runner.server is not None
        closing = asyncio.create_task(connections.close_mute(server.runner.server, READ_S))
        try:
            yield server
        finally:
            for slow in Slow.open:
                slow.writer.transport.abort()
            Slow.open.clear()
            closing.cancel()


class Slow:
    """A connection that a test writes to piece by piece; `listening` closes it."""

    open: ClassVar[list["Slow"]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, server: TestServer) -> "Slow":
        cls.open.append(cls(*await asyncio.open_connection("127.0.0.1", server.port)))
        return cls.open[-1]

    def head(self, length: int, *, path: str = "/predict/good", chunked: bool = False) -> None:
        size = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % length
        self.writer.write(b"POST %b HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % (path.encode(), size))

    async def answer(self) -> tuple[int, dict[str, object]]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line for line in head.split("\r\n") if line.lower().startswith("content-length"))
        body = await self.reader.readexactly(int(length.split(":")[1]))
        return int(head.split()[1]), json.loads(body)["error"]

    async def ended(self) -> bool:
        """Once the server has closed it."""
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True


@pytest.mark.parametrize("sent", [b"", b"P", b"POST /predict/good HTTP/1.1\r\nHost: a\r\nX-"], ids=len)
async def test_a_connection_on_which_no_request_arrives_is_closed(tenants: Tenants, sent: bytes) -> None:
    async with listening(tenants) as server:
        slow = await Slow.to(server)
        slow.writer.write(sent)
        assert await slow.ended()


async def test_a_connection_that_made_a_request_may_be_idle_for_longer(tenants: Tenants) -> None:
    """Load balancers keep theirs for a minute."""
    async with listening(tenants) as server:
        used, mute = await Slow.to(server), await Slow.to(server)
        for _ in range(2):
            used.head(len(ROWS))
            used.writer.write(ROWS)
            head = await used.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            await used.reader.readexactly(7)
            assert await mute.ended()
            mute = await Slow.to(server)


@pytest.mark.parametrize("path", ["/predict/good", "/v1/models/good:predict", "/v2/models/good/infer"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_does_not_arrive_in_time_is_answered_and_dropped(
    tenants: Tenants, path: str, chunked: bool
) -> None:
    async with listening(tenants, read_timeout_s=READ_S) as server:
        slow = await Slow.to(server)
        slow.head(1000, path=path, chunked=chunked)
        slow.writer.write(b'5\r\n[{"a"\r\n' if chunked else b"[{")
        head = (await slow.reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 408")
        assert "Tenantry-Reason: BodyTimeout" in head
        assert "Connection: close" in head
        assert len(server.app[bodies.ARRIVING]) == 0
        neighbour = await Slow.to(server)
        neighbour.head(len(ROWS))
        neighbour.writer.write(ROWS)
        assert (await neighbour.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_what_unfinished_bodies_hold_together_is_bounded(tenants: Tenants) -> None:
    """The oldest are refused; one that arrives as fast as it can is answered meanwhile."""
    async with listening(tenants, max_arriving_bytes=2 * MIB, max_body_bytes=MIB) as server:
        arriving = server.app[bodies.ARRIVING]
        slow = []
        for _ in range(12):
            slow.append(await Slow.to(server))
            slow[-1].head(MIB)
            slow[-1].writer.write(b" " * (MIB // 2))
            await until_soon(lambda: len(arriving) == min(len(slow), 4))
            assert arriving.held_bytes <= 2 * MIB
        for refused in slow[:8]:
            status, error = await refused.answer()
            assert (status, error["reason"]) == (503, "BodiesTooMany")
        quick = await Slow.to(server)  # takes the room of two more
        body = ROWS + b" " * (MIB - len(ROWS))
        quick.head(len(body))
        quick.writer.write(body)
        assert (await quick.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        for left in slow[10:]:
            left.writer.write(b" " * (MIB // 2 - len(ROWS)) + ROWS)
            assert (await left.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert (len(arriving), arriving.held_bytes) == (0, 0)


async def test_bodies_over_the_limit_leave_the_count_as_it_was(tenants: Tenants) -> None:
    """Else each would allow the others a little more."""
    async with listening(tenants, max_body_bytes=1000) as server:
        for _ in range(3):
            large = await Slow.to(server)
            large.head(MIB)
            large.writer.write(b" " * MIB)
            assert (await large.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413")
        arriving = server.app[bodies.ARRIVING]
        assert (len(arriving), arriving.held_bytes) == (0, 0)


async def test_a_client_that_leaves_is_no_longer_counted(tenants: Tenants) -> None:
    async with listening(tenants) as server:
        arriving = server.app[bodies.ARRIVING]
        slow = await Slow.to(server)
        slow.head(MIB)
        slow.writer.write(b" " * 1000)
        await until_soon(lambda: arriving.held_bytes == 1000)
        slow.writer.transport.abort()
        await until_soon(lambda: len(arriving) == 0)
        assert arriving.held_bytes == 0
