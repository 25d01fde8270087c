"""One other server, seen from this one: what is sent to it, and the probes that find out whether it lives.

Owns what this server learned by itself; `health` has the states. What the registry says of a peer is set
by `directory.Directory`. Refuses to choose whom to ask.
"""

import asyncio
import time
from functools import partial
from urllib.parse import urlsplit

import structlog

from tenantry.processes.logs import OnceAMinute
from tenantry.tracing import spans
from tenantry.tracing.spans import Kind, Value
from tenantry.trust.tls import Tls
from tenantry_server.peers.answers.answer import Abandoned, BrokenAnswer, PeerAnswer, PeerLost
from tenantry_server.peers.health import Health, PeerHealth
from tenantry_server.peers.sending.connection import Ended, PeerConnection
from tenantry_server.peers.sending.connection_pool import ConnectionPool, Forwarded, NoConnection

log = structlog.get_logger(__name__)

_SILENT_S = 0.3  # a warm model answers in far less; a cold one is worth a probe
_PROBE_S = 0.5
_PROBE_EVERY_S = 0.5
_CHECK_EVERY_S = 0.1
_IN_FLIGHT_LOAD = 0.1  # the load that a server reports is a second old; requests sent since then count


class Peer:
    """Another server.

    Args:
        server_id: its name, which every answer of it carries.
        endpoint: its base URL.
        tls: how this server connects to it; None: by the address, trusting whom the system trusts.

    Raises:
        ValueError: `endpoint` is not a URL.

    Attributes:
        leaving: the peer was told to stop.
        load: busy share of its core, 0 to 1, as it last reported.
        in_flight: requests of this server that it has not answered.
    """

    def __init__(self, server_id: str, endpoint: str, tls: Tls | None = None) -> None:
        self.server_id = server_id
        self.endpoint = endpoint
        self.leaving = False
        self.load = 0.0
        self.in_flight = 0
        url = urlsplit(endpoint)
        self._where: dict[str, Value] = {
            "tenantry.peer_id": server_id,
            "server.address": url.hostname or "",
            "server.port": url.port or 0,
        }
        self._health = PeerHealth()
        self._connections = ConnectionPool(server_id, endpoint, lambda: self._health.up, tls or Tls())
        self._probing: asyncio.Task[None] | None = None
        self._next_check: asyncio.TimerHandle | None = None
        self._heard_at_s = 0.0
        self._broken = OnceAMinute(
            log, "a peer answers what no server of ours does; its answers are dropped"
        )
        self.prune = self._connections.prune

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
        """False for a moment after it answered that its lease is over."""
        return self._health.leased(time.monotonic())

    @property
    def busyness(self) -> float:
        """What to compare servers by: smaller is better."""
        return self.load + _IN_FLIGHT_LOAD * self.in_flight

    def lease_over(self) -> None:
        """Remember for a second that it answered so."""
        self._health.lease_over(time.monotonic())

    def begin(self, request: Forwarded, ended: Ended) -> PeerConnection | None:
        """Pass a request on, where a connection is idle.

        Returns:
            the connection that waits for the answer; None: nothing was sent, and `ask` opens one.
        """
        self.in_flight += 1
        connection = self._connections.begin(request, partial(self._came, ended))
        if connection is None:
            self.in_flight -= 1
        elif self._next_check is None:
            self._check_soon()
        return connection

    async def ask(self, request: Forwarded) -> PeerAnswer:
        """Pass a request on.

        Raises:
            PeerLost: no answer came, or none of ours; a probe finds out whether this peer lives.
        """
        with spans.part("hop", Kind.CLIENT) as span:
            if span is None:
                return await self._ask(request)
            request.trace = span.lines
            span.attributes |= {"http.request.method": request.method, **self._where}
            answer = await self._ask(request)
            span.attributes["http.response.status_code"] = answer.status
            if answer.status >= 400:
                span.fail(answer.reason or str(answer.status))
            return answer

    async def _ask(self, request: Forwarded) -> PeerAnswer:
        self.in_flight += 1
        if self._next_check is None:
            self._check_soon()
        try:
            return await self._connections.ask(request)
        except PeerLost as lost:
            self._note_lost(lost)
            raise
        finally:
            self.in_flight -= 1

    def _came(self, ended: Ended, outcome: PeerAnswer | PeerLost) -> None:
        """End what `begin` began."""
        self.in_flight -= 1
        if isinstance(outcome, PeerLost) and not outcome.stale:
            self._note_lost(outcome)
        ended(outcome)

    def _note_lost(self, lost: PeerLost) -> None:
        if isinstance(lost, NoConnection):
            self._went_down(str(lost))
        elif isinstance(lost, BrokenAnswer):
            self.broke(str(lost))
        elif not isinstance(lost, Abandoned):
            log.debug("peer lost", peer=self.server_id, error=str(lost))
            self._doubt()

    def broke(self, problem: str) -> None:
        """Take note of an answer that breaks the rules: the peer has failed, as if there were none."""
        self._broken.warning(peer=self.server_id, url=self.endpoint, latest=problem)
        self._doubt()

    def close(self) -> None:
        """End every connection, and every probe."""
        self._health.close()
        if self._probing is not None:
            self._probing.cancel()
        if self._next_check is not None:
            self._next_check.cancel()
            self._next_check = None
        self._connections.drop("this server closed it")

    def _check_soon(self) -> None:
        """Start one timer for all requests under way: one for each costs as much as the exchange."""
        self._next_check = asyncio.get_running_loop().call_later(_CHECK_EVERY_S, self._check)

    def _check(self) -> None:
        now_s = time.monotonic()
        for connection, request in self._connections.under_way():
            since_s = connection.waits_since_s
            if since_s is None:
                continue
            if now_s > request.ends_s + _SILENT_S:  # the request said when to answer at the latest
                connection.fail(PeerLost("no answer in time"))
            elif now_s - max(since_s, self._heard_at_s) > _SILENT_S:
                self._doubt()
        self._next_check = None
        if self.in_flight:
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
        while not (self.live and await self._connections.probe(_PROBE_S)):
            if self.live:
                self._went_down(f"no answer to a probe within {_PROBE_S:g} s")
            await asyncio.sleep(_PROBE_EVERY_S)
        self._heard_at_s = time.monotonic()
        if self._health.answered():
            log.info("peer is back", peer=self.server_id)

    def _went_down(self, why: str) -> None:
        if self._health.failed():
            log.warning("peer is down", peer=self.server_id, url=self.endpoint, error=why)
            self._connections.drop(why)
            self._probe()
