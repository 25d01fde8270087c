"""An answer that is already bytes, for those who built it without aiohttp's response."""

from aiohttp import web

_UNSENT_BYTES = 1 << 16  # waits for a client that reads slower than it asks


class WholeAnswer(web.StreamResponse):
    """An answer that is already the bytes of its head and body, for a connection that stays open.

    What an access log asks for is there; it has no headers to add to.
    """

    def __init__(self, wire: bytes, body_length: int, status: int = 200) -> None:
        self._wire = wire
        self._length = body_length
        self._code = status

    @property
    def status(self) -> int:
        """Of the answer."""
        return self._code

    @property
    def body_length(self) -> int:
        """Bytes, the head not counted."""
        return self._length

    @property
    def keep_alive(self) -> bool | None:
        """Only such connections get one."""
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send all of it."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        transport.write(self._wire)
        if transport.get_write_buffer_size() > _UNSENT_BYTES:
            await request.writer.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""
