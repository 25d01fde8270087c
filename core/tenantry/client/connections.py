"""Connections of http.client that send a request in one piece, and read an answer within its time."""

import select
import time
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any

_READ_BYTES = 1 << 16


class _Whole:
    """Sends head and body in one piece, where http.client sends two: servers pass that on quicker."""

    sock: Any
    _unsent: bytes = b""

    def send(self, data: Any) -> None:
        """Keep a part of a request until `flush`."""
        self._unsent += data

    def flush(self) -> None:
        """Send what is kept."""
        unsent, self._unsent = self._unsent, b""
        self.sock.sendall(unsent)


class PlainConnection(_Whole, HTTPConnection):
    """Over TCP."""


class SecureConnection(_Whole, HTTPSConnection):
    """Over TLS."""


Connection = PlainConnection | SecureConnection


def body_of(response: HTTPResponse, sock: Any, ends_s: float) -> bytes:
    """Read a body, however slowly it comes, until `ends_s`.

    Raises:
        TimeoutError: it did not arrive.
        HTTPException: it ended early.
    """
    parts: list[bytes] = []
    while part := response.read1(_READ_BYTES):
        parts.append(part)
        left_s = ends_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        sock.settimeout(left_s)
    parts.append(response.read())  # raises where bytes are missing, and ends the answer for the connection
    return b"".join(parts)


def is_open(connection: HTTPConnection) -> bool:
    """Whether an idle connection has not been closed: then there is nothing to read."""
    if connection.sock is None:
        return False
    if not hasattr(select, "poll"):  # Windows
        return not select.select([connection.sock], [], [], 0)[0]
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return not poll.poll(0)
