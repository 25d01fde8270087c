"""A request as it is passed on to a peer: which headers stay, and which are added."""

import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

from tenantry.tracing.traceparent import TRACEPARENT, TRACESTATE
from tenantry_server.access.hops import Hops
from tenantry_server.peers.answers.answer import PeerAnswer
from tenantry_server.peers.answers.forms import Form
from tenantry_server.peers.sending.connection_pool import Sent
from tenantry_server.wire import headers

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


class HopBody(Sent, Protocol):
    """The body of a request, as far as it has arrived."""

    @property
    def length(self) -> int:
        """Bytes that have arrived."""

    @property
    def whole_at_s(self) -> float:
        """When the last of it arrived, of `time.monotonic`; infinite before."""


class HopRequest:
    """One request on its way to the peer that answers it.

    Args:
        method, target: of its request line.
        kept: the lines of its head that stay, as `kept_of` gives them, and who passes it on.
        body: of the request; what has arrived is sent, and the rest as it arrives.
        limit_s: how long the request may take, once its body has arrived.
        may_hold_up: whether a server may fall silent because of it.
        hops: proves to peers that a server of the fleet sends it; None: nothing does.

    Attributes:
        body, limit_s, may_hold_up: as given.
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
        method: str,
        target: str,
        kept: bytes,
        body: HopBody,
        *,
        limit_s: float,
        may_hold_up: bool = True,
        hops: Hops | None = None,
    ) -> None:
        self._method = method.encode()
        self._target = target.encode("utf-8", "surrogateescape")
        self._form = Form(self._target)
        self._first = b"%b %b HTTP/1.1\r\nHost: " % (self._method, self._target)
        self._hops = hops
        self._kept = kept
        self.limit_s = limit_s
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


def kept_of(raw_headers: Iterable[tuple[bytes, bytes]], *, traced: bool) -> bytes:
    """Return every header that is about the request itself, a line break after each.

    Args:
        traced: leave out whose trace the request continues: the next server continues a span of this one.
    """
    dropped = _NOT_PASSED_ON | _TRACE if traced else _NOT_PASSED_ON
    lines = []
    raw_headers = tuple(raw_headers)
    for name, value in raw_headers:
        lowered = name.lower()
        if lowered == b"connection" and value.lower() not in _PLAIN_CONNECTION:
            return kept_of(_without_named(raw_headers, value), traced=traced)
        if lowered in dropped or (lowered == b"content-encoding" and value.lower() in _DECODED):
            continue
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)


@lru_cache(maxsize=1024)
def kept_of_block(block: bytes, *, traced: bool) -> bytes | None:
    r"""Return the same of a plain block of headers; None: a line is not a header by itself.

    Example:
        >>> kept_of_block(b"\r\nHost: here\r\nAccept:*/* \r\n\r\n", traced=False)
        b'Accept: */*\r\n'
    """
    given = []
    for line in block.split(b"\r\n")[1:-2]:
        name, colon, value = line.partition(b":")
        if not colon or name.strip(b" \t") != name:
            return None
        given.append((name, value.strip(b" \t")))
    return kept_of(given, traced=traced)


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
