"""Reads the head of an answer: a few headers that are known, each with a checked value, and nothing else.

A header that is not known is left out, as a newer release may send more. Refused is what could move the end
of an answer, or mean two things: a second header of one name, Transfer-Encoding, Content-Encoding, a folded
line, a line break or control character in a value (RFC 9112, sections 2.2, 5.2 and 6.3).
"""

import re
from typing import NamedTuple

from tenantry_server.peers.answers.answer import PHRASES, BrokenAnswer
from tenantry_server.wire import headers
from tenantry_server.wire.heads import JSON_LENGTH

MAX_HEAD_BYTES = 16 << 10
_MOST_LINES = 64
_KEPT = 2048  # lines of one peer: most heads consist of lines that were read before
_LONGEST_KEPT = 512

_STATUS = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9])(?: [\t -~\x80-\xff]*)?")
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_LENGTH, _CONNECTION, _SERVER = b"content-length", b"connection", headers.SERVER.lower().encode()
_DATE = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z][a-z] \d{4} \d\d:\d\d:\d\d GMT"

_VALUES = {
    "Content-Type": rb"[a-z]{1,32}/[a-z0-9.+-]{1,64}(?:; ?charset=utf-8)?",
    "Content-Length": rb"[0-9]{1,12}",
    "Connection": rb"(?i:close|keep-alive)",
    "Date": _DATE,
    "Allow": rb"[A-Z]{1,16}(?:, ?[A-Z]{1,16}){0,8}",
    "Retry-After": rb"[0-9]{1,10}",
    JSON_LENGTH: rb"[0-9]{1,12}",
    headers.MODEL_ID: rb"[A-Za-z0-9-]{1,128}",  # as `model_id.public_name` makes it
    headers.SERVER: rb"[!-~]{1,253}",
    headers.SHARDS: rb"[0-9]{1,19}",
    headers.REGISTRY_AGE: rb"[0-9]{1,12}",
    headers.REASON: rb"[A-Za-z]{1,64}",
    headers.RETRY_AFTER_MS: rb"[0-9]{1,12}",
}
_KNOWN = {name.lower().encode(): (name.encode(), re.compile(pattern)) for name, pattern in _VALUES.items()}
_REFUSED = frozenset({b"transfer-encoding", b"content-encoding", b"upgrade"})
_NOT_PASSED_ON = frozenset({_LENGTH, _CONNECTION})  # about one connection, or written again


class Head(NamedTuple):
    """What the head of an answer says.

    Attributes:
        status: one of `PHRASES`.
        length: of the body, in bytes.
        keeps: whether the connection stays open.
        fields: the values of what is passed on, by names in lower case.
        lines: the same, as it is written again.
    """

    status: int
    length: int
    keeps: bool
    fields: dict[bytes, bytes]
    lines: bytes


class _Line(NamedTuple):
    name: bytes  # in lower case; empty: it is left out
    value: bytes = b""
    written: bytes = b""


_LEFT_OUT = _Line(b"")


class HeadReader:
    r"""Reads the heads of one peer's answers.

    Args:
        server_id: the name of the peer, which stands in every head.

    Example:
        >>> head = HeadReader("a").read(b"HTTP/1.1 200\r\nTenantry-Server:a\r\ncontent-length: 5\r\nX: 1")
        >>> head.status, head.length, head.lines
        (200, 5, b'Tenantry-Server: a\r\n')
    """

    def __init__(self, server_id: str) -> None:
        self._server_id = server_id.encode("utf-8", "surrogateescape")
        self._lines: dict[bytes, _Line] = {}
        self._statuses: dict[bytes, int] = {}

    def read(self, head: bytes) -> Head:
        """Read a head, given without the line break after its last line.

        Raises:
            BrokenAnswer: no server of ours sends it, or another server does.
        """
        first, *given = head.split(b"\r\n")
        status = self._statuses.get(first) or self._status_in(first)
        if len(given) > _MOST_LINES:
            raise BrokenAnswer("its answer has too many headers")
        fields: dict[bytes, bytes] = {}
        written = []
        known = self._lines
        for line in given:
            name, value, text = known.get(line) or self._read_line(line)
            if not name:
                continue
            if name in fields:
                raise BrokenAnswer("its answer has a header twice")
            fields[name] = value
            written.append(text)
        if fields.get(_SERVER) != self._server_id:
            raise BrokenAnswer("another server answered in its place")
        length = fields.pop(_LENGTH, None)
        if length is None:
            raise BrokenAnswer("its answer has no Content-Length")
        keeps = fields.pop(_CONNECTION, b"").lower() != b"close"
        return Head(status, int(length), keeps, fields, b"".join(written))

    def _status_in(self, line: bytes) -> int:
        found = _STATUS.fullmatch(line)
        status = 0 if found is None else int(found[1])
        if status not in PHRASES:
            raise BrokenAnswer("its answer begins with no status of ours")
        if len(self._statuses) < _MOST_LINES and len(line) <= _LONGEST_KEPT:
            self._statuses[line] = status
        return status

    def _read_line(self, line: bytes) -> _Line:
        found = _LINE.fullmatch(line)
        if found is None:
            raise BrokenAnswer("its answer has a line that is not a header")
        read = _read(found[1].lower(), found[2])
        if len(line) <= _LONGEST_KEPT:
            if len(self._lines) >= _KEPT:
                self._lines.clear()
            self._lines[line] = read
        return read


def _read(name: bytes, value: bytes) -> _Line:
    if name in _REFUSED:
        raise BrokenAnswer(f"its answer has the header {name.decode()}")
    if name not in _KNOWN:
        return _LEFT_OUT
    canonical, pattern = _KNOWN[name]
    if pattern.fullmatch(value) is None:
        raise BrokenAnswer(f"its answer has a wrong value of {canonical.decode()}")
    return _Line(name, value, b"" if name in _NOT_PASSED_ON else b"%b: %b\r\n" % (canonical, value))
