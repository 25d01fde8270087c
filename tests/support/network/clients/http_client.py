"""A small HTTP/1.1 client for load: 60 us a request, so that it leaves the machine to the servers."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import cast


class Refused(Exception):
    """Nobody listens there: nothing was sent."""


class Lost(Exception):
    """The connection ended before the answer was there."""


class Silent(Exception):
    """No answer in time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        headers: names in small letters.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class Connections:
    """Kept-alive connections to ports of this machine, as many as there are requests at once."""

    def __init__(self) -> None:
        self._idle: defaultdict[int, list[_Connection]] = defaultdict(list)

    async def post(self, port: int, path: str, body: bytes, *, timeout_s: float) -> Reply:
        """Send one request and wait for its answer; nothing is sent twice.

        Raises:
            Refused, Lost, Silent: there was no answer.
        """
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
        return await self._exchange(port, head.encode() + body, timeout_s)

    async def get(self, port: int, path: str, *, timeout_s: float) -> Reply:
        """As `post`, without a body."""
        return await self._exchange(
            port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode(), timeout_s
        )

    async def _exchange(self, port: int, message: bytes, timeout_s: float) -> Reply:
        idle = self._idle[port]
        while idle:
            connection = idle.pop()
            if connection.open:
                break
        else:
            connection = await _connect(port, timeout_s)
        try:
            reply = await connection.exchange(message, timeout_s)
        except BaseException:  # cancelled too: an answer that comes later is nobody's
            connection.close()
            raise
        if connection.open and reply.headers.get("connection") != "close":
            idle.append(connection)
        else:
            connection.close()
        return reply

    def close(self) -> None:
        """End those that are idle."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()


async def _connect(port: int, timeout_s: float) -> "_Connection":
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
    except ConnectionError as error:
        raise Refused from error
    except TimeoutError as error:
        raise Silent from error
    return connection


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._data = bytearray()
        self._head: tuple[int, dict[str, str]] | None = None
        self._length = 0

    @property
    def open(self) -> bool:
        return self._transport is not None

    async def exchange(self, message: bytes, timeout_s: float) -> Reply:
        if self._transport is None:
            raise Lost
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        self._timer = loop.call_later(timeout_s, self._fail, Silent())
        self._transport.write(message)
        try:
            return await self._waiter
        finally:
            self._timer.cancel()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own derives from nothing

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's own name
        self._transport = None
        self._fail(Lost())

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._head is None:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = _head(bytes(self._data[:end]))
            self._length = int(self._head[1]["content-length"])
            del self._data[: end + 4]
        if len(self._data) < self._length:
            return
        status, headers = self._head
        reply = Reply(status, headers, bytes(self._data[: self._length]))
        self._head = None
        del self._data[: self._length]
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(reply)

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
            self.close()


def _head(text: bytes) -> tuple[int, dict[str, str]]:
    first, *rest = text.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in rest)
    return int(first.split(" ", 2)[1]), {name.lower(): value.strip() for name, _, value in fields}
