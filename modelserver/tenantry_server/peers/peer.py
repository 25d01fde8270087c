"""One other server, seen from this one: its connections, and whether it lives.

Owns what this server learned itself: up or down, how many requests of ours are there. What the registry
says of it is set by `peers.Peers`. Refuses to choose: whom to ask is the forwarder's business.
"""

import asyncio
import contextlib
import time
from typing import Protocol
from urllib.parse import urlsplit

import structlog

from tenantry_server.peers.connection import PeerAnswer, PeerConnection, PeerLost
from tenantry_server.wire.bodies import Body

log = structlog.get_logger(__name__)

_CONNECT_S = 0.5
_SILENT_S = 0.3  # a warm model answers in far less; a cold one is worth a probe
_PROBE_S = 0.5
_PROBE_EVERY_S = 0.5
_LOOK_EVERY_S = 0.1
_IDLE_S = 30.0  # our servers close theirs after an hour; what stands between may do so after a minute
_AT_ONCE = 16  # connections that are being opened: a server's backlog holds 128, of all its clients
_LEASELESS_S = 1.0
_IN_FLIGHT_LOAD = 0.1  # a server's own word on its load is a second old; what we sent since counts


class Asked(Protocol):
    """A request as it is passed on to any peer."""

    body: Body

    @property
    def ends_s(self) -> float:
        """When it is over, of `time.monotonic`; infinite while its body still comes."""

    def head_for(self, host: bytes) -> bytes:
        """The request line and headers for the peer at `host`, an empty line at the end."""


