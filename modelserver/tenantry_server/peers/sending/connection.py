"""One kept-alive HTTP/1.1 connection to a peer, and the bytes that go over it.

Owns the wire: one request at a time, and an answer with a Content-Length, read whole. Refuses what no
server of ours sends (chunked answers, pipelining) and another server's answers: the connection is lost.

Why not a general client: beyond the bare bytes on a socket, an exchange costs 15 us of CPU here, and 114 us
with aiohttp's ClientSession. A small prediction costs about 60 us, its server included.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TypeAlias, cast

from tenantry_server.peers.answers.answer import Abandoned, BrokenAnswer, PeerAnswer, PeerLost
from tenantry_server.peers.answers.heads import MAX_HEAD_BYTES, Head, HeadReader

MAX_ANSWER_BYTES = 64 << 20
"""A larger answer is not passed on: the client gets it from this server itself."""

Ended: TypeAlias = Callable[[PeerAnswer | PeerLost], None]
"""Called once for a request, with its answer, or with why there is none."""

_JOINED_BYTES = 1 << 16  # smaller bodies are copied behind their head: one call of the system


class PeerConnection(asyncio.Protocol):
    """An open connection, until it is lost.

    Args:
        heads: reads the heads of the peer's answers.
    """

    def __init__(self, heads: HeadReader) -> None:
        self._loop = asyncio.get_running_loop()
        self._heads = heads
        self._transport: asyncio.Transport | None = None
        self._ended: Ended | None = None  # None: no request is under way
        self._head: Head | None = None
        self._received = bytearray()
        self._used = False
        self._keeps = True
        self._writable: asyncio.Future[None] | None = None
        self.idle_since_s = 0.0
        self.waits_since_s: float | None = None  # when the peer was last heard; None: it waits for us

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent."""
        return self._keeps and self._transport is not None and self._ended is None

    def begin(self, head: bytes, body: bytes, ended: Ended) -> None:
        """Send a request; its answer is given to `ended` in the turn of the loop in which it arrives.

        Args:
            head: the request line and every header, an empty line at the end.
        """
        self._begin(ended)
        for piece in (head + body,) if len(body) <= _JOINED_BYTES else (head, body):
            self._write(piece)
        self.waits_since_s = time.monotonic()

    async def ask(self, head: bytes, body: bytes) -> PeerAnswer:
        """Send a request and read its answer.

        Args:
            head: as `begin` takes it.

        Raises:
            PeerLost: there will be no answer.
        """
        answer: asyncio.Future[PeerAnswer] = self._loop.create_future()
        self.begin(head, body, partial(_settle, answer))
        return await answer

    async def ask_in_pieces(self, head: bytes, pieces: AsyncIterator[bytes]) -> PeerAnswer:
        """Send a request whose body still arrives, in chunks, and read its answer.

        Raises:
            PeerLost: there will be no answer.
            Exception: whatever `pieces` raises.
        """
        answer: asyncio.Future[PeerAnswer] = self._loop.create_future()
        self._begin(partial(_settle, answer))
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
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(error)

    def abandon(self) -> None:
        """Close the connection, as nobody waits for the answer any more."""
        self.fail(Abandoned("no request waits for it"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has another base class

    def data_received(self, data: bytes) -> None:
        """Read a piece of an answer; most answers arrive in one."""
        if self._ended is None:
            self.fail(PeerLost("unsolicited data from the peer"))
            return
        self.waits_since_s = time.monotonic()
        if self._head is None:
            if self._received:
                self._received += data
                data = bytes(self._received)
            end = data.find(b"\r\n\r\n")
            if end < 0 or end > MAX_HEAD_BYTES:
                if len(data) > MAX_HEAD_BYTES:
                    self.fail(BrokenAnswer("its headers are too long"))
                elif not self._received:
                    self._received += data
                return
            head = self._read_head(data[:end])
            if head is None:
                return
            body = data[end + 4 :]
            if len(body) == head.length:
                self._end(head, body)
                return
            self._head, self._received = head, bytearray(body)
        else:
            head = self._head
            self._received += data
        if len(self._received) >= head.length:
            self._end(head, bytes(self._received))

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

    def _begin(self, ended: Ended) -> None:
        self._ended = ended
        self._head = None
        self._received.clear()
        if self._transport is None:
            self.fail(PeerLost("the connection was lost", stale=self._used))

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

    def _read_head(self, data: bytes) -> Head | None:
        try:
            head = self._heads.read(data)
        except BrokenAnswer as broken:
            self.fail(broken)
            return None
        if head.length > MAX_ANSWER_BYTES:
            self.fail(BrokenAnswer(f"its answer has {head.length} bytes"))
            return None
        self._keeps = self._keeps and head.keeps
        return head

    def _end(self, head: Head, body: bytes) -> None:
        if len(body) > head.length:
            self.fail(BrokenAnswer("its answer is longer than its Content-Length"))
            return
        ended, self._ended = self._ended, None
        self.waits_since_s = None
        self._used = True
        self._head = None
        if self._received:
            self._received = bytearray()
        if ended is not None:  # the last step, as the next request may be sent in it
            ended(PeerAnswer(head.status, head.fields, head.lines, body))


def _settle(answer: asyncio.Future[PeerAnswer], outcome: PeerAnswer | PeerLost) -> None:
    """Give a future its result, unless nobody waits for it any more."""
    if answer.done():
        return
    if isinstance(outcome, PeerLost):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
