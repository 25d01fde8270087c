"""Connections on which plain predictions are answered as their bytes arrive, and aiohttp has all others.

Owns where a request begins and ends, as aiohttp's parser saw it; what is answered is `Answering`'s. Refuses
to parse what that parser has not accepted before.

Leans on these of aiohttp 3.14, without which tests/integration/server/protocols/test_fast_path.py fails:
of `web.Server`, that its class may be changed, `_loop`, `_kwargs` and `requests_count`; of
`web.RequestHandler`, `data_received`, which is also called with no bytes to go on, `_messages`, `_waiter`,
`_paused`, `_buffer_paused` and `_reading_paused`; and on what `wire.later` names.
"""

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any, Protocol

from aiohttp import hdrs, web

from tenantry.trust import tls
from tenantry_server.wire import later
from tenantry_server.wire.heads import END, Block, Heads, Parsed, Target, target_of
from tenantry_server.wire.later import Later

_HEAD_BYTES = 16 << 10  # that may arrive in pieces before this server stops to follow the connection
_PIECES = 4  # in which a body may arrive
_HELD_S = 0.25  # for which an unfinished body is held back from aiohttp, at least
_LINE_BREAKS = b"\r\n"  # which aiohttp's parser passes over before a request line


class Answering(Protocol):
    """What answers plain requests."""

    @property
    def most_bytes(self) -> int:
        """Of a body that is answered."""

    def answer(self, target: Target, block: Block, body: bytes) -> "bytes | Later | None":
        """Return the whole answer to a request, or what gives it; None: the application has to see it."""


class PlainServer(web.Server):
    """Makes connections on which `answering` is asked first.

    Attributes:
        answering: what answers.
        connecting: makes a connection, as PlainConnection does.
        heads: the headers that are known to be plain.
        holding: the connections whose request has not arrived whole, held back from aiohttp.
        wants_certificates: whether other servers have to show a certificate.
    """

    answering: Answering
    connecting: "Callable[..., PlainConnection]"
    heads: Heads
    holding: "dict[PlainConnection, None]"
    wants_certificates: bool

    @classmethod
    def take_over(
        cls,
        server: web.Server,
        answering: Answering,
        *,
        wants_certificates: bool = False,
        connecting: "Callable[..., PlainConnection] | None" = None,
    ) -> None:
        """Turn an application's server into a PlainServer, before it has connections."""
        server.__class__ = cls
        if isinstance(server, cls):  # to the type checker it is still what it was
            server.answering, server.heads, server.holding = answering, Heads(), {}
            server.wants_certificates = wants_certificates
            server.connecting = connecting or PlainConnection

    def __call__(self) -> web.RequestHandler:
        """Make a connection."""
        return self.connecting(self, loop=self._loop, **self._kwargs)

    def hold(self, connection: "PlainConnection") -> None:
        """Let a request that has not arrived whole go to aiohttp soon, unless its rest comes first."""
        if not self.holding:
            self._loop.call_later(_HELD_S, self._let_go, [])
        self.holding[connection] = None

    def _let_go(self, before: "list[PlainConnection]") -> None:
        """Let aiohttp have what those connections that held something `before` still hold."""
        for connection in before:
            connection.let_go()
        if self.holding:
            self._loop.call_later(_HELD_S, self._let_go, list(self.holding))


