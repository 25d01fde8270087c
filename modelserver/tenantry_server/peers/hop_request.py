"""A request as it is passed on to a peer: which headers stay, and which are added."""

import time

from aiohttp import web

from tenantry_server.access.hops import Hops
from tenantry_server.peers.answers.answer import PeerAnswer
from tenantry_server.peers.answers.forms import Form
from tenantry_server.tracing import spans
from tenantry_server.tracing.traceparent import TRACEPARENT, TRACESTATE
from tenantry_server.wire import deadlines, headers
from tenantry_server.wire.bodies import Body

# About one connection (RFC 9110, 7.6.1), or written again for the next one.
_NOT_PASSED_ON = frozenset(
    {
        b"authorization",  # this server has judged it, and the next one believes this server
        b"connection",
        b"content-length",
        b"cookie",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        headers.HOP.lower().encode(),
        headers.TIMEOUT_MS.lower().encode(),
        headers.FRESH.lower().encode(),
        headers.PROOF.lower().encode(),
    }
)
_DECODED = frozenset({b"gzip", b"deflate", b"br", b"zstd"})  # by aiohttp, before any handler sees the body
_TRACE = frozenset({TRACEPARENT.encode(), TRACESTATE.encode()})
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close"})


class HopRequest:
    """One request on its way to the peer that answers it.

    Args:
        request: as it arrived.
        body: of the request; what has arrived is sent, and the rest as it arrives.
        server_id: the server that passes it on.
        timeout_s: how long a server takes for one request, unless the request names less.
        may_hold_up: whether a server may fall silent because of it.
        hops: proves to peers that a server of the fleet sends it; None: nothing does.

    Attributes:
        body, may_hold_up: as given.
        limit_s: how long the request may take, once its body has arrived.
        fresh: whether only a server whose lease holds may answer.
        tried: the ids of the peers that were asked.
        lost: the ids of peers that were lost while they may have worked on it.
        trace: in the place of the client's ``traceparent``; empty: that is passed on as it is.
    """

    __slots__ = (
        "_first",
        "_form",
        "_hops",
        "_kept",
        "_method",
        "_target",
        "body",
        "fresh",
        "limit_s",
        "lost",
        "may_hold_up",
        "trace",
        "tried",
    )

    def __init__(
        self,
        request: web.BaseRequest,
        body: Body,
        *,
        server_id: str,
        timeout_s: float,
        may_hold_up: bool = True,
        hops: Hops | None = None,
    ) -> None:
        self._method = request.method.encode()
        self._target = request.raw_path.encode("utf-8", "surrogateescape")
        self._form = Form(self._target)
        self._first = b"%b %b HTTP/1.1\r\nHost: " % (self._method, self._target)
        self._hops = hops
        given = request.raw_headers if spans.current() is None else _without_trace(request.raw_headers)
        self._kept = _kept(given) + f"{headers.HOP}: {server_id}\r\n".encode()
        self.limit_s = deadlines.limit_s(request, timeout_s)
        self.body = body
        self.may_hold_up = may_hold_up
        self.fresh = True
        self.tried: set[str] = set()
        self.lost: set[str] = set()
        self.trace = b""

    @property
    def method(self) -> str:
        """As in the request line."""
        return self._method.decode()

    @property
    def ends_s(self) -> float:
        """When the time is over, of `time.monotonic`; infinite while the body still arrives."""
        return self.body.whole_at_s + self.limit_s

    def head_for(self, host: bytes) -> bytes:
        """Return the request line and headers for the peer at `host`, an empty line at the end."""
        left_s = min(self.limit_s, self.ends_s - time.monotonic())
        length, digits = b"Transfer-Encoding: chunked", b"-"
        if self.body.is_whole:
            digits = b"%d" % self.body.length
            length = b"Content-Length: " + digits
        return b"%b%b\r\n%b%b%b%b%b\r\n%b: %d\r\n\r\n" % (
            self._first,
            host,
            self._kept,
            self.trace,
            _FRESH if self.fresh else b"",
            b"" if self._hops is None else self._hops.line(host, self._method, self._target, digits),
            length,
            _TIMEOUT_MS,
            max(0, int(left_s * 1e3)),
        )

    def check(self, answer: PeerAnswer) -> None:
        """Refuse an answer that has not the form of one to this request.

        Raises:
            BrokenAnswer: it has not.
        """
        self._form.check(answer)


_FRESH = f"{headers.FRESH}: required\r\n".encode()
_TIMEOUT_MS = headers.TIMEOUT_MS.encode()


def _kept(raw_headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Return every header that is about the request itself, a line break after each."""
    dropped = _NOT_PASSED_ON
    lines = []
    for name, value in raw_headers:
        lowered = name.lower()
        if lowered == b"connection" and value.lower() not in _PLAIN_CONNECTION:
            return _kept(_without_named(raw_headers, value))
        if lowered in dropped or (lowered == b"content-encoding" and value.lower() in _DECODED):
            continue
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)


def _without_trace(raw_headers: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Leave out whose trace the request continues: the next server continues a span of this one."""
    return tuple(each for each in raw_headers if each[0].lower() not in _TRACE)


def _without_named(
    raw_headers: tuple[tuple[bytes, bytes], ...], connection: bytes
) -> tuple[tuple[bytes, bytes], ...]:
    """Leave out the headers that `Connection` names, and that `Connection` itself."""
    named = {token.strip().lower() for token in connection.split(b",")}
    return tuple(
        (name, value)
        for name, value in raw_headers
        if name.lower() not in named and (name.lower(), value) != (b"connection", connection)
    )
