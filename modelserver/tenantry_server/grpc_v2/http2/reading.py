"""From the bytes of a client to whole frames: the preface, pieces of frames, headers in several of them."""

from collections.abc import Callable, Mapping

from tenantry_server.grpc_v2.http2 import frames
from tenantry_server.grpc_v2.http2.frames import Code, Fault
from tenantry_server.grpc_v2.http2.header_blocks import Parts
from tenantry_server.grpc_v2.http2.patience import Patience

Handler = Callable[[int, int, bytes], None]
"""Gets the flags, the stream's number and the payload of a frame."""


class FrameReader:
    """Reads what arrives, and hands each whole frame on; raises Fault where the client breaks the protocol.

    Args:
        headers: gets the block of headers that one or several frames brought.
        handlers: for the other frames, by kind; those of an unknown kind are counted, and left out.
        patience: counts them.

    Attributes:
        prefaced: whether the client has said which protocol it speaks.
    """

    def __init__(self, headers: Handler, handlers: Mapping[int, Handler], patience: Patience) -> None:
        self._headers = headers
        self._handlers = {
            frames.HEADERS: self._on_headers,
            frames.CONTINUATION: self._on_continuation,
            **handlers,
        }
        self._patience = patience
        self._parts = Parts()
        self._rest = b""  # the part of a frame that has arrived
        self.prefaced = False

    def read(self, data: bytes) -> None:
        """Read frames as far as they have arrived; keep what is left for the next time.

        Raises:
            Fault: they are not what a client of HTTP/2 sends, or a handler raised it.
        """
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        if not self.prefaced:
            if not self._begins(data):
                self._rest = data
                return
            at = len(frames.PREFACE)
        head_bytes, unpack, handlers = frames.HEAD.size, frames.HEAD.unpack_from, self._handlers
        while size - at >= head_bytes:
            high, low, kind, flags, number = unpack(data, at)
            length = high << 8 | low
            if length > frames.MOST_BYTES:
                raise Fault(Code.FRAME_SIZE_ERROR, "a frame is too large")
            end = at + head_bytes + length
            if end > size:
                break
            if self._parts.awaited and kind != frames.CONTINUATION:
                raise Fault(Code.PROTOCOL_ERROR, "headers are interrupted")
            handler = handlers.get(kind)
            if handler is not None:
                handler(flags, number & frames.MOST_WINDOW_BYTES, data[at + head_bytes : end])
            elif kind == frames.PUSH_PROMISE:
                raise Fault(Code.PROTOCOL_ERROR, "clients promise nothing")
            else:
                self._patience.tried()
            at = end
        self._rest = data[at:]

    def forget(self) -> None:
        """Drop the part of a frame that has arrived; no more is read."""
        self._rest = b""

    def _begins(self, data: bytes) -> bool:
        """Return whether the preface is whole."""
        size = len(data)
        if not data.startswith(frames.PREFACE[:size]):
            raise Fault(Code.PROTOCOL_ERROR, "this port speaks gRPC")
        self.prefaced = size >= len(frames.PREFACE)
        return self.prefaced

    def _on_headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & (frames.PADDED | frames.WITH_PRIORITY):
            payload = frames.content(frames.HEADERS, flags, payload)
        if flags & frames.END_HEADERS:
            self._headers(flags, number, payload)
        else:
            self._parts.begin(number, flags, payload)

    def _on_continuation(self, flags: int, number: int, payload: bytes) -> None:
        whole = self._parts.go_on(number, flags, payload)
        if whole is not None:
            self._headers(*whole)
