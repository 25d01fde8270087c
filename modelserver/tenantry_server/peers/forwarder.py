"""Carries out a route: asks peers one after another until one answers, or has this server answer.

Owns the hop: what a peer is sent, and what its answer becomes. Refuses to decide where a request is
answered (see `choice`), and to look into a request or an answer.
"""

import enum
import logging
import time
from collections.abc import Awaitable, Callable
from random import getrandbits

import structlog
from aiohttp import web

from tenantry.errors import (
    ArtifactUnavailable,
    LeaseLost,
    ModelLoading,
    ModelNotReady,
    ModelQuarantined,
    ModelStalled,
    PredictionTimeout,
    ServersLost,
)
from tenantry.processes.logs import OnChange
from tenantry_server.access.hops import Hops
from tenantry_server.peers import choice
from tenantry_server.peers.answers.answer import PeerAnswer, PeerLost
from tenantry_server.peers.choice import Ask, Here, Route
from tenantry_server.peers.connection_pool import MAX_LOST
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.hop_request import HopRequest
from tenantry_server.peers.peer import Peer
from tenantry_server.peers.spread import Spread
from tenantry_server.peers.view import FleetView
from tenantry_server.quotas.quotas import Left
from tenantry_server.wire import bodies, deadlines, headers
from tenantry_server.wire.answers import WholeAnswer
from tenantry_server.wire.bodies import Body

log = structlog.get_logger(__name__)

_METHODS = frozenset({"GET", "POST"})
_ABOUT_MEMORY = "/v2/repository/"
FINAL = frozenset({ModelNotReady.reason, ModelStalled.reason, ModelLoading.reason, ModelQuarantined.reason})
"""Reasons of a 503 of which no other server knows better."""

_TRIED = web.RequestKey("tried", set)
"""The ids of peers that could not answer, where none could."""

_LOST = web.RequestKey("lost", ServersLost)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Result(enum.StrEnum):
    """How a request that another server should answer was answered."""

    ANSWERED = "answered"  # by the first peer that was asked
    FAILED_OVER = "failed_over"  # by another peer
    SELF = "self"  # by this server, as no peer could


