"""The connections to one peer: kept alive while in use, opened a few at a time, closed when idle.

Refuses to judge whether the peer lives: it says what happened to a connection.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

from tenantry.trust.tls import Tls
from tenantry_server.peers.answers.answer import BrokenAnswer, PeerAnswer, PeerLost
from tenantry_server.peers.answers.heads import HeadReader
from tenantry_server.peers.sending.connection import Ended, PeerConnection

_CONNECT_S = 0.5
_TLS_CONNECT_S = 1.5  # two more turns of the peer's loop, and a signature
_IDLE_S = 30.0  # our servers close theirs after an hour; a proxy in between may do so after a minute
_OPENING = 16  # connections at once: a server's backlog holds 128, of all its clients


# A request on which servers end must not go through the whole fleet. One more may try it, as most requests
# that a lost server held did it no harm.
MAX_LOST = 2


class Sent(Protocol):
    """The body of a request, as it is sent."""

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here."""

    def now(self) -> bytes:
        """Return all of it, where all of it is here."""

    def pieces(self) -> AsyncIterator[bytes]:
        """Iterate over it, as it arrives."""


class Forwarded(Protocol):
    """A request as it is passed on to any peer.

    Attributes:
        lost: the ids of peers that were lost while they may have worked on it.
        trace: lines of its head that make it a part of the span that runs; empty: nothing is traced.
    """

    lost: set[str]
    trace: bytes

    @property
    def body(self) -> Sent:
        """What follows its head."""

    @property
    def method(self) -> str:
        """As in the request line."""

    @property
    def may_hold_up(self) -> bool:
        """Whether a server may fall silent because of it."""

    @property
    def ends_s(self) -> float:
        """When it is over, of `time.monotonic`; infinite while its body still arrives."""

    def head_for(self, host: bytes) -> bytes:
        """Return the request line and headers for the peer at `host`, an empty line at the end."""

    def check(self, answer: PeerAnswer) -> None:
        """Refuse an answer that has not the form of one to this request.

        Raises:
            BrokenAnswer: it has not.
        """


class NoConnection(PeerLost):
    """The peer could not be connected to."""