class PlainConnection(later.Connection):
    """One connection of a client, followed as long as it is known where each request begins.

    aiohttp gets every byte that is not answered here, in the same pieces, and what its parser reads in a
    head tells where the next one begins. A chunked body has no such end: aiohttp has the rest of that
    connection for itself.
    """

    __slots__ = ("_answering", "_following", "_head", "_held", "_left", "_pieces", "_server", "_stranger")

    def __init__(self, server: PlainServer, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._server = server
        self._answering = server.answering
        self._following = True
        self._head = b""  # the part of a head that aiohttp has
        self._left = 0  # bytes of a body that aiohttp waits for
        self._held = b""  # the part of a plain request that aiohttp has not
        self._pieces = 0  # in which that came
        self._stranger = False  # who has shown no certificate, and a server would have to

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See who connects."""
        self._stranger = self._server.wants_certificates and not tls.shows_certificate(transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Answer a chunk that ends exactly one plain request, and let aiohttp have any other."""
        if not data:  # aiohttp goes on with what it has
            super().data_received(data)
        elif self._later is not None:
            self.keep_behind(data)
        elif self._held:
            if not self._take(self._held + data):
                self.let_go()
                self.to_aiohttp(data)
        elif self._left or self._head or not self._following or not self._take(data):
            self.to_aiohttp(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget what the client sent and can get no answer to."""
        self._held = b""
        self._server.holding.pop(self, None)
        super().connection_lost(exc)

    def let_go(self) -> None:
        """Let aiohttp have what is held back from it, which has deadlines for the rest."""
        self._server.holding.pop(self, None)
        held, self._held, self._pieces = self._held, b"", 0
        if held:
            self.to_aiohttp(held)

    def _take(self, data: bytes) -> bool:
        """Answer a request, or hold it back until the rest of its body comes; False: neither."""
        server = self._server
        target = target_of(data)
        if target is None or not self._idle():
            return False
        at = data.find(END, target.block_at)
        if at < 0:
            return False
        at += len(END)
        lines = data[target.block_at : at]
        block = server.heads.known(lines) or server.heads.find(lines)
        if block is None or block.body_bytes > self._answering.most_bytes:
            return False
        if self._stranger and block.proof is not None:
            return False
        missing = at + block.body_bytes - len(data)
        if missing:
            return missing > 0 and self._hold(data)
        answer = self._answering.answer(target, block, data[at:])
        if answer is None:
            return False
        if self._held:
            self._held, self._pieces = b"", 0
            server.holding.pop(self, None)
        if isinstance(answer, bytes):
            self.write(answer)
        else:
            self.await_answer(answer, data)
        return True

    def _idle(self) -> bool:
        """Whether every request before has its answer, and the client reads them."""
        waiter = self._waiter
        return (
            waiter is not None
            and not (waiter.done() or self._messages or self._later)
            and not (self._paused or self._buffer_paused or self._reading_paused)
        )

    def _hold(self, data: bytes) -> bool:
        self._pieces += 1
        if self._pieces >= _PIECES:
            return False
        if not self._held:
            self._server.hold(self)
        self._held = data
        return True

    def to_aiohttp(self, data: bytes) -> None:
        """Let aiohttp have a piece, and follow what it reads in it."""
        known = len(self._messages)
        super().to_aiohttp(data)
        if self._following:
            read = [message for message, _ in islice(self._messages, known, None)]
            self._following = self._follow(data, read)

    def _follow(self, data: bytes, read: list[Any]) -> bool:
        """Find where the next request begins; return whether that is known.

        Args:
            data: a piece of what the client sent.
            read: the heads that ended in it, as aiohttp's parser read them.
        """
        at = min(self._left, len(data))
        self._left -= at
        if self._head:
            data, self._head = self._head + data, b""
        for message in read:
            end = data.find(END, at) + len(END)
            length = _body_bytes(message)
            if length is None or end < len(END) or data[at] in _LINE_BREAKS:
                return False
            self._learn(data[at:end], message)
            at = end + length
            self._left = max(0, at - len(data))
        self._head = data[at:]
        return len(self._head) <= _HEAD_BYTES and END not in self._head

    def _learn(self, head: bytes, message: Parsed) -> None:
        target = target_of(head)
        if target is not None:
            self._server.heads.learn(head[target.block_at :], message)


def _body_bytes(message: Any) -> int | None:
    """Return how many bytes follow a head; None: its bytes do not say so, or aiohttp refused it."""
    parsed: Parsed | None = message if hasattr(message, "headers") else None
    if parsed is None or parsed.chunked or parsed.upgrade or parsed.method == hdrs.METH_CONNECT:
        return None
    length = parsed.headers.get(hdrs.CONTENT_LENGTH, "0")
    return int(length) if length.isascii() and length.isdigit() else None
