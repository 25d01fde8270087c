"""Passing a request on to the server that holds the model it asks for.

Owns the hop: one after another is asked until one answers, and at last this server does so itself. That
is about speed; any server can answer any request. Refuses to choose (see `holders`), and to look into a
request or an answer.
"""

import enum
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import takewhile
from typing import Any

import structlog
from aiohttp import HttpVersion11, web

from tenantry.errors import ArtifactUnavailable, LeaseLost, ModelLoading, ModelNotReady, PredictionTimeout
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.peers.choice import Holders
from tenantry_server.peers.connection import PeerAnswer, PeerLost
from tenantry_server.peers.directory import Peers
from tenantry_server.peers.hop_request import HopRequest
from tenantry_server.peers.peer import Peer
from tenantry_server.wire import deadlines, headers
from tenantry_server.wire.answers import WholeAnswer
from tenantry_server.wire.bodies import BODY, Body

log = structlog.get_logger(__name__)

MAX_PEERS = 2
"""Asked one after another before this server answers itself: each may take its time to fail."""

_METHODS = frozenset({"GET", "POST"})
_ABOUT_MEMORY = "/v2/repository/"
_PASSED_ON = frozenset({ModelNotReady.reason, ModelLoading.reason})  # no other server knows better
_NAME = "([A-Za-z0-9._~@:+-]+)"
_PLAIN_TARGET = re.compile(f"/(?:predict/{_NAME}|v1/models/{_NAME}:predict|v2/models/{_NAME}/infer)")
_TRIED = web.RequestKey("tried", set)
"""The ids of peers that could not answer, where nobody could."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Result(enum.StrEnum):
    """What became of a request that was to be passed on."""

    ANSWERED = "answered"  # by the first that was asked
    FAILED_OVER = "failed_over"  # by another
    SELF = "self"  # by nobody, so this server had to


class Forwarder:
    """Passes on the requests that others should answer.

    Args:
        table: tells whether this server's own knowledge may be trusted.
        peers: the others.
        holders: which of them to ask.
        timeout_s: for one request, as the server's own.
        max_body_bytes: of a request; a larger one is answered with 413.

    Attributes:
        peers: as given.
        counts: how many requests came to which end.
    """

    def __init__(
        self,
        table: RoutingTable,
        peers: Peers,
        holders: Holders,
        *,
        timeout_s: float,
        max_body_bytes: int,
    ) -> None:
        self._table = table
        self.peers = peers
        self._holders = holders
        self._timeout_s = timeout_s
        self._max_body_bytes = max_body_bytes
        self._hop_line = f"{headers.HOP}: {peers.server_id}\r\n".encode()
        self.counts = dict.fromkeys(Result, 0)

    async def handle(self, request: web.Request, user_id: str, here: Handler) -> web.StreamResponse:
        """Have a request answered: by who holds the model, else `here`, within `deadlines.left_s`.

        Where this server can't reach the model's store, others are asked once more: they may.

        Raises:
            LeaseLost: the request wants fresh knowledge, and nobody who was asked has it.
            PredictionTimeout: the time is spent.
            web.HTTPRequestEntityTooLarge, web.RequestPayloadError: the body can't be read.
        """
        from_client = request.method in _METHODS and headers.HOP not in request.headers
        if from_client and _TRIED not in request:
            answer = await self._elsewhere(request, user_id)
            if answer is not None:
                return self._passed_on(answer)
        if headers.FRESH in request.headers and not self._table.lease_held:
            raise LeaseLost
        if deadlines.left_s(request, self._timeout_s) == 0:
            raise PredictionTimeout(deadlines.limit_s(request, self._timeout_s))
        others_may = len(self.peers) and not request.path.startswith(_ABOUT_MEMORY)
        if from_client and others_may:
            return await self._here_or_elsewhere(request, user_id, here)
        return await here(request)

    def shorten(self, server: web.Server, answered: Callable[[int, float], None]) -> None:
        """Pass plain predictions on before `server` asks its application.

        That saves the router, the middleware and the making of headers: the bytes that the peer sent go
        to the client. Everything else goes on, unchanged.

        Args:
            answered: told the status and the seconds of what went this way.
        """
        inner = server.request_handler

        async def handler(request: Any) -> web.StreamResponse:
            named = _PLAIN_TARGET.fullmatch(request.raw_path)
            if (
                named is None
                or not len(self.peers)
                or not self._table.lease_held
                or request.method != "POST"
                or not _is_plain(request)
            ):
                return await inner(request)
            steps = self._holders.elsewhere(named[named.lastindex or 1])
            if steps is None:
                return await inner(request)
            began_s = time.perf_counter()
            body = self._body_of(request)
            if body.length > self._max_body_bytes:
                return await inner(request)
            asked = self._asked(request, body)
            answer = await self._ask_each(asked, steps, MAX_PEERS)
            if answer is None:
                self._give_up(request, asked)
                return await inner(request)
            answered(answer.status, time.perf_counter() - began_s)
            return WholeAnswer(answer.passed_on(self._hop_line), len(answer.body), answer.status)

        server.request_handler = handler

    async def _elsewhere(self, request: web.Request, user_id: str) -> PeerAnswer | None:
        unsure = not self._table.lease_held and not self._table.registry_answers
        steps = self._holders.elsewhere(
            user_id, held_only=request.path.startswith(_ABOUT_MEMORY), leased=not unsure
        )
        if not len(self.peers) or (steps is None and not unsure):
            return None
        asked = self._asked(request, self._body_of(request))
        answer = None
        if unsure:  # fresh comes before near, and where nobody has a lease near is what is left
            give_up_s = time.monotonic() + asked.limit_s / 2
            everybody = takewhile(lambda _: time.monotonic() < give_up_s, self._holders.everybody(user_id))
            answer = await self._ask_each(asked, everybody, len(self.peers))
            asked.fresh = headers.FRESH in request.headers
        if answer is None and steps is not None:
            answer = await self._ask_each(asked, steps, MAX_PEERS)
        if answer is None:
            self._give_up(request, asked)
        return answer

    async def _ask_each(self, asked: HopRequest, steps: Iterator[Peer], limit: int) -> PeerAnswer | None:
        """The first answer that another server could not better; None: there was none."""
        tried = 0
        for peer in steps:
            if tried == limit or asked.ends_s <= time.monotonic():
                break
            tried += 1
            asked.tried.add(peer.server_id)
            try:
                answer = await peer.ask(asked)
            except PeerLost:
                continue
            if answer.status == 503:
                reason = answer.reason
                if reason == LeaseLost.reason:
                    peer.has_no_lease()
                if reason not in _PASSED_ON:
                    log.debug("peer can't answer", peer=peer.server_id, reason=reason)
                    continue
            self.counts[Result.ANSWERED if tried == 1 else Result.FAILED_OVER] += 1
            if logging.getLogger().isEnabledFor(logging.DEBUG):
                log.debug("passed on", peer=peer.server_id, status=answer.status, tried=tried)
            return answer
        return None

    async def _here_or_elsewhere(
        self, request: web.Request, user_id: str, here: Handler
    ) -> web.StreamResponse:
        body = self._body_of(request)  # kept, as it may have to be sent
        try:
            return await here(request)
        except ArtifactUnavailable as error:
            if error.reached:
                raise
            tried = request.get(_TRIED, ())
            others = (p for p in self._holders.everybody(user_id) if p.server_id not in tried)
            answer = await self._ask_each(self._asked(request, body), others, MAX_PEERS)
            if answer is None:
                raise
            return self._passed_on(answer)

    def _passed_on(self, answer: PeerAnswer) -> web.Response:
        sent = answer.headers()
        sent[headers.HOP] = self.peers.server_id
        return web.Response(status=answer.status, body=answer.body, headers=sent)

    def _body_of(self, request: web.Request) -> Body:
        body = request.get(BODY)
        if body is None:
            content = request.content
            whole = content.read_nowait() if content.is_eof() and content.exception() is None else None
            body = request[BODY] = Body(request, self._max_body_bytes, whole)
        return body

    def _asked(self, request: web.Request, body: Body) -> HopRequest:
        return HopRequest(request, body, server_id=self.peers.server_id, timeout_s=self._timeout_s)

    def _give_up(self, request: web.Request, asked: HopRequest) -> None:
        self.counts[Result.SELF] += 1
        request[_TRIED] = asked.tried
        deadlines.begin(request, asked.ends_s)


def _is_plain(request: web.Request) -> bool:
    """Its body is there, it comes straight from a client, and the connection stays open."""
    content = request.content
    return (
        content.is_eof()
        and content.exception() is None
        and request.keep_alive
        and request.version == HttpVersion11
        and headers.HOP not in request.headers
    )
