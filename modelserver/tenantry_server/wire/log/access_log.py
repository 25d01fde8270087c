"""The access log: one structured line for each request, whatever answered it.

Owns which requests get a line, and what stands on it: no body, no query, no credential, and nothing of a
stranger's that is long or not printable. Refuses where lines go. Where it is off, none of this is in the
way of a request: connections are of another class, and aiohttp is given no logger.
"""

import logging
import random
import re
import time
from asyncio import BaseTransport
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from tenantry_server.wire import headers
from tenantry_server.wire.answers import WholeAnswer, header_of
from tenantry_server.wire.asked import BEGAN_S, USER
from tenantry_server.wire.heads import END, Block, Form, Target
from tenantry_server.wire.later import Continued, Later, Watched
from tenantry_server.wire.plain_connection import Answering, PlainConnection, PlainServer

PROTOCOL = "tenantry.protocol"
"""What a transport without a socket says of itself: the protocol whose calls it carries."""

Line = Mapping[str, object]

_LONGEST = 300  # characters of a path: the longest user id fits
_LONGEST_ID = 128
_ERRORS = 400
_USER = re.compile(
    r"/(?:predict|forecast|cards)/([^/]+)|/v1/models/([^/:]+)(?::predict)?|/v2/models/([^/]+)(?:/.*)?"
    r"|/v2/repository/models/([^/]+)/.*"
)
_USER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,252}")
_REQUEST_ID = re.compile(rb"\r\nx-request-id:[ \t]*([^\r\n]*)", re.IGNORECASE)
_TRACEPARENT = re.compile(rb"\r\ntraceparent:[ \t]*([^\r\n]*)", re.IGNORECASE)
_TRACE_ID = re.compile("[0-9a-f]{2}-([0-9a-f]{32})-")
_FORMS = {
    Form.NATIVE: ("native", "/predict/", ""),
    Form.V1: ("v1", "/v1/models/", ":predict"),
    Form.V2: ("v2", "/v2/models/", "/infer"),
}


class Asked(NamedTuple):
    """A request on the fast path.

    Attributes:
        seen: all of it, from its first byte on.
        protocol: of the calls that its connection carries; None: its path says it.
    """

    target: Target
    block: Block
    seen: bytes
    protocol: str | None


