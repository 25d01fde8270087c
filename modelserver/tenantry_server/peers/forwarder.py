"""Carries out a route: has peers answer a request, or this server.

Owns the hop: what a peer is sent, and what its answer becomes. Refuses to decide where a request is
answered (see `choice`), to ask peers in turn (see `asking`), and to look into a request or an answer.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from random import getrandbits
from typing import Any

from aiohttp import web

from tenantry.errors import ArtifactUnavailable, LeaseLost, PredictionTimeout, ServersLost
from tenantry.tracing import spans
from tenantry_server.access.hops import Hops
from tenantry_server.peers import choice
from tenantry_server.peers.answers.answer import PeerAnswer
from tenantry_server.peers.asking import TRIED, Asking
from tenantry_server.peers.choice import Ask, Here, Route
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.sending import hop_request
from tenantry_server.peers.sending.connection import PeerConnection
from tenantry_server.peers.sending.hop_request import HopBody, HopRequest
from tenantry_server.peers.spread import Spread
from tenantry_server.peers.view import FleetView
from tenantry_server.quotas.quotas import Left
from tenantry_server.wire import bodies, deadlines, headers
from tenantry_server.wire.asked import FAILED
from tenantry_server.wire.bodies import Body

_METHODS = frozenset({"GET", "POST"})
_ABOUT_MEMORY = "/v2/repository/"
_LOST = web.RequestKey("lost", ServersLost)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
        self._hop_line = f"{headers.HOP}: {directory.server_id}\r\n".encode()
        self._asking = Asking(view, directory)
        self.counts = self._asking.counts

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
            hop = self._hop_of(request, self._body_of(request))
            answer, route = await self._asking.follow(hop, route, request)
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

    def choose_plain(self, user_id: str) -> Route | None:
        """Choose where a plain prediction of a client is answered; None: the lease does not hold."""
        if not self._view.lease_held:
            return None
        return choice.choose(choice.Request(user_id, draw=getrandbits(32)), self._view)

    def begin(
        self, hop: HopRequest, user_id: str, route: Ask, ended: Callable[[PeerAnswer | None], None]
    ) -> PeerConnection | None:
        """Pass on a plain prediction at once, where that needs no new connection.

        Args:
            ended: called with the answer as soon as it arrives, or with None: `pass_on` goes on.

        Returns:
            the connection that waits for the answer; None: nothing was sent.

        Raises:
            QuotaExceeded: as `check_told`.
        """
        self._quotas.check_told(user_id)
        return self._asking.begin(hop, route, ended)

    async def pass_on(
        self, hop: HopRequest, user_id: str, route: Ask, known: MutableMapping[Any, Any]
    ) -> PeerAnswer | None:
        """Pass on a plain prediction; None: the application goes on.

        Args:
            known: the request, or what it will keep: it gets to know what was tried.

        Raises:
            QuotaExceeded: as `check_told`.
        """
        self._quotas.check_told(user_id)
        try:
            answer, _ = await self._asking.follow(hop, route, known)
        except ServersLost as lost:
            known[_LOST] = lost
            return None
        return answer

    def written(self, user_id: str, answer: PeerAnswer) -> bytes:
        """Return an answer to a plain prediction as the bytes for the client, and learn from it."""
        self._learn(user_id, answer)
        return answer.passed_on(self._hop_line)

    def plain_hop(self, target: str, kept: bytes, body: HopBody, timeout_s: float) -> HopRequest:
        """Return a plain prediction as it is passed on.

        Args:
            kept: as `hop_request.kept_of_block` gives it.
            timeout_s: that the request names; infinite: none.
        """
        return self._hop("POST", target, kept, body, min(self._timeout_s, timeout_s))

    def _learn(self, user_id: str, answer: PeerAnswer) -> None:
        if answer.status == 429:
            self._quotas.told(user_id, _wait_s(answer))
        elif answer.status == 200 and self._quotas.left(user_id) is Left.UNLIMITED:
            self._passed_on(user_id)

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
            route = choice.rescue(question, self._view, request.get(TRIED, ()))
            answer = await self._asking.each(self._hop_of(request, body), route)
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
        kept = hop_request.kept_of(request.raw_headers, traced=spans.current() is not None)
        limit_s = deadlines.limit_s(request, self._timeout_s)
        return self._hop(request.method, request.raw_path, kept, body, limit_s)

    def _hop(self, method: str, target: str, kept: bytes, body: HopBody, limit_s: float) -> HopRequest:
        return HopRequest(
            *(method, target, kept + self._hop_line, body),
            limit_s=limit_s,
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
        asked_in_vain=TRIED in request or FAILED in request,
        about_memory=request.path.startswith(_ABOUT_MEMORY),
        wants_fresh=headers.FRESH in request.headers,
        draw=getrandbits(32),
    )
