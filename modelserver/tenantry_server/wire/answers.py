"""Answers that are already bytes: small ones without aiohttp's response, large ones piece by piece."""

import asyncio

from aiohttp import web

_PIECE_BYTES = 256 << 10
_UNSENT_BYTES = 1 << 16  # more than this waits for a client that reads slowly


class WholeAnswer(web.StreamResponse):
    """The bytes of a head and a body, for a connection that stays open.

    It has what an access log asks for, and no headers to add to.
    """

    def __init__(self, wire: bytes, body_length: int, status: int = 200) -> None:
        self._wire = wire
        self._length = body_length
        self._code = status

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._code

    @property
    def body_length(self) -> int:
        """Bytes of the body."""
        return self._length

    def header(self, name: str) -> str | None:
        """Return one of its headers; None: it has none of this name."""
        return header_of(self._wire, name)

    @property
    def keep_alive(self) -> bool | None:
        """Always True: only connections that stay open get such an answer."""
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send the whole answer."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        transport.write(self._wire)
        if transport.get_write_buffer_size() > _UNSENT_BYTES:
            await request.writer.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the whole answer was sent."""


class LargeAnswer(web.Response):
    """A response whose body leaves in pieces: the whole would be copied while everything else waits."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the body, others between its pieces."""
        body = self.body
        if type(body) is not bytes or len(body) <= _PIECE_BYTES:
            await super().write_eof(data)
            return
        view = memoryview(body)
        for at in range(0, len(body), _PIECE_BYTES):
            await self.write(view[at : at + _PIECE_BYTES])
            await asyncio.sleep(0)
        await web.StreamResponse.write_eof(self)


def header_of(wire: bytes, name: str) -> str | None:
    """Return a header of an answer that is bytes; None: it has none of this name."""
    head = wire[: wire.find(b"\r\n\r\n") + 2]
    at = head.lower().find(f"\r\n{name.lower()}: ".encode())
    if at < 0:
        return None
    begin = at + len(name) + 4
    return head[begin : head.index(b"\r\n", begin)].decode("latin-1")
