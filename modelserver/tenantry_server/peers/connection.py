"""One kept-alive HTTP/1.1 connection to a peer, and the bytes that go over it.

Owns the wire: one request at a time, an answer with a Content-Length, read whole. Refuses what none of
our servers sends (chunked or interim answers, pipelining): that counts as a lost connection, as does an
answer that another server gave.

Why not a general client: beyond the bare bytes on a socket an exchange takes 15 us of processor time here,
and 114 with aiohttp's ClientSession; a small prediction takes some 60, its server included.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import cast

from multidict import CIMultiDict

from tenantry_server.wire import headers

MAX_ANSWER_BYTES = 256 << 20
"""A larger answer is not passed on; whoever asked gets it from this server itself."""

_MAX_HEAD_BYTES = 1 << 16
_JOINED_BYTES = 1 << 16  # smaller bodies are copied behind their head: one call of the system
_LENGTH = b"\r\ncontent-length:"
_LENGTH_DIGITS = 12
_ABOUT_CONNECTION = (
    b"\r\nconnection:",
    b"\r\nkeep-alive:",
    b"\r\ntransfer-encoding:",
    b"\r\nupgrade:",
    b"\r\ntrailer:",
    b"\r\nte:",
)
_HOP_BY_HOP = re.compile(
    rb"(?<=\r\n)(?:connection|keep-alive|transfer-encoding|upgrade|trailer|te)[ \t]*:[^\r]*\r\n",
    re.IGNORECASE,
)
_CLOSE = re.compile(rb"\r\nconnection:[^\r]*close")


class PeerLost(Exception):
    """A peer did not answer: no connection, one that broke, or nothing that a server of ours says.

    Args:
        stale: nothing had come, and the connection had been kept from before: it may have been closed
            while the request was on its way, so another connection may work.
    """

    def __init__(self, what: str, *, stale: bool = False) -> None:
        super().__init__(what)
        self.stale = stale


class PeerAnswer:
    """What a peer answered.

    Attributes:
        status: of HTTP.
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
        """Of an error, as the peer named it; else empty."""
        return self.headers().get(headers.REASON, "")

    def passed_on(self, added: bytes) -> bytes:
        """The bytes for whoever asked.

        Args:
            added: header lines, a line break after each.
        """
        return b"%b%b\r\n%b" % (self._kept(), added, self.body)

    def headers(self) -> CIMultiDict[str]:
        """Those that are not about the connection, nor the length of the body."""
        found: CIMultiDict[str] = CIMultiDict()
        for line in self._kept().decode("utf-8", "surrogateescape").split("\r\n")[1:-1]:
            name, _, value = line.partition(":")
            found.add(name, value.strip())
        found.popall("Content-Length", None)
        return found

    def _kept(self) -> bytes:
        if _is_plain(self.head.lower()):
            return self.head  # a tenth of the cost: most have nothing about the connection
        return _HOP_BY_HOP.sub(b"", self.head)


class PeerConnection(asyncio.Protocol):
    """A connection that was opened, until it is lost.

    Args:
        server_id: who is expected there; an answer that does not name it is none.
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
        self.waits_since_s: float | None = None  # when the peer was last heard, while it is its turn

    @property
    def reusable(self) -> bool:
        """Whether it may be asked again."""
        return self._keeps and self._transport is not None and self._answer is None

    async def ask(self, head: bytes, body: bytes) -> PeerAnswer:
        """Send a request and read its answer.

        Args:
            head: the request line and every header, an empty line at the end.

        Raises:
            PeerLost: there will be no answer.
        """
        answer = self._begin()
        if len(body) <= _JOINED_BYTES:
            self._write(head + body)
        else:
            self._write(head)
            self._write(body)
        self.waits_since_s = time.monotonic()
        return await answer

    async def ask_in_pieces(self, head: bytes, pieces: AsyncIterator[bytes]) -> PeerAnswer:
        """The same for a body that still comes; it goes out in chunks.

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
                self._keeps = False  # it knows its answer before it has read everything
            elif not answer.done():
                sending.result()
            return await answer
        finally:
            if not sending.done():
                sending.cancel()
                await asyncio.wait((sending,))
            elif not sending.cancelled():
                sending.exception()  # seen here, in case the answer ended it
            if not answer.done():
                answer.cancel()
            elif not answer.cancelled():
                answer.exception()

    def fail(self, error: PeerLost) -> None:
        """Give up on it, and on what it was asked."""
        self._keeps = False
        self.waits_since_s = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """A piece of an answer; most come in one."""
        if self._answer is None or self._answer.done():
            self.fail(PeerLost("it said something that it was not asked"))
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
                    self.fail(PeerLost("its headers do not end"))
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
        """It is gone, whoever closed it."""
        self._transport = None
        heard = bool(self._head or self._received)
        why = "closed" if exc is None else f"{type(exc).__name__}: {exc}"
        self.fail(PeerLost(f"the connection was lost ({why})", stale=self._used and not heard))

    def pause_writing(self) -> None:
        """The peer reads slower than the body comes."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """It has caught up."""
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
            self.waits_since_s = None  # now it waits for us
        self._write(b"0\r\n\r\n")
        self.waits_since_s = time.monotonic()

    def _read_head(self, head: bytes) -> bool:
        lowered = head.lower()
        status, length = head[9:12], _length_in(lowered)
        if not head.startswith(b"HTTP/1.1 ") or not status.isdigit() or self._named not in head:
            self.fail(PeerLost("another answered in its place"))
            return False
        if length is None:
            self.fail(PeerLost("its answer does not say how long it is"))
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
            self.fail(PeerLost("its answer is longer than it said"))
            return
        answer, self._answer = self._answer, None
        self.waits_since_s = None
        self._used = True
        if answer is not None:
            answer.set_result(PeerAnswer(self._status, self._head, body))
        self._head = b""
        self._received = bytearray()


def _length_in(lowered_head: bytes) -> int | None:
    """The value of Content-Length; None where there is none that is a number of a sane size."""
    at = lowered_head.find(_LENGTH) + len(_LENGTH)
    if at < len(_LENGTH):
        return None
    digits = lowered_head[at : lowered_head.index(b"\r\n", at)].strip(b" \t")
    return int(digits) if digits.isdigit() and len(digits) <= _LENGTH_DIGITS else None


def _is_plain(lowered_head: bytes) -> bool:
    """Whether no header is about the connection."""
    return not any(name in lowered_head for name in _ABOUT_CONNECTION)
