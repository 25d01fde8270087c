"""How much a client may send: the windows of its connection and of its calls (RFC 9113, section 5.2)."""

from collections.abc import Callable

from tenantry_server.grpc_v2.http2 import frames
from tenantry_server.grpc_v2.http2.frames import Code, Fault
from tenantry_server.grpc_v2.http2.stream import Stream

WINDOW_BYTES = 1 << 20
"""Of a connection; it is filled up again by what was read."""

STREAM_WINDOW_BYTES = 1 << 18
"""Of a call; it is filled up again where its message is not whole."""


class Receiving:
    """Counts what arrives against the windows, and grants more.

    Args:
        write: sends frames.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._credit_bytes = WINDOW_BYTES  # that the other end may send

    def took(self, size: int) -> None:
        """Count data of the connection.

        Raises:
            Fault: it is more than the window.
        """
        self._credit_bytes -= size
        if self._credit_bytes < WINDOW_BYTES // 2:
            if self._credit_bytes < 0:
                raise Fault(Code.FLOW_CONTROL_ERROR, "more data than this connection's window")
            self._write(frames.credit(0, WINDOW_BYTES - self._credit_bytes))
            self._credit_bytes = WINDOW_BYTES

    def took_of(self, stream: Stream, size: int) -> None:
        """Count data of a call.

        Raises:
            Fault: it is more than the window, or the call was at its end.
        """
        if stream.ended:
            raise Fault(Code.STREAM_CLOSED, "data after the end of a call")
        stream.credit_bytes -= size
        if stream.credit_bytes < 0:
            raise Fault(Code.FLOW_CONTROL_ERROR, "more data than a call's window")

    def grant(self, stream: Stream) -> None:
        """Let the other end send more on a stream whose message is not whole."""
        left = stream.credit_bytes
        if not stream.ended and left < STREAM_WINDOW_BYTES // 2:
            stream.credit_bytes = STREAM_WINDOW_BYTES
            self._write(frames.credit(stream.number, STREAM_WINDOW_BYTES - left))
