"""One other server, seen from this one: its connections, and the probes that find out whether it lives.

Owns what this server learned by itself; `health` has the states. What the registry says of a peer is set
by `directory.Directory`. Refuses to choose whom to ask.
"""

import asyncio
import contextlib
import time
from typing import Protocol
from urllib.parse import urlsplit

import structlog

from tenantry_server.peers.connection import PeerAnswer, PeerConnection, PeerLost
from tenantry_server.peers.health import Health, PeerHealth
from tenantry_server.wire.bodies import Body

log = structlog.get_logger(__name__)

_CONNECT_S = 0.5
_SILENT_S = 0.3  # a warm model answers in far less; a cold one is worth a probe
_PROBE_S = 0.5
_PROBE_EVERY_S = 0.5
_CHECK_EVERY_S = 0.1
_IDLE_S = 30.0  # our servers close theirs after an hour; a proxy in between may do so after a minute
_OPENING = 16  # connections at once: a server's backlog holds 128, of all its clients
_IN_FLIGHT_LOAD = 0.1  # the load that a server reports is a second old; requests sent since then count


class Forwarded(Protocol):
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
        ValueError: `endpoint` is not a URL.

    Attributes:
        leaving: the peer was told to stop.
        load: busy share of its core, 0 to 1, as it last reported.
        in_flight: requests of this server that it has not answered.
    """

    def __init__(self, server_id: str, endpoint: str) -> None:
        self.server_id = server_id
        self.endpoint = endpoint
        self.leaving = False
        self.load = 0.0
        self.in_flight = 0
        url = urlsplit(endpoint)
        self._address = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
        self._tls = True if url.scheme == "https" else None
        self._host = url.netloc.encode()
        self._health = PeerHealth()
        self._idle: list[PeerConnection] = []
        self._busy: dict[PeerConnection, Forwarded] = {}
        self._opening = asyncio.Semaphore(_OPENING)
        self._probing: asyncio.Task[None] | None = None
        self._next_check: asyncio.TimerHandle | None = None
        self._heard_at_s = 0.0

    @property
    def live(self) -> bool:
        """Whether its lease held when the registry was read last."""
        return self._health.live

    @live.setter
    def live(self, live: bool) -> None:
        self._health.live = live

    @property
    def up(self) -> bool:
        """False from when it did not answer until a probe found it again."""
        return self._health.up

    @property
    def usable(self) -> bool:
        """Whether it is worth asking."""
        return self._health.usable

    @property
    def leased(self) -> bool:
        """False for a moment after it said that its lease is over."""
        return self._health.leased(time.monotonic())

    @property
    def busyness(self) -> float:
        """What to compare servers by: smaller is better."""
        return self.load + _IN_FLIGHT_LOAD * self.in_flight

    def lease_over(self) -> None:
        """Remember for a second that it said so."""
        self._health.lease_over(time.monotonic())

    async def ask(self, request: Forwarded) -> PeerAnswer:
        """Pass a request on; replace a connection that was closed meanwhile, once.

        Raises:
            PeerLost: no answer came; a probe finds out whether this peer lives.
        """
        self.in_flight += 1
        try:
            connection = self._kept()
            if connection is not None:
                try:
                    return await self._exchange(connection, request)
                except PeerLost as lost:
                    if not lost.stale:
                        raise
            return await self._exchange(await self._connection(), request)
        except PeerLost as lost:
            log.debug("peer lost", peer=self.server_id, error=str(lost))
            self._doubt()
            raise
        finally:
            self.in_flight -= 1

    def prune(self) -> None:
        """Close the connections that no request needed for a while."""
        before_s = time.monotonic() - _IDLE_S
        old = [c for c in self._idle if c.idle_since_s < before_s or not c.reusable]
        self._idle = [c for c in self._idle if c not in old]
        for connection in old:
            connection.fail(PeerLost("idle for too long"))

    def close(self) -> None:
        """End every connection, and every probe."""
        self._health.close()
        if self._probing is not None:
            self._probing.cancel()
        if self._next_check is not None:
            self._next_check.cancel()
            self._next_check = None
        self._drop("this server closed it")

    def _kept(self) -> PeerConnection | None:
        while self._idle:
            connection = self._idle.pop()  # the latest: the others grow old and are closed
            if connection.reusable:
                return connection
        return None

    async def _connection(self) -> PeerConnection:
        async with self._opening:
            if not self._health.up:
                raise PeerLost("the peer is down")
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
        except (OSError, TimeoutError, UnicodeError) as error:  # UnicodeError: not a host name
            self._went_down(str(error) or f"no connection within {_CONNECT_S:g} s")
            raise PeerLost(f"no connection to {self.endpoint}: {error}") from None
        return connection

    async def _exchange(self, connection: PeerConnection, request: Forwarded) -> PeerAnswer:
        self._busy[connection] = request
        if self._next_check is None:
            self._check_soon()
        head = request.head_for(self._host)
        try:
            if request.body.is_whole:
                return await connection.ask(head, await request.body.whole())
            return await connection.ask_in_pieces(head, request.body.pieces())
        finally:
            del self._busy[connection]
            if connection.reusable:
                connection.idle_since_s = time.monotonic()
                self._idle.append(connection)
            else:
                connection.fail(PeerLost("no request waits for it"))

    # Whether it lives

    def _check_soon(self) -> None:
        """Start one timer for all requests under way: one for each costs as much as the exchange."""
        self._next_check = asyncio.get_running_loop().call_later(_CHECK_EVERY_S, self._check)

    def _check(self) -> None:
        now_s = time.monotonic()
        for connection, request in list(self._busy.items()):
            since_s = connection.waits_since_s
            if since_s is None:
                continue
            if now_s > request.ends_s + _SILENT_S:  # the request said when to answer at the latest
                connection.fail(PeerLost("no answer in time"))
            elif now_s - max(since_s, self._heard_at_s) > _SILENT_S:
                self._doubt()
        self._next_check = None
        if self._busy:
            self._check_soon()

    def _doubt(self) -> None:
        self._health.doubt()
        self._probe()

    def _probe(self) -> None:
        """Find out whether the peer lives, unless that is under way."""
        closed = self._health.state is Health.CLOSED
        if not closed and (self._probing is None or self._probing.done()):
            self._probing = asyncio.create_task(self._probe_until_answered())

    async def _probe_until_answered(self) -> None:
        # While its lease is over nobody asks it; and each probe of a paused process stays in its backlog.
        while not (self.live and await self._answers_probe()):
            if self.live:
                self._went_down(f"no answer to a probe within {_PROBE_S:g} s")
            await asyncio.sleep(_PROBE_EVERY_S)
        self._heard_at_s = time.monotonic()
        if self._health.answered():
            log.info("peer is back", peer=self.server_id)

    async def _answers_probe(self) -> bool:
        """Probe on a connection of its own, so that accepting connections is probed as well."""
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
                    connection.fail(PeerLost("the probe is over"))
        return False

    def _went_down(self, why: str) -> None:
        if self._health.failed():
            log.warning("peer is down", peer=self.server_id, url=self.endpoint, error=why)
            self._drop(why)
            self._probe()

    def _drop(self, why: str) -> None:
        for connection in [*self._idle, *self._busy]:
            connection.fail(PeerLost(why))
        self._idle.clear()
