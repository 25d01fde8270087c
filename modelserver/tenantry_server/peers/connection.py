"""One kept-alive HTTP/1.1 connection to a peer, and the bytes that go over it.

Owns the wire: one request at a time, and an answer with a Content-Length, read whole. Refuses what no
server of ours sends (chunked answers, pipelining) and another server's answers: the connection is lost.

Why not a general client: beyond the bare bytes on a socket, an exchange costs 15 us of CPU here, and 114 us
with aiohttp's ClientSession. A small prediction costs about 60 us, its server included.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import cast

from multidict import CIMultiDict

from tenantry_server.wire import headers

MAX_ANSWER_BYTES = 256 << 20
"""A larger answer is not passed on: the client gets it from this server itself."""

_MAX_HEAD_BYTES = 1 << 16
_JOINED_BYTES = 1 << 16  # smaller bodies are copied behind their head: one call of the system
_LENGTH = b"\r\ncontent-length:"
_LENGTH_DIGITS = 12
_ABOUT_CONNECTION = tuple(
    b"\r\n%b:" % name
    for name in (b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"trailer", b"te")
)
_HOP_BY_HOP = re.compile(
    rb"(?<=\r\n)(?:connection|keep-alive|transfer-encoding|upgrade|trailer|te)[ \t]*:[^\r]*\r\n",
    re.IGNORECASE,
)
_CLOSE = re.compile(rb"\r\nconnection:[^\r]*close")


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


class PeerAnswer:
    """An answer of a peer.

    Attributes:
        status: the HTTP status.
        head: the status line and the headers, a line break after each.
        body: all of it.
    """

    __slots__ = ("body", "head", "status")

    def __init__(self, status: int, head: bytes, body: bytes) -> None:
        self.status = status
        self.head = head
        self.body = body

    @property
    def reason(self) -> str:
        """The reason that the peer gave for an error; else empty."""
        return self.headers().get(headers.REASON, "")

    def passed_on(self, added: bytes) -> bytes:
        """Return the bytes for the client.

        Args:
            added: header lines, a line break after each.
        """
        return b"%b%b\r\n%b" % (self._kept(), added, self.body)

    def headers(self) -> CIMultiDict[str]:
        """Return the headers, without those about the connection and the length of the body."""
        found: CIMultiDict[str] = CIMultiDict()
        for line in self._kept().decode("utf-8", "surrogateescape").split("\r\n")[1:-1]:
            name, _, value = line.partition(":")
            found.add(name, value.strip())
        found.popall("Content-Length", None)
        return found

    def _kept(self) -> bytes:
        if _is_plain(self.head.lower()):
            return self.head  # a tenth of the cost: most answers say nothing about the connection
        return _HOP_BY_HOP.sub(b"", self.head)


class PeerConnection(asyncio.Protocol):
    """An open connection, until it is lost.

    Args:
        server_id: the expected server; an answer that names another one is refused.
    """

    def __init__(self, server_id: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._named = f"\r\n{headers.SERVER}: {server_id}\r\n".encode()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[PeerAnswer] | None = None
        self._head = b""
        self._status = 0
        self._missing_bytes = 0
        self._received = bytearray()
        self._used = False
        self._keeps = True
        self._writable: asyncio.Future[None] | None = None
        self.idle_since_s = 0.0
        self.waits_since_s: float | None = None  # when the peer was last heard; None: it waits for us

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent."""
        return self._keeps and self._transport is not None and self._answer is None

    async def ask(self, head: bytes, body: bytes) -> PeerAnswer:
        """Send a request and read its answer.

        Args:
            head: the request line and every header, an empty line at the end.

        Raises:
            PeerLost: there will be no answer.
        """
        answer = self._begin()
        for piece in (head + body,) if len(body) <= _JOINED_BYTES else (head, body):
            self._write(piece)
        self.waits_since_s = time.monotonic()
        return await answer

    async def ask_in_pieces(self, head: bytes, pieces: AsyncIterator[bytes]) -> PeerAnswer:
        """Send a request whose body still arrives, in chunks, and read its answer.

        Raises:
            PeerLost: there will be no answer.
            Exception: whatever `pieces` raises.
        """
        answer = self._begin()
        self._write(head)
        sending = asyncio.create_task(self._send(pieces))
        try:
            await asyncio.wait((answer, sending), return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                self._keeps = False  # the peer answered before it read everything
            elif not answer.done():
                sending.result()
            return await answer
        finally:
            if not sending.done():
                sending.cancel()
                await asyncio.wait((sending,))
            elif not sending.cancelled():
                sending.exception()  # retrieved, in case the answer ended it
            if not answer.done():
                answer.cancel()
            elif not answer.cancelled():
                answer.exception()

    def fail(self, error: PeerLost) -> None:
        """Close the connection; the request under way gets `error`."""
        self._keeps = False
        error.sent = self.waits_since_s is not None
        self.waits_since_s = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has another base class

    def data_received(self, data: bytes) -> None:
        """Read a piece of an answer; most answers arrive in one."""
        if self._answer is None or self._answer.done():
            self.fail(PeerLost("unsolicited data from the peer"))
            return
        self.waits_since_s = time.monotonic()
        if self._head:
            self._received += data
        else:
            if self._received:
                self._received += data
                data = bytes(self._received)
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > _MAX_HEAD_BYTES:
                    self.fail(PeerLost("its headers are too long"))
                elif not self._received:
                    self._received += data
                return
            if not self._read_head(data[: end + 2]):
                return
            body = data[end + 4 :]
            if len(body) == self._missing_bytes:
                self._end(body)
                return
            self._received = bytearray(body)
        if len(self._received) >= self._missing_bytes:
            self._end(bytes(self._received))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request under way, if there is one."""
        self._transport = None
        why = "closed" if exc is None else f"{type(exc).__name__}: {exc}"
        stale = self._used and not (self._head or self._received)
        self.fail(PeerLost(f"the connection was lost ({why})", stale=stale, broken=True))

    def pause_writing(self) -> None:
        """Hold back: the peer reads slower than the body arrives."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Go on: the peer has caught up."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def _begin(self) -> asyncio.Future[PeerAnswer]:
        self._answer = self._loop.create_future()
        self._head = b""
        self._received.clear()
        if self._transport is None:
            self.fail(PeerLost("the connection was lost", stale=self._used))
        return self._answer

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def _send(self, pieces: AsyncIterator[bytes]) -> None:
        async for piece in pieces:
            self.waits_since_s = time.monotonic()
            self._write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if self._writable is not None:
                await self._writable
            self.waits_since_s = None  # now the peer waits for us
        self._write(b"0\r\n\r\n")
        self.waits_since_s = time.monotonic()

    def _read_head(self, head: bytes) -> bool:
        lowered = head.lower()
        status, length = head[9:12], _length_in(lowered)
        if not head.startswith(b"HTTP/1.1 ") or not status.isdigit() or self._named not in head:
            self.fail(PeerLost("another server answered in its place"))
            return False
        if length is None:
            self.fail(PeerLost("its answer has no Content-Length"))
            return False
        self._head = head
        self._status = int(status)
        self._missing_bytes = length
        if self._missing_bytes > MAX_ANSWER_BYTES:
            self.fail(PeerLost(f"its answer has {self._missing_bytes} bytes"))
            return False
        if not _is_plain(lowered):
            self._keeps = self._keeps and _CLOSE.search(lowered) is None
        return True

    def _end(self, body: bytes) -> None:
        if len(body) > self._missing_bytes:
            self.fail(PeerLost("its answer is longer than its Content-Length"))
            return
        answer, self._answer = self._answer, None
        self.waits_since_s = None
        self._used = True
        if answer is not None:
            answer.set_result(PeerAnswer(self._status, self._head, body))
        self._head = b""
        self._received = bytearray()


def _length_in(lowered_head: bytes) -> int | None:
    """Return Content-Length; None where it is missing, or not a sane number."""
    at = lowered_head.find(_LENGTH) + len(_LENGTH)
    if at < len(_LENGTH):
        return None
    digits = lowered_head[at : lowered_head.index(b"\r\n", at)].strip(b" \t")
    return int(digits) if digits.isdigit() and len(digits) <= _LENGTH_DIGITS else None


def _is_plain(lowered_head: bytes) -> bool:
    """Return whether no header is about the connection."""
    return not any(name in lowered_head for name in _ABOUT_CONNECTION)