class Peer:
    """Another server, and the connections to it.

    Args:
        server_id: its name, which every answer of it carries.
        endpoint: its base URL.

    Raises:
        ValueError: that is no URL.

    Attributes:
        live: its lease held when the registry was read last.
        leaving: it was told to stop.
        load: busy share of its core, 0 to 1, as it last said.
        in_flight: requests of this server that it has not answered.
        up: False from when it did not answer until a probe found it again.
    """

    def __init__(self, server_id: str, endpoint: str) -> None:
        self.server_id = server_id
        self.endpoint = endpoint
        self.live = True
        self.leaving = False
        self.load = 0.0
        self.in_flight = 0
        self.up = True
        url = urlsplit(endpoint)
        self._address = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
        self._tls = True if url.scheme == "https" else None
        self._host = url.netloc.encode()
        self._idle: list[PeerConnection] = []
        self._busy: dict[PeerConnection, Asked] = {}
        self._opening = asyncio.Semaphore(_AT_ONCE)
        self._checking: asyncio.Task[None] | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._heard_at_s = 0.0
        self._closed = False
        self._leaseless_until_s = 0.0

    @property
    def usable(self) -> bool:
        """Whether it is worth asking."""
        return self.live and self.up

    @property
    def leased(self) -> bool:
        """False for a moment after it said that its lease is over."""
        return time.monotonic() >= self._leaseless_until_s

    @property
    def busyness(self) -> float:
        """What to compare servers by: smaller is better."""
        return self.load + _IN_FLIGHT_LOAD * self.in_flight

    def has_no_lease(self) -> None:
        """It said so; lasts for a second."""
        self._leaseless_until_s = time.monotonic() + _LEASELESS_S

    async def ask(self, asked: Asked) -> PeerAnswer:
        """Pass a request on; a connection that was closed meanwhile is replaced once.

        Raises:
            PeerLost: no answer came; it is being looked into whether this peer lives.
        """
        self.in_flight += 1
        try:
            connection = self._kept()
            if connection is not None:
                try:
                    return await self._exchange(connection, asked)
                except PeerLost as lost:
                    if not lost.stale:
                        raise
            return await self._exchange(await self._connection(), asked)
        except PeerLost as lost:
            log.debug("peer lost", peer=self.server_id, error=str(lost))
            self._doubt()
            raise
        finally:
            self.in_flight -= 1

    def prune(self) -> None:
        """Close the connections that nobody needed for a while."""
        before_s = time.monotonic() - _IDLE_S
        old = [c for c in self._idle if c.idle_since_s < before_s or not c.reusable]
        self._idle = [c for c in self._idle if c not in old]
        for connection in old:
            connection.fail(PeerLost("nobody needs it"))

    def close(self) -> None:
        """End every connection, and whatever goes on in the background."""
        self.up = False
        self._closed = True
        if self._checking is not None:
            self._checking.cancel()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._drop("this server closed it")

    def _kept(self) -> PeerConnection | None:
        while self._idle:
            connection = self._idle.pop()  # the latest: the others grow old and are closed
            if connection.reusable:
                return connection
        return None

    async def _connection(self) -> PeerConnection:
        async with self._opening:
            if not self.up:
                raise PeerLost("it is down")
            freed = self._kept()
            return await self._open() if freed is None else freed

    async def _open(self) -> PeerConnection:
        loop = asyncio.get_running_loop()
        host, port = self._address
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, connection = await loop.create_connection(
                    lambda: PeerConnection(self.server_id), host, port, ssl=self._tls
                )
        except (OSError, TimeoutError, UnicodeError) as error:  # the latter: no such name can be
            self._went_down(str(error) or f"no connection within {_CONNECT_S:g} s")
            raise PeerLost(f"no connection to {self.endpoint}: {error}") from None
        return connection

    async def _exchange(self, connection: PeerConnection, asked: Asked) -> PeerAnswer:
        self._busy[connection] = asked
        if self._looking is None:
            self._look_soon()
        head = asked.head_for(self._host)
        try:
            if asked.body.is_whole:
                return await connection.ask(head, await asked.body.whole())
            return await connection.ask_in_pieces(head, asked.body.pieces())
        finally:
            del self._busy[connection]
            if connection.reusable:
                connection.idle_since_s = time.monotonic()
                self._idle.append(connection)
            else:
                connection.fail(PeerLost("nobody waits for it"))

    # Whether it lives

    def _look_soon(self) -> None:
        """One timer for all that is under way: one for each would cost as much as the exchange."""
        self._looking = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        now_s = time.monotonic()
        for connection, asked in list(self._busy.items()):
            since_s = connection.waits_since_s
            if since_s is None:
                continue
            if now_s > asked.ends_s + _SILENT_S:  # it was told when to answer at the latest
                connection.fail(PeerLost("no answer in time"))
            elif now_s - max(since_s, self._heard_at_s) > _SILENT_S:
                self._doubt()
        self._looking = None
        if self._busy:
            self._look_soon()

    def _doubt(self) -> None:
        """Find out whether it lives, unless that is under way."""
        if not self._closed and (self._checking is None or self._checking.done()):
            self._checking = asyncio.create_task(self._check())

    async def _check(self) -> None:
        # While its lease is over nobody asks it; and each probe of one that sleeps stays in its backlog.
        while not (self.live and await self._answers()):
            if self.live:
                self._went_down(f"no answer to a probe within {_PROBE_S:g} s")
            await asyncio.sleep(_PROBE_EVERY_S)
        self._heard_at_s = time.monotonic()
        if not self.up:
            log.info("peer is back", peer=self.server_id)
        self.up = True

    async def _answers(self) -> bool:
        """On a connection of its own, so that the way in is probed as well."""
        loop = asyncio.get_running_loop()
        host, port = self._address
        probe = b"GET /healthz HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % self._host
        connection: PeerConnection | None = None
        with contextlib.suppress(OSError, TimeoutError, UnicodeError, PeerLost):
            try:
                async with asyncio.timeout(_PROBE_S):
                    _, connection = await loop.create_connection(
                        lambda: PeerConnection(self.server_id), host, port, ssl=self._tls
                    )
                    return (await connection.ask(probe, b"")).status == 200
            finally:
                if connection is not None:
                    connection.fail(PeerLost("probed"))
        return False

    def _went_down(self, why: str) -> None:
        if not self.up:
            return
        self.up = False
        log.warning("peer is down", peer=self.server_id, url=self.endpoint, error=why)
        self._drop(why)
        self._doubt()

    def _drop(self, why: str) -> None:
        for connection in [*self._idle, *self._busy]:
            connection.fail(PeerLost(why))
        self._idle.clear()