class ConnectionPool:
    """Sends requests to one peer, each over a connection that no other request uses meanwhile.

    Args:
        server_id: the peer's name, which every answer of it carries.
        endpoint: its base URL.
        up: whether opening a connection is worth trying.
        tls: whom this server trusts, and what it shows.

    Raises:
        ValueError: `endpoint` is not a URL.
    """

    def __init__(self, server_id: str, endpoint: str, up: Callable[[], bool], tls: Tls) -> None:
        url = urlsplit(endpoint)
        self._server_id = server_id
        self._heads = HeadReader(server_id)
        self._endpoint = endpoint
        self._up = up
        self._address = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
        self._tls = tls if tls.secures(url.scheme) else None
        self._connect_s = _CONNECT_S if self._tls is None else _TLS_CONNECT_S
        self._host = url.netloc.encode()
        self._idle: list[PeerConnection] = []
        self._busy: dict[PeerConnection, Forwarded] = {}
        self._opening = asyncio.Semaphore(_OPENING)

    def under_way(self) -> Iterator[tuple[PeerConnection, Forwarded]]:
        """Iterate over the requests that have no answer yet, each with its connection."""
        return iter(list(self._busy.items()))

    def begin(self, request: Forwarded, ended: Ended) -> PeerConnection | None:
        """Send a request whose body is here, where a connection is idle.

        Returns:
            the connection that waits for the answer; None: nothing was sent, and `ask` opens one.
        """
        connection = self._reused()
        if connection is not None:
            self._busy[connection] = request
            head = request.head_for(self._host)
            connection.begin(head, request.body.now(), partial(self._came, connection, request, ended))
        return connection

    async def ask(self, request: Forwarded) -> PeerAnswer:
        """Send a request and read its answer; replace a connection that was closed meanwhile, once.

        Raises:
            NoConnection: the peer could not be connected to.
            PeerLost: no answer came.
        """
        connection = self._reused()
        if connection is not None:
            try:
                return await self._exchange(connection, request)
            except PeerLost as lost:
                if not lost.stale or len(request.lost) >= MAX_LOST:
                    raise
        return await self._exchange(await self._connection(), request)

    async def probe(self, timeout_s: float) -> bool:
        """Return whether the peer answers a probe in time.

        The probe has a connection of its own, so that it also shows whether the peer accepts any.
        """
        head = b"GET /healthz HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % self._host
        connection: PeerConnection | None = None
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._connected()
                return (await connection.ask(head, b"")).status == 200
        except (OSError, TimeoutError, UnicodeError, PeerLost):
            return False
        finally:
            if connection is not None:
                connection.fail(PeerLost("the probe is over"))

    def prune(self) -> None:
        """Close the connections that no request needed for a while."""
        before_s = time.monotonic() - _IDLE_S
        old = [c for c in self._idle if c.idle_since_s < before_s or not c.reusable]
        self._idle = [c for c in self._idle if c not in old]
        for connection in old:
            connection.fail(PeerLost("idle for too long"))

    def drop(self, why: str) -> None:
        """Close every connection; requests that wait for an answer get PeerLost."""
        for connection in [*self._idle, *self._busy]:
            connection.fail(PeerLost(why))
        self._idle.clear()

    def _reused(self) -> PeerConnection | None:
        while self._idle:
            connection = self._idle.pop()  # the latest: the others grow old and are closed
            if connection.reusable:
                return connection
        return None

    async def _connection(self) -> PeerConnection:
        async with self._opening:
            if not self._up():
                raise PeerLost("the peer is down")
            freed = self._reused()
            return await self._open() if freed is None else freed

    async def _open(self) -> PeerConnection:
        try:
            async with asyncio.timeout(self._connect_s):
                return await self._connected()
        except (OSError, TimeoutError, UnicodeError) as error:  # UnicodeError: not a host name
            why = str(error) or f"not within {self._connect_s:g} s"
            raise NoConnection(f"no connection to {self._endpoint}: {why}") from None

    async def _connected(self) -> PeerConnection:
        host, port = self._address
        secured = None if self._tls is None else self._tls.client()
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: PeerConnection(self._heads), host, port, ssl=secured
        )
        return connection

    async def _exchange(self, connection: PeerConnection, request: Forwarded) -> PeerAnswer:
        self._busy[connection] = request
        head = request.head_for(self._host)
        try:
            if request.body.is_whole:
                answer = await connection.ask(head, request.body.now())
            else:
                answer = await connection.ask_in_pieces(head, request.body.pieces())
            self._check(connection, request, answer)
        except PeerLost as lost:
            self._note_lost(request, lost)
            raise
        else:
            return answer
        finally:
            self._free(connection)

    def _came(
        self, connection: PeerConnection, request: Forwarded, ended: Ended, outcome: PeerAnswer | PeerLost
    ) -> None:
        """End what `begin` began."""
        try:
            if isinstance(outcome, PeerAnswer):
                self._check(connection, request, outcome)
        except BrokenAnswer as broken:
            outcome = broken
        if isinstance(outcome, PeerLost):
            self._note_lost(request, outcome)
        self._free(connection)
        ended(outcome)

    def _check(self, connection: PeerConnection, request: Forwarded, answer: PeerAnswer) -> None:
        try:
            request.check(answer)
        except BrokenAnswer as broken:
            connection.fail(broken)  # whatever else comes on it would be taken for an answer, too
            raise

    def _note_lost(self, request: Forwarded, lost: PeerLost) -> None:
        if lost.sent and (lost.broken or request.may_hold_up) and not isinstance(lost, BrokenAnswer):
            request.lost.add(self._server_id)

    def _free(self, connection: PeerConnection) -> None:
        del self._busy[connection]
        if connection.reusable:
            connection.idle_since_s = time.monotonic()
            self._idle.append(connection)
        else:
            connection.fail(PeerLost("no request waits for it"))
