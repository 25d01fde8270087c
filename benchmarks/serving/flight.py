"""A crowd at the door of one cold tenant: how often its artifact is fetched."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
from tests.support.stores import s3

from benchmarks.operator.report import quantile
from benchmarks.serving import ours, store
from benchmarks.serving.endpoint import Endpoint
from benchmarks.serving.options import Options
from benchmarks.serving.report import Row, quantiles
from benchmarks.serving.store import Store
from benchmarks.serving.tenants import Tenants, linear_answers

_AT_ONCE = 1000
_TENANTS = 3
_CHUNK_BYTES = 1 << 16


def flight(options: Options) -> list[Row]:
    """Each tenant gets its crowd, one after the other."""
    return asyncio.run(_flight(options))


async def _flight(options: Options) -> list[Row]:
    tenants = Tenants("ridge", options.folder / "flight", _TENANTS)
    at_once = options.scaled(_AT_ONCE)
    with ExitStack() as stack:
        held = store.hold(stack.enter_context(s3.running()), tenants)
        async with _Gate(held).open() as gate:
            running = ours.running(
                tenants, held.model_ids, tenants.folder / "ours", held.settings(gate.url)
            )
            own = await asyncio.to_thread(stack.enter_context, running)
            took_ms = [ms for n in range(_TENANTS) for ms in await _crowd(own, n, at_once, gate)]
            await asyncio.to_thread(stack.close)  # first, so that its connections end of themselves
    gets = [gate.gets.get(f"/{held.bucket}/{key}", 0) for key in held.keys]
    return [
        Row(
            f"{at_once:,} requests at once to one cold tenant, {_TENANTS} times",
            "GETs at the S3 server",
            ", ".join(map(str, gets)),
            target="exactly 1 each",
            met=gets == [1] * _TENANTS,
            ours_ms=quantiles(quantile(took_ms, 0.5), quantile(took_ms, 0.99)),
        )
    ]


async def _crowd(own: Endpoint, n: int, at_once: int, gate: "_Gate") -> list[float]:
    """Milliseconds of each request; no GET passes the gate before the last of them was sent."""
    expected = linear_answers(n + 1)[n]
    sent = 0
    gate.shut()

    async def count(*_: object) -> None:
        nonlocal sent
        sent += 1
        if sent == at_once:
            gate.let_pass()

    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(count)

    async def one(session: aiohttp.ClientSession) -> float:
        began_s = time.perf_counter()
        path, headers = own.requests[n].path, own.requests[n].headers
        async with session.post(path, data=own.body, headers=headers) as response:
            answer = await response.json()
            assert response.status == 200, answer
        assert abs(own.read(answer) - expected) <= 1e-9 * abs(expected), answer
        return (time.perf_counter() - began_s) * 1e3

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(own.url, connector=connector, trace_configs=[trace]) as session:
        return list(await asyncio.gather(*(one(session) for _ in range(at_once))))


class _Gate:
    """A TCP proxy before the S3 server that counts GETs by path, and may keep them waiting.

    It takes every request for one without a body, as those of a reader are.

    Attributes:
        url: of the proxy, once it is open.
        gets: path -> how many GETs the S3 server was sent.
    """

    def __init__(self, held: Store) -> None:
        upstream = urlsplit(held.url)
        self._upstream = (str(upstream.hostname), int(upstream.port or 80))
        self._passes = asyncio.Event()
        self._passes.set()
        self._open: set[asyncio.Task[None] | None] = set()
        self.url = ""
        self.gets: dict[str, int] = {}

    def shut(self) -> None:
        self._passes.clear()

    def let_pass(self) -> None:
        self._passes.set()

    @asynccontextmanager
    async def open(self) -> "AsyncIterator[_Gate]":
        """Listen for as long as the block."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            await asyncio.gather(*(each for each in self._open if each is not None))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(asyncio.current_task())
        from_s3, to_s3 = await asyncio.open_connection(*self._upstream)
        back = asyncio.create_task(_copy(from_s3, writer))
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                verb, path, _ = head.decode("latin-1").split(" ", 2)
                await self._passes.wait()
                if verb == "GET":
                    self.gets[path] = self.gets.get(path, 0) + 1
                to_s3.write(head)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the server under test has closed it
        finally:
            to_s3.close()
            writer.close()
            await back


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
