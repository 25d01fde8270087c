"""A peer that does on the wire exactly what a test says, and remembers what it was sent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Script = Callable[["Exchange"], Awaitable[None]]
"""What becomes of one request; its connection is closed when it raises `asyncio.IncompleteReadError`."""


class Exchange:
    """One request as it came, and the connection to answer it on.

    Attributes:
        number: of the request, counted over all connections, probes not counted.
        connection: of the connection that it came on, by the first request of each; 0 of a probe's.
        head: the request line and headers.
    """

    def __init__(
        self,
        number: int,
        connection: int,
        head: str,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.number = number
        self.connection = connection
        self.head = head
        self._reader, self.writer = streams

    def header(self, name: str) -> str | None:
        """The value of one header of the request."""
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key.lower() == name.lower():
                return value
        return None

    async def body(self) -> bytes:
        """All of it."""
        length = self.header("Content-Length")
        if length is not None:
            return await self._reader.readexactly(int(length))
        body = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)
        return body

    async def some(self, size_bytes: int) -> None:
        """So much of it and of the words between, and no more."""
        await self._reader.readexactly(size_bytes)

    async def answer(self, body: bytes = b"[1.0]", status: int = 200, **headers: str) -> None:
        """Answer as a server of ours does; `a_b` names the header A-B."""
        named = {"Tenantry-Server": "peer", "Content-Type": "application/json"}
        named["Content-Length"] = str(len(body))
        named |= {key.replace("_", "-"): value for key, value in headers.items()}
        lines = [f"HTTP/1.1 {status} OK", *(f"{key}: {value}" for key, value in named.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await self.writer.drain()

    def cut(self) -> None:
        """End the connection without a word."""
        self.writer.transport.abort()

    async def left(self) -> None:
        """Return once the client has closed the connection."""
        with suppress(ConnectionError):
            await self._reader.read()


class ScriptedPeer:
    """A listening server.

    Attributes:
        url: its address.
        seen: every request so far, probes not counted.
        probes: how often it was asked for /healthz.
        connections: how many there were, those of probes not counted.
        answers_probes: whether it does.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""
        self.seen: list[Exchange] = []
        self.probes = 0
        self.connections = 0
        self._used = 0  # connections on which a request came
        self.answers_probes = True

    async def start(self) -> None:
        port = int(self.url.rsplit(":", 1)[1]) if self.url else 0
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Refuse new connections, and end those that are open."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        connection = 0
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().strip()
                if head.startswith("GET /healthz "):
                    await self._probed(Exchange(len(self.seen), 0, head, (reader, writer)))
                    continue
                if not connection:
                    self._used += 1
                    connection = self._used
                exchange = Exchange(len(self.seen), connection, head, (reader, writer))
                self.seen.append(exchange)
                await self._script(exchange)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _probed(self, exchange: Exchange) -> None:
        self.probes += 1
        self.connections -= 1  # each has one of its own
        if not self.answers_probes:
            await exchange.left()
        await exchange.answer(b"{}")


@asynccontextmanager
async def running(script: Script) -> AsyncIterator[ScriptedPeer]:
    """A peer named "peer" that listens until the block ends."""
    peer = ScriptedPeer(script)
    await peer.start()
    try:
        yield peer
    finally:
        await peer.stop()
