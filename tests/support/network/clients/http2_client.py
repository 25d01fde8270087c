"""A client of HTTP/2 that writes whatever frames a test wants, and reads what comes back."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from hpack import Decoder, Encoder

from tenantry_server.grpc_v2.http2 import frames
from tenantry_server.grpc_v2.messages import SERVICE
from tests.support.waiting import PATIENCE_S

CALL = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", f"/{SERVICE}/ModelInfer"),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)


class Frame(NamedTuple):
    """A frame that arrived."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """Why a stream or a connection ended."""
        return int.from_bytes(
            self.payload[:4] if self.kind == frames.RST_STREAM else self.payload[4:8], "big"
        )


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._encoder = Encoder()
        self._decoder = Decoder()

    def write(self, *data: bytes) -> None:
        """Send, without waiting that it is read."""
        self.writer.write(b"".join(data))

    def begin(self) -> None:
        """Send what begins a connection."""
        self.write(frames.PREFACE, frames.frame(frames.SETTINGS, 0, 0))

    def headers(
        self, stream: int, pairs: Iterable[tuple[str, str]] = CALL, flags: int = frames.END_HEADERS
    ) -> bytes:
        """Return the headers of a call."""
        return frames.frame(frames.HEADERS, flags, stream, bytes(self._encoder.encode(list(pairs))))

    def data(self, stream: int, message: Any, flags: int = frames.END_STREAM) -> bytes:
        """Return a message of a call."""
        text = message.SerializeToString()
        return frames.frame(frames.DATA, flags, stream, b"\0" + len(text).to_bytes(4, "big") + text)

    async def frame(self) -> Frame | None:
        """Wait for the next frame; None: the connection has ended."""
        try:
            high, low, kind, flags, stream = frames.HEAD.unpack(
                await self.reader.readexactly(frames.HEAD.size)
            )
            return Frame(kind, flags, stream, await self.reader.readexactly(high << 8 | low))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def until(self, kind: int, stream: int | None = None, flags: int = 0) -> Frame | None:
        """Wait for a frame of a kind; None: the connection ended before."""
        async with asyncio.timeout(PATIENCE_S):
            while (frame := await self.frame()) is not None:
                if frame.kind == kind and stream in (None, frame.stream) and frame.flags & flags == flags:
                    return frame
        return None

    async def ended(self, stream: int) -> dict[str, str]:
        """Wait for the headers that end an answer, and return them; empty: there are none."""
        async with asyncio.timeout(PATIENCE_S):
            while (frame := await self.frame()) is not None:
                if frame.kind == frames.HEADERS:  # each in turn, for the decoder's table
                    found = dict(self._decoder.decode(frame.payload))
                    if frame.stream == stream and frame.flags & frames.END_STREAM:
                        return {str(name): str(value) for name, value in found.items()}
        return {}


@asynccontextmanager
async def connected(port: int, *, begins: bool = True) -> AsyncIterator[RawClient]:
    """A connection to a port of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = RawClient(reader, writer)
    if begins:
        client.begin()
    try:
        yield client
    finally:
        writer.close()
