"""Frames about a connection, and about no call: settings and pings are answered as HTTP/2 wants it."""

from collections.abc import Mapping

from tenantry_server.grpc_v2.http2 import frames
from tenantry_server.grpc_v2.http2.frames import Code, Fault
from tenantry_server.grpc_v2.http2.patience import Patience
from tenantry_server.grpc_v2.http2.sending import Sending
from tenantry_server.grpc_v2.http2.stream import Stream


class Control:
    """Answers them.

    Args:
        sending: to the client.
        patience: counts them.
        streams: the calls under way, whose windows a setting may change.
    """

    def __init__(self, sending: Sending, patience: Patience, streams: Mapping[int, Stream]) -> None:
        self._sending = sending
        self._patience = patience
        self._streams = streams

    def on_settings(self, flags: int, number: int, payload: bytes) -> None:
        """Apply the client's settings, and acknowledge them.

        Raises:
            Fault: they are not settings, or too many came.
        """
        self._patience.tried(1 + len(payload) // 64)
        if number:
            raise Fault(Code.PROTOCOL_ERROR, "settings of a stream")
        if not flags & frames.ACK:
            first = frames.window_of(payload, self._sending.first_window_bytes)
            self._sending.resize(first, self._streams)
            self._sending.write(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def on_ping(self, flags: int, number: int, payload: bytes) -> None:
        """Send a ping back.

        Raises:
            Fault: it is not a ping, or too many came.
        """
        self._patience.tried()
        if number or len(payload) != 8:
            raise Fault(Code.FRAME_SIZE_ERROR, "a ping has eight bytes")
        if not flags & frames.ACK:
            self._sending.write(frames.frame(frames.PING, frames.ACK, 0, payload))