class AccessLog:
    """Writes a line for the requests that it should.

    Args:
        share: of answers below 400, 0 to 1; errors are always written.
        write: takes the fields of one line.
        draw: returns a number from 0 to below 1.
    """

    def __init__(
        self, share: float, write: Callable[[Line], None], draw: Callable[[], float] = random.random
    ) -> None:
        self._share = share
        self._write = write
        self._draw = draw

    def wants(self, status: int) -> bool:
        """Return whether an answer with this status gets a line."""
        return status >= _ERRORS or self._share >= 1.0 or (self._share > 0 and self._draw() < self._share)

    def connection(self, server: PlainServer, **settings: Any) -> PlainConnection:
        """Make a connection whose requests on the fast path get their lines."""
        return _LoggedConnection(self, server, **settings)

    def of_aiohttp(self, request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> None:
        """Log an answer of the application, or of aiohttp itself."""
        if self.wants(response.status):
            if BEGAN_S in request:
                seconds = time.perf_counter() - request[BEGAN_S]
            self._write(_slow_line(request, response, seconds))

    def answered(self, asked: "Asked", answer: bytes, seconds: float) -> None:
        """Log an answer of the fast path, given from its first byte on."""
        status = int(answer[9:12])
        if self.wants(status):
            self._write(_fast_line(asked, answer, seconds, status))


def of_setting(text: str, write: Callable[[Line], None]) -> AccessLog | None:
    """Return the access log of a setting of the form `access_log_setting.FORM`; None: it is off.

    Example:
        >>> of_setting("off", print) is None, of_setting("errors", print).wants(200)
        (True, False)
    """
    if text == "off":
        return None
    shares = {"errors": 0.0, "all": 1.0}
    return AccessLog(shares[text] if text in shares else float(text.partition(":")[2]), write)


def for_aiohttp(log: AccessLog | None) -> dict[str, Any]:
    """Return what makes aiohttp's runner log to this; None: it logs nothing."""
    if log is None:
        return {"access_log": None}
    answered = log.of_aiohttp

    class Logger(AbstractAccessLogger):  # made for each connection
        def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
            answered(request, response, time)

    return {"access_log_class": Logger, "access_log": logging.getLogger(__name__)}


class _Logged:
    """Answers as another one does, and logs it.

    Attributes:
        seen: the request, from its first byte on.
    """

    __slots__ = ("_answering", "_log", "_protocol", "seen")

    def __init__(self, answering: Answering, log: AccessLog, protocol: str | None) -> None:
        self._answering = answering
        self._log = log
        self._protocol = protocol
        self.seen = b""

    @property
    def most_bytes(self) -> int:
        return self._answering.most_bytes

    def answer(self, target: Target, block: Block, body: bytes) -> bytes | Later | None:
        began_s = time.perf_counter()
        answer = self._answering.answer(target, block, body)
        if answer is not None:
            asked = Asked(target, block, self.seen, self._protocol)
            if not isinstance(answer, bytes):
                self.seen = b""
                return Watched(answer, partial(self._see, asked, began_s))
            self._log.answered(asked, answer, time.perf_counter() - began_s)
        self.seen = b""
        return answer

    def _see(self, asked: Asked, began_s: float, answer: bytes | Continued) -> None:
        if isinstance(answer, bytes):
            self._log.answered(asked, answer, time.perf_counter() - began_s)


class _LoggedConnection(PlainConnection):
    __slots__ = ("_log", "_logged")

    def __init__(self, log: AccessLog, server: PlainServer, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._log = log

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._logged = _Logged(self._answering, self._log, transport.get_extra_info(PROTOCOL))
        self._answering = self._logged

    def _take(self, data: bytes) -> bool:
        self._logged.seen = data
        return super()._take(data)


def _fast_line(asked: Asked, answer: bytes, seconds: float, status: int) -> Line:
    target, block, seen, carried = asked
    protocol, before, after = _FORMS[Form(target.form)]
    return {
        "method": "POST",
        "path": f"{before}{target.user_id}{after}",
        "protocol": carried or protocol,
        "user": target.user_id,
        "status": status,
        "ms": round(seconds * 1e3, 3),
        "bytes_in": block.body_bytes,
        "bytes_out": len(answer) - answer.find(END) - len(END),
        "route": "from_peer" if block.may_be_hop else "passed_on" if _was_passed_on(answer) else "local",
        "request_id": _id_in(seen[: seen.find(END) + len(END)]),
    }


def _slow_line(request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> Line:
    path = request.rel_url.path  # without its query, or a name and password before the host
    transport = request.transport
    carried = None if transport is None else transport.get_extra_info(PROTOCOL)
    given = request.headers
    return {
        "method": _plain(request.method, 16),
        "path": _plain(path, _LONGEST),
        "protocol": carried or _protocol_of(path),
        "user": _user_id(request.get(USER)) or _user_in(path),
        "status": response.status,
        "ms": round(seconds * 1e3, 3),
        "bytes_in": request.content.total_bytes,
        "bytes_out": _body_bytes(response),
        "route": _route(request, response),
        "request_id": _id_of(given.get("X-Request-Id", ""), given.get("traceparent", "")),
    }


def _route(request: web.BaseRequest, response: web.StreamResponse) -> str:
    if headers.HOP in request.headers:
        return "from_peer"
    if isinstance(response, WholeAnswer):
        return "local"
    return "passed_on" if headers.HOP in response.headers else "local"


def _was_passed_on(answer: bytes) -> bool:
    return header_of(answer, headers.HOP) is not None


def _body_bytes(response: web.StreamResponse) -> int:
    """Return the length of the answer's body: to aiohttp, `body_length` is that of the head too."""
    if isinstance(response, WholeAnswer) or response.content_length is None:
        return response.body_length
    return response.content_length


def _protocol_of(path: str) -> str:
    if path.startswith(("/predict", "/forecast")):
        return "native"
    return path[1:3] if path.startswith(("/v1/", "/v2/")) or path == "/v2" else "http"


def _user_in(path: str) -> str | None:
    found = _USER.fullmatch(path)
    return _user_id(found[found.lastindex or 1]) if found else None


def _user_id(named: str | None) -> str | None:
    """Return what can be a user id, and no other text of a stranger."""
    return named if named is not None and _USER_ID.fullmatch(named) else None


def _id_in(head: bytes) -> str | None:
    found = (each.search(head) for each in (_REQUEST_ID, _TRACEPARENT))
    request_id, traceparent = (each[1].decode("utf-8", "surrogateescape") if each else "" for each in found)
    return _id_of(request_id.strip(), traceparent)


def _id_of(request_id: str, traceparent: str) -> str | None:
    """Return the id that the client gave, else that of its trace."""
    if request_id:
        return _plain(request_id, _LONGEST_ID)
    found = _TRACE_ID.match(traceparent)
    return found[1] if found else None


def _plain(text: str, longest: int) -> str:
    r"""Return a stranger's text as printable ASCII, cut where it is long.

    Example:
        >>> _plain("a\x1b[2Jé\udc80", 300)
        'a\\x1b[2J\\xe9\\udc80'
    """
    return text[:longest].encode("unicode_escape").decode("ascii")
