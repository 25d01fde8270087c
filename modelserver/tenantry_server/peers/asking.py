"""Asks the peers of a route, one after another, until one answers.

Owns which answer counts and which means: ask the next one. Refuses to choose the route (see `choice`), and
to answer where no peer does.
"""

import enum
import logging
import time
from collections.abc import Callable, Collection, MutableMapping
from functools import partial
from typing import Any

import structlog
from aiohttp import web

from tenantry.errors import (
    LeaseLost,
    ModelLoading,
    ModelNotReady,
    ModelQuarantined,
    ModelStalled,
    ServersLost,
)
from tenantry.processes.logs import OnChange
from tenantry_server.peers.answers.answer import PeerAnswer, PeerLost
from tenantry_server.peers.choice import Ask, Route
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.peer import Peer
from tenantry_server.peers.sending.connection import PeerConnection
from tenantry_server.peers.sending.connection_pool import MAX_LOST
from tenantry_server.peers.sending.hop_request import HopRequest
from tenantry_server.peers.view import FleetView
from tenantry_server.wire import deadlines

log = structlog.get_logger(__name__)

FINAL = frozenset({ModelNotReady.reason, ModelStalled.reason, ModelLoading.reason, ModelQuarantined.reason})
"""Reasons of a 503 of which no other server knows better."""

TRIED = web.RequestKey("tried", set)
"""The ids of peers that could not answer, where none could."""


class Result(enum.StrEnum):
    """How a request that another server should answer was answered."""

    ANSWERED = "answered"  # by the first peer that was asked
    FAILED_OVER = "failed_over"  # by another peer
    SELF = "self"  # by this server, as no peer could


class Asking:
    """Follows routes.

    Args:
        view: this server among the others.
        directory: the others.

    Attributes:
        counts: how many requests were answered how.
    """

    def __init__(self, view: FleetView, directory: Directory) -> None:
        self._view = view
        self._directory = directory
        self._doubted = OnChange(log)
        self.counts = dict.fromkeys(Result, 0)

    def begin(
        self, hop: HopRequest, ask: Ask, ended: Callable[[PeerAnswer | None], None]
    ) -> PeerConnection | None:
        """Ask the first peer of a route at once, where a connection to it is idle.

        Args:
            ended: called with its answer, or with None: `follow` goes on, and asks nobody of `hop.tried`.

        Returns:
            the connection that waits for the answer; None: nothing was sent.
        """
        peers = self._directory.peers
        first = next((peer_id for peer_id in ask.peers if peer_id in peers and peers[peer_id].usable), None)
        if first is None or ask.share < 1.0:
            return None
        hop.fresh = ask.fresh
        peer = peers[first]
        hop.tried.add(first)
        connection = peer.begin(hop, partial(self._came, hop, peer, ended))
        if connection is None:
            hop.tried.clear()
        return connection

    def _came(
        self,
        hop: HopRequest,
        peer: Peer,
        ended: Callable[[PeerAnswer | None], None],
        outcome: PeerAnswer | PeerLost,
    ) -> None:
        """End what `begin` began."""
        if isinstance(outcome, PeerLost):
            if outcome.stale:  # another connection may work
                hop.tried.discard(peer.server_id)
            ended(None)
        elif self._counts(outcome, peer, 1):
            ended(outcome)
        else:
            ended(None)

    async def follow(
        self, hop: HopRequest, route: Route, known: MutableMapping[Any, Any]
    ) -> tuple[PeerAnswer | None, Route]:
        """Follow a route up to its end.

        Args:
            hop: whose `tried` are not asked again by the first step of the route.
            known: what is kept of the request: where no peer could answer, which were asked, and when it is
                over.

        Returns:
            the first answer that no other server could better, if there was one; and what is left of the
            route.

        Raises:
            ServersLost: as many peers as may be were lost while they worked on it.
        """
        asked: Collection[str] = tuple(hop.tried)
        while isinstance(route, Ask):
            answer = await self.each(hop, route, asked)
            if answer is not None:
                return answer, route
            route, asked = route.then, ()
        self.counts[Result.SELF] += 1
        known[TRIED] = hop.tried
        deadlines.begin(known, hop.ends_s)
        return None, route

    async def each(self, hop: HopRequest, ask: Ask, asked: Collection[str] = ()) -> PeerAnswer | None:
        """Ask the peers of one step; return the first answer that counts, if there was one.

        Args:
            asked: the ids of those that were asked before, in vain.

        Raises:
            ServersLost: as `follow`.
        """
        hop.fresh = ask.fresh
        give_up_s = time.monotonic() + hop.limit_s * ask.share if ask.share < 1.0 else hop.ends_s
        tried = 0
        for peer_id in ask.peers:
            if tried == ask.at_most or min(give_up_s, hop.ends_s) <= time.monotonic():
                break
            if peer_id in asked:
                tried += 1
                continue
            peer = self._directory.peers.get(peer_id)
            if peer is None or not peer.usable:
                continue  # it went down since the route was chosen
            tried += 1
            hop.tried.add(peer_id)
            try:
                answer = await peer.ask(hop)
            except PeerLost:
                # Without a lease it is more likely this server that is cut off from all others.
                if len(hop.lost) >= MAX_LOST and self._view.lease_held:
                    raise ServersLost(sorted(hop.lost)) from None
                continue
            if self._counts(answer, peer, tried):
                return answer
        return None

    def _counts(self, answer: PeerAnswer, peer: Peer, tried: int) -> bool:
        """Return whether an answer is the one for the client; count it."""
        if answer.status in (401, 503) and not self._final(answer, peer):
            return False
        self.counts[Result.ANSWERED if tried == 1 else Result.FAILED_OVER] += 1
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            log.debug("passed on", peer=peer.server_id, status=answer.status, tried=tried)
        return True

    def _final(self, answer: PeerAnswer, peer: Peer) -> bool:
        """Return whether no other server would answer better."""
        reason = answer.reason
        if answer.status == 401:  # it refused this server: the client was admitted here
            self._doubted.warning("a peer refuses this server; compare clocks and TENANTRY_FLEET_SECRET")
            return False
        if reason == LeaseLost.reason:
            peer.lease_over()
        if reason not in FINAL:
            log.debug("peer can't answer", peer=peer.server_id, reason=reason)
        return reason in FINAL