class Forwarder:
    """Passes on the requests that other servers should answer.

    Args:
        view: this server among the others; `choice` decides by it.
        directory: the others.
        timeout_s: for one request, as the server's own.
        max_body_bytes: of a request; a larger one is answered with 413.
        passed_on: called with the user of each prediction that a peer has answered, but for users who have
            limits.
        models_here: whether models run in the servers' own processes, where a prediction may hold up
            everything: then a peer that falls silent counts like one that ended.
        hops: proves to peers that this server sends a request; None: nothing does.

    Attributes:
        directory: as given.
        counts: how many requests were answered how.
    """

    def __init__(
        self,
        view: FleetView,
        directory: Directory,
        *,
        timeout_s: float,
        max_body_bytes: int,
        passed_on: Callable[[str], None] = lambda _: None,
        models_here: bool = True,
        hops: Hops | None = None,
    ) -> None:
        self._view = view
        self.directory = directory
        self._timeout_s = timeout_s
        self._max_body_bytes = max_body_bytes
        self._models_here = models_here
        self._passed_on = passed_on
        self._hops = hops
        self._quotas = view.quotas
        self._doubted = OnChange(log)
        self._hop_line = f"{headers.HOP}: {directory.server_id}\r\n".encode()
        self.counts = dict.fromkeys(Result, 0)

    async def handle(self, request: web.Request, user_id: str, here: Handler) -> web.StreamResponse:
        """Have a request answered: by a peer, or by `here`, within `deadlines.left_s`.

        Raises:
            QuotaExceeded: the server that counts for this user said so a moment ago.
            ServersLost: as many peers as may be were lost while they worked on it.
            LeaseLost: the request wants fresh knowledge, and no server that was asked has it.
            PredictionTimeout: the time is spent.
            web.HTTPRequestEntityTooLarge, web.RequestPayloadError: the body can't be read.
        """
        if _LOST in request:
            raise request[_LOST]
        question = _question(request, user_id)
        route = choice.choose(question, self._view)
        if isinstance(route, Ask):
            if request.method == "POST" and not question.about_memory:
                self._quotas.check_told(user_id)
            answer, route = await self._ask(request, route)
            if answer is not None:
                if not question.about_memory:
                    self._learn(user_id, answer)
                return self._response_of(answer)
        if question.wants_fresh and not self._view.lease_held:
            raise LeaseLost
        if deadlines.left_s(request, self._timeout_s) == 0:
            raise PredictionTimeout(deadlines.limit_s(request, self._timeout_s))
        if isinstance(route, Here) and route.may_rescue:
            return await self._here_or_rescued(request, question, here)
        return await here(request)

    @property
    def spread(self) -> Spread:
        """What passes on parts of a request for many users."""
        return Spread(
            self._view,
            self.directory,
            hops=self._hops,
            may_hold_up=self._models_here,
            passed_on=self._passed_on,
        )

    def check_told(self, user_id: str) -> None:
        """Refuse a prediction that other servers count and would refuse.

        Raises:
            QuotaExceeded: the server that counts for this user said so a moment ago.
        """
        if self.directory.peers:  # without any, this server answers
            self._quotas.check_told(user_id)

    async def pass_on_plain(self, request: web.Request, user_id: str) -> WholeAnswer | None:
        """Pass on a prediction whose body has arrived, past the application; None: the application answers.

        That saves the router, the middleware and the making of headers: the bytes that the peer sent go
        to the client.

        Raises:
            QuotaExceeded: as `check_told`.
        """
        if not self.directory.peers or not self._view.lease_held:
            return None
        route = choice.choose(choice.Request(user_id, draw=getrandbits(32)), self._view)
        if isinstance(route, Here) or self._body_of(request).length > self._max_body_bytes:
            return None
        self._quotas.check_told(user_id)
        try:
            answer, _ = await self._ask(request, route)
        except ServersLost as lost:
            request[_LOST] = lost
            return None
        if answer is None:
            return None
        self._learn(user_id, answer)
        wire = answer.passed_on(self._hop_line)
        return WholeAnswer(wire, len(answer.body), answer.status, passed_on=True)

    def _learn(self, user_id: str, answer: PeerAnswer) -> None:
        if answer.status == 429:
            self._quotas.told(user_id, _wait_s(answer))
        elif answer.status == 200 and self._quotas.left(user_id) is Left.UNLIMITED:
            self._passed_on(user_id)

    async def _ask(self, request: web.Request, route: Route) -> tuple[PeerAnswer | None, Route]:
        """Follow a route up to its end.

        Returns:
            the first answer that no other server could better, if there was one; and what is left of the
            route.
        """
        hop = self._hop_of(request, self._body_of(request))
        while isinstance(route, Ask):
            answer = await self._ask_each(hop, route)
            if answer is not None:
                return answer, route
            route = route.then
        self.counts[Result.SELF] += 1
        request[_TRIED] = hop.tried
        deadlines.begin(request, hop.ends_s)
        return None, route

    async def _ask_each(self, hop: HopRequest, ask: Ask) -> PeerAnswer | None:
        hop.fresh = ask.fresh
        give_up_s = time.monotonic() + hop.limit_s * ask.share if ask.share < 1.0 else hop.ends_s
        tried = 0
        for peer_id in ask.peers:
            if tried == ask.at_most or min(give_up_s, hop.ends_s) <= time.monotonic():
                break
            peer = self.directory.peers.get(peer_id)
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
            if answer.status in (401, 503) and not self._final(answer, peer):
                continue
            self.counts[Result.ANSWERED if tried == 1 else Result.FAILED_OVER] += 1
            if logging.getLogger().isEnabledFor(logging.DEBUG):
                log.debug("passed on", peer=peer_id, status=answer.status, tried=tried)
            return answer
        return None

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

    async def _here_or_rescued(
        self, request: web.Request, question: choice.Request, here: Handler
    ) -> web.StreamResponse:
        """Answer here; where this server can't reach the artifact store, ask peers that may."""
        body = self._body_of(request)  # kept, as it may have to be sent
        try:
            return await here(request)
        except ArtifactUnavailable as error:
            if error.reached:
                raise
            route = choice.rescue(question, self._view, request.get(_TRIED, ()))
            answer = await self._ask_each(self._hop_of(request, body), route)
            if answer is None:
                raise
            return self._response_of(answer)

    def _response_of(self, answer: PeerAnswer) -> web.Response:
        sent = answer.headers()
        sent[headers.HOP] = self.directory.server_id
        return web.Response(status=answer.status, body=answer.body, headers=sent)

    def _body_of(self, request: web.Request) -> Body:
        return bodies.begun(request, self._max_body_bytes)

    def _hop_of(self, request: web.Request, body: Body) -> HopRequest:
        return HopRequest(
            request,
            body,
            server_id=self.directory.server_id,
            timeout_s=self._timeout_s,
            may_hold_up=self._models_here,
            hops=self._hops,
        )


def _wait_s(answer: PeerAnswer) -> float:
    """Return the seconds until a peer may answer what it refused; 1.0 where it does not say."""
    try:
        return max(0.0, float(answer.headers()[headers.RETRY_AFTER_MS]) / 1e3)
    except (KeyError, ValueError):
        return 1.0


def _question(request: web.Request, user_id: str) -> choice.Request:
    return choice.Request(
        user_id,
        from_client=request.method in _METHODS and headers.HOP not in request.headers,
        asked_in_vain=_TRIED in request,
        about_memory=request.path.startswith(_ABOUT_MEMORY),
        wants_fresh=headers.FRESH in request.headers,
        draw=getrandbits(32),
    )
