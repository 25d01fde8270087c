"""Server spans: one for each traced request, whether the fast path answers it or the application.

Stands before both, so that neither knows of traces. What is not traced costs a look at two headers.
"""

import re
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from aiohttp import web

from tenantry.tracing.sampling import Sampler
from tenantry.tracing.spans import Active, Span
from tenantry.tracing.traceparent import TRACEPARENT, TRACESTATE
from tenantry_server.wire import headers, later
from tenantry_server.wire.answers import WholeAnswer, header_of
from tenantry_server.wire.asked import USER
from tenantry_server.wire.heads import Block, Form, Target, path_of
from tenantry_server.wire.later import Continued, Ended, Later
from tenantry_server.wire.plain_connection import PlainServer

_QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/follow"})  # asked by machines, all the time
_ROUTES: dict[int, str] = {
    Form.NATIVE: "/predict/{user_id}",
    Form.V1: "/v1/models/{user_id}:predict",
    Form.V2: "/v2/models/{user_id}/infer",
}
_PLAIN = {
    route: re.compile(re.escape(route).replace(r"\{user_id\}", "[^/]+")) for route in _ROUTES.values()
}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_MOST_CHARACTERS = 512  # of a path
_SPAN = web.RequestKey("span", Span)  # of a request that the application goes on with
_Handler = Callable[[Any], Awaitable[web.StreamResponse]]


class Answering(Protocol):
    """What answers plain requests: see `wire.plain_connection`."""

    @property
    def most_bytes(self) -> int:
        """Of a body that is answered."""

    def answer(self, target: Target, block: Block, body: bytes) -> bytes | Later | None:
        """Return the whole answer to a request, or what gives it; None: the application has to see it."""


def install(server: web.Server, sampler: Sampler) -> None:
    """Trace what arrives at a server that has no connections yet."""
    server.request_handler = _traced(server.request_handler, sampler)
    if isinstance(server, PlainServer):
        server.answering = _Traced(server.answering, sampler)


class _Traced:
    """The fast path, with a span around what is sampled."""

    __slots__ = ("_answer", "_left", "_sampler", "most_bytes")

    def __init__(self, inner: Answering, sampler: Sampler) -> None:
        self._answer = inner.answer
        self._sampler = sampler
        self._left = sampler.gap()
        self.most_bytes = inner.most_bytes

    def answer(self, target: Target, block: Block, body: bytes) -> bytes | Later | None:
        # Most requests end here, in a small frame; a coin for each would cost ten times as much.
        if block.traceparent is None and not block.may_be_hop:
            self._left = left = self._left - 1
            if left:
                return self._answer(target, block, body)
        span = self._begun(block)
        return (
            self._answer(target, block, body) if span is None else self._spanned(span, target, block, body)
        )

    def _begun(self, block: Block) -> Span | None:
        """Return the span of a request that a caller may trace, or whose turn it is."""
        if block.traceparent is not None:
            return self._sampler.begin(block.traceparent, block.tracestate, is_hop=block.may_be_hop)
        if block.may_be_hop:
            return None
        self._left = self._sampler.gap()
        return self._sampler.root()

    def _spanned(self, span: Span, target: Target, block: Block, body: bytes) -> bytes | Later | None:
        held: list[Span] = []  # until it is known that this is the answer
        leave, span.ended = span.ended, held.append
        active = Active(span)
        with active:
            answer = self._answer(target, block, body)
            if answer is None:  # the application begins the span again
                return None
            if isinstance(answer, bytes):
                _describe_plain(span, target, answer)
            else:
                active.ends = False
        span.ended = leave
        if not isinstance(answer, bytes):
            return _TracedLater(span, target, answer)
        for each in held:
            leave(each)
        return answer


class _TracedLater(Later):
    """An answer that comes later, and with it the end of its request's span."""

    __slots__ = ("_later", "_span", "_target")

    def __init__(self, span: Span, target: Target, later: Later) -> None:
        self._span = span
        self._target = target
        self._later = later

    def begin(self, ended: Ended) -> None:
        active = Active(self._span)
        active.ends = False
        with active:  # what begins in it is a part of the span
            self._later.begin(partial(self._came, ended))

    def cancel(self) -> None:
        self._later.cancel()
        self._span.fail(CancelledError.__name__)
        self._span.end()

    def _came(self, ended: Ended, answer: bytes | Continued) -> None:
        if isinstance(answer, bytes):
            _describe_plain(self._span, self._target, answer)
            self._span.end()
        else:
            answer.known[_SPAN] = self._span
        ended(answer)


def _describe_plain(span: Span, target: Target, answer: bytes) -> None:
    route = _ROUTES[target.form]
    _describe(span, "POST", path_of(target), route)
    span.about(user_id=target.user_id)
    _answered(span, int(answer[9:12]), partial(header_of, answer))


def _traced(handler: _Handler, sampler: Sampler) -> _Handler:
    """Return a handler that traces what the fast path does not answer."""

    async def traced(request: Any) -> web.StreamResponse:
        parent, state = _sent(request, TRACEPARENT), _sent(request, TRACESTATE)
        later.recall(request)
        span = request.get(_SPAN) or sampler.begin(parent, state, is_hop=headers.HOP in request.headers)
        if span is None or request.path in _QUIET:
            return await handler(request)
        with Active(span):
            try:
                response = await handler(request)
            finally:
                span.about(user_id=request.get(USER))
                _describe(span, request.method, request.path, _route_of(request))
            named = response.header if isinstance(response, WholeAnswer) else response.headers.get
            _answered(span, response.status, named)
        return response

    return traced


def _sent(request: Any, name: str) -> str | None:
    """Return a header; one that was sent several times makes no sense as ``traceparent``."""
    given = request.headers.getall(name, None)
    return None if given is None else ",".join(given)


def _route_of(request: Any) -> str | None:
    """Return the route of a request, as its pattern has it; None: there is none."""
    try:
        resource = request.match_info.route.resource
    except (AssertionError, AttributeError):  # a peer answered before the application saw it
        return next((each for each in _ROUTES.values() if _PLAIN[each].fullmatch(request.path)), None)
    return None if resource is None else resource.canonical


def _describe(span: Span, method: str, path: str, route: str | None) -> None:
    """Name a request as the semantic conventions of HTTP do: by a route, never by a path."""
    known = method if method in _METHODS else "_OTHER"
    given = span.attributes
    given["http.request.method"] = known
    given["url.path"] = path[:_MOST_CHARACTERS]
    if route is not None:
        given["http.route"] = route
    verb = "HTTP" if known == "_OTHER" else known
    span.name = verb if route is None else f"{verb} {route}"


def _answered(span: Span, status: int, header: Callable[[str], str | None]) -> None:
    given = span.attributes
    given["http.response.status_code"] = status
    for name, attribute in (
        (headers.MODEL_ID, "tenantry.model_id"),
        (headers.SERVER, "tenantry.server_id"),
        (headers.REASON, "tenantry.reason"),
    ):
        value = header(name)
        if value is not None:
            given[attribute] = value
    if status >= 500:
        span.fail(str(given.get("tenantry.reason", status)))
