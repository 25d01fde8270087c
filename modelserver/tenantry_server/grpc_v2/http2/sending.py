"""What leaves over a connection: as much as the other end's windows take, the rest when they grow."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tenantry_server.grpc_v2.http2 import frames
from tenantry_server.grpc_v2.http2.frames import Code, Fault
from tenantry_server.grpc_v2.http2.stream import Stream

_MOST_UNSENT_BYTES = 4 << 20  # that a client may leave unread before it gets no further call


class Sending:
    """Writes frames.

    Args:
        transport: that they leave by.
        clock_s: seconds, never going back.

    Attributes:
        first_window_bytes: of a call that begins.
    """

    def __init__(self, transport: asyncio.Transport, clock_s: Callable[[], float]) -> None:
        self._transport = transport
        self._clock_s = clock_s
        self._window_bytes = frames.DEFAULT_WINDOW_BYTES
        self.first_window_bytes = frames.DEFAULT_WINDOW_BYTES
        self._waiting: dict[Stream, None] = {}
        self._out: list[bytes] = []
        self._gathers = False
        self._paused_s: float | None = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write what is sent in the block at its end, at once."""
        self._gathers = True
        try:
            yield
        finally:
            self._gathers = False
            self.flush()

    def write(self, data: bytes) -> None:
        """Write frames that need no window."""
        if self._gathers:
            self._out.append(data)
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Write what was gathered."""
        if self._out:
            gathered = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._transport.write(gathered)

    def answer(self, stream: Stream, begin: bytes, data: bytes, last: bytes | None) -> bool:
        """Send a piece of an answer; return whether it has left; else `sent` is called once it has.

        Args:
            begin: the headers that begin the answer; empty: they were sent.
            data: of the answer.
            last: the headers that end it; None: more comes.
        """
        size, number = len(data), stream.number
        out = frames.frame(frames.HEADERS, frames.END_HEADERS, number, begin) if begin else b""
        if (
            size > stream.window_bytes
            or size > self._window_bytes
            or size > frames.MOST_BYTES
            or stream in self._waiting
            or self._paused_s is not None
        ):
            self.write(out)
            stream.unsent += data
            stream.last = last
            if stream not in self._waiting:
                stream.moved_s = self._clock_s()
                self._waiting[stream] = None
            self.go_on()
            return False
        self._window_bytes -= size
        stream.window_bytes -= size
        if size:
            out += frames.frame(frames.DATA, 0, number, data)
        self.write(out if last is None else out + _end(number, last))
        return True

    def is_full(self, streams: Mapping[int, Stream]) -> bool:
        """Whether so much is unread that no further call is begun."""
        return bool(self._waiting) and (
            sum(len(stream.unsent) for stream in streams.values()) > _MOST_UNSENT_BYTES
        )

    def is_stuck(self, now_s: float, timeout_s: float) -> bool:
        """Whether the other end has read nothing for so long."""
        return self._paused_s is not None and now_s - self._paused_s > timeout_s

    def pause(self) -> None:
        """Send nothing more for now: what was sent is not read."""
        self._paused_s = self._clock_s()

    def resume(self) -> None:
        """Go on."""
        self._paused_s = None
        self.go_on()

    def grow(self, size_bytes: int, stream: Stream | None) -> None:
        """Take so much more of a call; None: of all together."""
        if stream is None:
            self._window_bytes += size_bytes
        else:
            stream.window_bytes += size_bytes
        if max(self._window_bytes, stream.window_bytes if stream else 0) > frames.MOST_WINDOW_BYTES:
            raise Fault(Code.FLOW_CONTROL_ERROR, "a window of over 31 bits")
        self.go_on()

    def resize(self, first_window_bytes: int, streams: Mapping[int, Stream]) -> None:
        """Change the first window of calls, and so that of the calls under way."""
        more = first_window_bytes - self.first_window_bytes
        self.first_window_bytes = first_window_bytes
        for stream in streams.values():
            stream.window_bytes += more
            if stream.window_bytes > frames.MOST_WINDOW_BYTES:
                raise Fault(Code.FLOW_CONTROL_ERROR, "a window of over 31 bits")
        self.go_on()

    def forget(self, stream: Stream) -> None:
        """Send nothing of a call that is over."""
        self._waiting.pop(stream, None)
        stream.unsent.clear()

    def go_on(self) -> None:
        """Send of what waits as much as is taken, a frame of each call in turn."""
        if not self._waiting:
            return
        self.flush()
        moved = True
        while moved and self._waiting:
            moved = False
            for stream in list(self._waiting):
                moved = (stream in self._waiting and self._piece(stream)) or moved

    def _piece(self, stream: Stream) -> bool:
        """Send a frame of what a call has waiting; return whether that went."""
        size = min(len(stream.unsent), frames.MOST_BYTES, self._window_bytes, stream.window_bytes)
        if self._paused_s is not None or (size <= 0 and stream.unsent):
            return False
        if size > 0:
            self._window_bytes -= size
            stream.window_bytes -= size
            stream.moved_s = self._clock_s()
            self._transport.write(frames.frame(frames.DATA, 0, stream.number, bytes(stream.unsent[:size])))
            del stream.unsent[:size]
        if not stream.unsent:
            del self._waiting[stream]
            if stream.last is not None:
                self._transport.write(_end(stream.number, stream.last))
            stream.sent()
        return True


def _end(number: int, last: bytes) -> bytes:
    return frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, number, last)
