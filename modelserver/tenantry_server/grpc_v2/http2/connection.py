"""One connection of a client: its frames as they arrive, its calls, and how much of its doing is borne.

What arrives is read at once, and what is answered at once leaves with one write. Everything that a client
may have waiting here has a bound, in number or in bytes; what takes too long is looked for by `check`.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from tenantry_server.grpc_v2.http2 import frames
from tenantry_server.grpc_v2.http2.control import Control
from tenantry_server.grpc_v2.http2.frames import Code, Fault
from tenantry_server.grpc_v2.http2.header_blocks import MOST_BYTES, HeaderBlocks
from tenantry_server.grpc_v2.http2.patience import Patience
from tenantry_server.grpc_v2.http2.reading import FrameReader
from tenantry_server.grpc_v2.http2.receiving import STREAM_WINDOW_BYTES, WINDOW_BYTES, Receiving
from tenantry_server.grpc_v2.http2.sending import Sending
from tenantry_server.grpc_v2.http2.stream import Stream

_STREAMS = 100  # at once, as most servers have it
_TINY_BYTES = 64  # of a piece of a message that is not its last
_IDLE_S = 600.0
_GONE_S = 5.0  # for the other end to read why it is left

Opens = Callable[["Connection", int, Any], Stream]


class Connection(asyncio.Protocol):
    """A client's connection.

    Args:
        heads: reads headers.
        opens: makes the calls.
        every: the connections of this port; holds this one while it is open.
    """

    def __init__(self, heads: HeaderBlocks[Any], opens: Opens, every: "set[Connection]") -> None:
        self._loop = asyncio.get_running_loop()
        self._heads = heads
        self._opens = opens
        self._every = every
        self._streams: dict[int, Stream] = {}
        self._patience = Patience(self._loop.time)
        self._failed = False
        self._last = 0  # stream that was opened
        self._opened = 0  # streams, by what arrived last
        self._leaves_s: float | None = None  # when it was told so
        self._born_s = self._seen_s = self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what this end bears."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has another base class
        self.sending = Sending(self._transport, self._loop.time)
        self.receiving = Receiving(self.sending.write)
        control = Control(self.sending, self._patience, self._streams)
        handlers = {
            frames.DATA: self._on_data,
            frames.RST_STREAM: self._on_reset,
            frames.SETTINGS: control.on_settings,
            frames.PING: control.on_ping,
            frames.WINDOW_UPDATE: self._on_credit,
        }
        self._reader = FrameReader(self._on_headers, handlers, self._patience)
        self._every.add(self)
        settings = frames.own_settings(_STREAMS, STREAM_WINDOW_BYTES, MOST_BYTES)
        self.sending.write(settings + frames.credit(0, WINDOW_BYTES - frames.DEFAULT_WINDOW_BYTES))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's own name
        """End every call."""
        self._every.discard(self)
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            stream.cancel()

    def pause_writing(self) -> None:
        """Read nothing more from a client that reads nothing."""
        self.sending.pause()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._transport.resume_reading()
        self.sending.resume()

    def data_received(self, data: bytes) -> None:
        """Read frames, and answer what can be answered at once."""
        self._seen_s = self._loop.time()
        if self._failed:
            return
        self._opened = 0
        with self.sending.together():
            try:
                self._reader.read(data)
            except Fault as fault:
                self._fail(fault)

    def done(self, stream: Stream) -> None:
        """Forget a call that has its whole answer."""
        if self._streams.pop(stream.number, None) is None:
            return
        self._patience.rewarded()
        if not stream.ended:  # the client still sends: it need not
            self.sending.write(frames.reset(stream.number, Code.NO_ERROR))
        if self._leaves_s is not None and not self._streams:
            self._transport.close()

    def leave(self) -> None:
        """Take no further call; end once those under way have ended."""
        if self._leaves_s is None:
            self._leaves_s = self._loop.time()
            self.sending.write(frames.goaway(self._last, Code.NO_ERROR))
        if not self._streams:
            self._transport.close()

    def abort(self) -> None:
        """End now, whatever is under way."""
        self._transport.abort()

    def check(self, now_s: float, timeout_s: float) -> None:
        """Give up what has taken too long: a connection to begin, and a client to read, `timeout_s`."""
        left_s = None if self._leaves_s is None or self._streams else now_s - self._leaves_s
        mute = not self._reader.prefaced and now_s - self._born_s > timeout_s
        if mute or (left_s or 0) > _GONE_S or self.sending.is_stuck(now_s, timeout_s):
            self._transport.abort()
        elif not self._streams and now_s - self._seen_s > _IDLE_S:
            self.leave()
        for stream in list(self._streams.values()):
            if stream.is_unread(now_s, timeout_s):
                self.sending.write(frames.reset(stream.number, Code.CANCEL))
                self._drop(stream)
            else:
                stream.check(now_s)

    def _on_headers(self, flags: int, number: int, block: bytes) -> None:
        head, excess = self._heads.read(block)
        if excess:
            self._patience.tried(excess)
        if number in self._streams:
            if not flags & frames.END_STREAM:
                raise Fault(Code.PROTOCOL_ERROR, "a call has two beginnings")
            self._streams[number].ended = True
            self._streams[number].arrived(b"")
            return
        if not number % 2:
            raise Fault(Code.PROTOCOL_ERROR, "a client's stream has an odd number")
        if number <= self._last:
            self._patience.tried()  # it crossed the end of its answer
            return
        self._last = number
        if self._leaves_s is not None:
            return
        self._opened += 1
        crowded = len(self._streams) >= _STREAMS or self._opened > _STREAMS
        if crowded or self.sending.is_full(self._streams):
            self._patience.tried()
            self.sending.write(frames.reset(number, Code.REFUSED_STREAM))
            return
        stream = self._opens(self, number, head)
        stream.window_bytes = self.sending.first_window_bytes
        stream.credit_bytes = STREAM_WINDOW_BYTES
        self._streams[number] = stream
        stream.begin()
        if flags & frames.END_STREAM:
            stream.ended = True
            stream.arrived(b"")

    def _on_data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self.receiving.took(size)
        stream = self._streams.get(number)
        if stream is None:
            self._stray(number)
            return
        self.receiving.took_of(stream, size)
        if flags & frames.PADDED:
            payload = frames.content(frames.DATA, flags, payload)
        stream.ended = bool(flags & frames.END_STREAM)
        if len(payload) < _TINY_BYTES and not stream.ended:
            self._patience.tried()
        stream.arrived(payload)

    def _on_reset(self, _flags: int, number: int, payload: bytes) -> None:
        frames.number_of(payload)
        if number not in self._streams:
            self._stray(number)
            return
        self._patience.tried(Patience.CANCELLED)
        self._drop(self._streams[number])

    def _on_credit(self, _flags: int, number: int, payload: bytes) -> None:
        self._patience.tried()
        size = frames.number_of(payload) & frames.MOST_WINDOW_BYTES
        if not size:
            raise Fault(Code.PROTOCOL_ERROR, "a window that grows by nothing")
        stream = self._streams.get(number)
        if number and stream is None:
            self._stray(number)
        else:
            self.sending.grow(size, stream)

    def _stray(self, number: int) -> None:
        """Bear a frame of a call that has ended."""
        if number > self._last or not number % 2:
            raise Fault(Code.PROTOCOL_ERROR, "a frame of a call that did not begin")
        self._patience.tried()

    def _drop(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)
        self.sending.forget(stream)
        stream.cancel()

    def _fail(self, fault: Fault) -> None:
        self._failed = True
        self._reader.forget()
        for stream in list(self._streams.values()):
            self._drop(stream)
        self.sending.write(frames.goaway(self._last, fault.code, str(fault)))
        self.sending.flush()
        self._leaves_s = self._loop.time()
        if self._transport.can_write_eof():  # closed with something unread, the other end would not see why
            self._transport.write_eof()
        else:
            self._transport.close()
