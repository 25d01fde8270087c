"""What comes of a question to a peer: an answer, or one of two errors."""

from http import HTTPStatus

from multidict import CIMultiDict

from tenantry_server.wire import headers

_OURS = (200, 400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 500, 503, 504, 507)

PHRASES: dict[int, bytes] = {status: HTTPStatus(status).phrase.encode() for status in _OURS}
"""From a status of ours to the words beside it; no other one counts, an interim one (1xx) included."""

TYPE = b"content-type"
_REASON = headers.REASON.lower().encode()


class PeerLost(Exception):
    """A peer did not answer: no connection, a broken one, or bytes that no server of ours sends.

    Args:
        stale: the connection was kept from before, and nothing was received; another one may work.
        broken: it was the other end that closed the connection; the peer may have ended.

    Attributes:
        sent: the peer may have worked on the request.
    """

    def __init__(self, message: str, *, stale: bool = False, broken: bool = False) -> None:
        super().__init__(message)
        self.stale = stale
        self.broken = broken
        self.sent = False


class BrokenAnswer(PeerLost):
    """A peer answered what no server of ours answers; its message quotes nothing of it."""


class Abandoned(PeerLost):
    """Nobody waits for the answer any more, which says nothing about the peer."""


class PeerAnswer:
    """An answer of a peer, read by the rules of `heads`.

    Attributes:
        status: the HTTP status.
        fields: the values of its headers by their names in lower case, without those about the connection.
        lines: the same headers as they are written again, a line break after each.
        body: all of it.
    """

    __slots__ = ("body", "fields", "lines", "status")

    def __init__(self, status: int, fields: dict[bytes, bytes], lines: bytes, body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.lines = lines
        self.body = body

    @property
    def reason(self) -> str:
        """The reason that the peer gave for an error; else empty."""
        return self.fields.get(_REASON, b"").decode()

    def passed_on(self, added: bytes) -> bytes:
        """Return the bytes for the client.

        Args:
            added: header lines, a line break after each.
        """
        return b"HTTP/1.1 %d %b\r\n%b%bContent-Length: %d\r\n\r\n%b" % (
            *(self.status, PHRASES[self.status], self.lines, added),
            *(len(self.body), self.body),
        )

    def headers(self) -> CIMultiDict[str]:
        """Return the headers that are written again, without the length of the body."""
        found: CIMultiDict[str] = CIMultiDict()
        for line in self.lines.decode("ascii").split("\r\n")[:-1]:
            name, _, value = line.partition(": ")
            found.add(name, value)
        return found
