"""Asks this server's own application, over pairs of sockets inside the process: nothing listens."""

import asyncio
import socket
from collections.abc import Callable
from typing import NamedTuple, cast

_MAX_HEAD_BYTES = 1 << 16
_IDLE = 64  # connections kept; one more is made where all of them are in use
_LENGTH = b"\r\ncontent-length:"


class Lost(Exception):
    """The application closed a connection before it had answered."""


class HttpAnswer(NamedTuple):
    """One answer.

    Attributes:
        status: of HTTP.
        headers: by their names in lower case.
        body: all of it.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class Application:
    """Sends requests to an application, each over a connection that no other request uses meanwhile.

    Args:
        protocol: makes the application's end of a connection, as `aiohttp.web.Server` does.
    """

    def __init__(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._protocol = protocol
        self._idle: list[_Connection] = []

    async def ask(self, head: bytes, body: bytes) -> HttpAnswer:
        """Send a request and read its answer.

        Args:
            head: the request line and every header, an empty line at the end.

        Raises:
            Lost: there will be no answer.
        """
        connection = await self._free()
        try:
            return await connection.ask(head, body)
        finally:
            if connection.reusable and len(self._idle) < _IDLE:
                self._idle.append(connection)
            else:  # a caller that left: the application sees its connection end, and stops working
                connection.close()

    def close(self) -> None:
        """End the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    async def _free(self) -> "_Connection":
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        loop = asyncio.get_running_loop()
        mine, other = socket.socketpair()
        mine.setblocking(False)
        other.setblocking(False)
        await loop.connect_accepted_socket(self._protocol, other)
        _, connection = await loop.create_connection(_Connection, sock=mine)
        return connection


class _Connection(asyncio.Protocol):
    """One connection: a request at a time, and answers that have a Content-Length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._received = bytearray()
        self._keeps = True

    @property
    def reusable(self) -> bool:
        return self._keeps and self._transport is not None and self._answer is None

    async def ask(self, head: bytes, body: bytes) -> HttpAnswer:
        if self._transport is None:
            raise Lost("the connection was closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head + body)
        return await self._answer

    def close(self) -> None:
        self._keeps = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            if len(self._received) > _MAX_HEAD_BYTES:
                self._end(Lost("its headers are too long"))
            return
        at = self._received.lower().find(_LENGTH, 0, end + 2)
        if at < 0:
            self._end(Lost("the answer has no Content-Length"))
            return
        begin = at + len(_LENGTH)
        whole = end + 4 + int(self._received[begin : self._received.index(b"\r\n", begin)])
        if len(self._received) >= whole:
            head, body = bytes(self._received[:end]), bytes(self._received[end + 4 : whole])
            del self._received[:whole]
            self._end(_read(head, body))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._end(Lost("the connection was closed" if exc is None else str(exc)))

    def _end(self, result: HttpAnswer | Lost) -> None:
        answer, self._answer = self._answer, None
        if isinstance(result, Lost) or result.headers.get("connection", "").lower() == "close":
            self._keeps = False
        if answer is None or answer.done():
            return
        if isinstance(result, Lost):
            answer.set_exception(result)
        else:
            answer.set_result(result)


def _read(head: bytes, body: bytes) -> HttpAnswer:
    first, *lines = head.decode("utf-8", "replace").split("\r\n")
    parts = (line.partition(":") for line in lines)
    return HttpAnswer(int(first[9:12]), {name.lower(): value.strip() for name, _, value in parts}, body)
