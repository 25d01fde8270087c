"""The heads of plain predictions: recognised by their bytes, where aiohttp's parser accepted them before.

Owns no rules of HTTP. A block of headers is plain once aiohttp's parser has accepted those very lines;
another block passes for the same where it differs only in values that mean nothing to any parser, such as
``traceparent``, or in numbers. So nothing is plain that aiohttp would refuse or read otherwise: two parsers
that disagree are how requests are smuggled past a proxy. Refuses bodies, and to know what is predicted.
"""

import re
from enum import IntEnum
from typing import NamedTuple, Protocol

from aiohttp import HttpVersion, HttpVersion11, hdrs
from multidict import CIMultiDictProxy, istr

from tenantry_server.wire import headers

END = b"\r\n\r\n"
"""What ends a head."""

JSON_LENGTH = "Inference-Header-Content-Length"
_KEPT = 1024  # blocks, and shapes of them; then all are forgotten, and learnt again
_LONGEST_BLOCK = 4 << 10
_NAME = "([A-Za-z0-9][A-Za-z0-9._~@:+-]{0,252})"
_LINE = re.compile(
    rf"POST /(?:predict/{_NAME}|v1/models/{_NAME}:predict|v2/models/{_NAME}/infer) HTTP/1\.1\r\n".encode()
)
_LENGTH, _TIMEOUT = b"content-length", headers.TIMEOUT_MS.lower().encode()
_NUMBERS = frozenset({_LENGTH, _TIMEOUT, JSON_LENGTH.lower().encode()})
_MOST_DIGITS = 9
# And those that begin with "x-": neither aiohttp nor this server looks into their values.
_OPAQUE = frozenset(
    b"accept b3 baggage cookie date forwarded from origin referer traceparent tracestate "
    b"uber-trace-id user-agent via".split()
)
_OPAQUE_PREFIX = b"x-"
_AUTHORIZATION, _PROOF = b"authorization", headers.PROOF.lower().encode()
_HOP = f"\r\n{headers.HOP.lower()}:".encode()
_TRACE = frozenset({b"traceparent", b"tracestate"})
_CREDENTIALS = frozenset({_AUTHORIZATION, _PROOF})  # whose values are judged for each request
_PRINTABLE = re.compile(rb"[ -~]*")
_EXCLUDED = (
    hdrs.CONTENT_ENCODING,
    hdrs.EXPECT,
    hdrs.TRAILER,
    hdrs.TRANSFER_ENCODING,
    hdrs.UPGRADE,
    istr("HTTP2-Settings"),
    istr("Proxy-Connection"),
)


class Form(IntEnum):
    """Whose prediction it is: the group of the request line's pattern."""

    NATIVE = 1
    V1 = 2
    V2 = 3


_PATHS: dict[int, str] = {
    Form.NATIVE: "/predict/{}",
    Form.V1: "/v1/models/{}:predict",
    Form.V2: "/v2/models/{}/infer",
}


class Target(NamedTuple):
    """What a request line asks for.

    Attributes:
        form: whose prediction; a `Form`.
        user_id: whom it is for.
        block_at: where the block of headers begins.
    """

    form: int
    user_id: str
    block_at: int


class Block(NamedTuple):
    """What a plain block of headers says.

    Attributes:
        body_bytes: the length of the body.
        json_length: the value of Inference-Header-Content-Length; None: it is not there.
        authorization: the value of Authorization; None: it is not there.
        proof: that of the header by which servers know one another; None: it is not there.
        may_be_hop: another server says that it has passed the request on; False: none has.
        traceparent, tracestate: the values of these headers; None: it is not there.
        timeout_ms: how long the request may take, in milliseconds; None: it does not say so.
        lines: the block itself.
    """

    body_bytes: int
    json_length: str | None
    authorization: str | None = None
    proof: str | None = None
    may_be_hop: bool = False
    traceparent: str | None = None
    tracestate: str | None = None
    timeout_ms: int | None = None
    lines: bytes = b""


def target_of(data: bytes) -> Target | None:
    """Return what the request that `data` begins with asks for; None: nothing plain."""
    found = _LINE.match(data)
    if found is None:
        return None
    group = found.lastindex or 0
    # As Target() does, without the function of Python that it calls.
    return tuple.__new__(Target, (group, found[group].decode(), found.end() - 2))


def path_of(target: Target) -> str:
    """Return the path that a plain request line names."""
    return _PATHS[target.form].format(target.user_id)


def start_of(content_type: str, json_bytes: int | None = None) -> str:
    """Return the head of an answer to a prediction, up to the value of its model id.

    Args:
        json_bytes: of a body that begins with JSON, and goes on with tensors.
    """
    length = "" if json_bytes is None else f"\r\n{JSON_LENGTH}: {json_bytes}"
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}{length}\r\n{headers.MODEL_ID}: "


class Parsed(Protocol):
    """A head as aiohttp's parser read it; aiohttp has two classes of it, and exports neither."""

    @property
    def method(self) -> str:
        """As in the request line."""

    @property
    def version(self) -> HttpVersion:
        """As in the request line."""

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """All of them."""

    @property
    def should_close(self) -> bool:
        """Whether the connection ends with the answer."""

    @property
    def compression(self) -> str | None:
        """Of the body."""

    @property
    def upgrade(self) -> bool:
        """Whether the client wants another protocol."""

    @property
    def chunked(self) -> bool:
        """Whether the body says itself where it ends."""


class Heads:
    r"""The blocks of headers that are known to be plain.

    A block reaches from the line break behind the request line to the empty line, both included.

    Attributes:
        known: returns what a block says that was found before; None: `find` has to judge it.

    Example:
        >>> heads = Heads()
        >>> heads.find(b"\r\nHost: here\r\nContent-Length: 2\r\n\r\n") is None
        True
    """

    def __init__(self) -> None:
        self._blocks: dict[bytes, Block] = {}
        self.known = self._blocks.get
        self._shapes: set[tuple[bytes, ...]] = set()
        self._lines: set[bytes] = set()

    def find(self, block: bytes) -> Block | None:
        """Return what a block says; None: aiohttp's parser has to judge it."""
        known = self.known(block)
        if known is not None:
            return known
        read = self._read(block)
        if read is None or read[0] not in self._shapes:
            return None
        return self._keep(block, read[1])

    def learn(self, block: bytes, message: Parsed) -> None:
        """Take up a block that aiohttp's parser read, where the request is plain."""
        given = message.headers
        if (
            message.version != HttpVersion11
            or message.should_close
            or message.upgrade
            or message.chunked
            or message.compression is not None
            or hdrs.CONTENT_LENGTH not in given
            or any(name in given for name in _EXCLUDED)
            or given.get(hdrs.CONNECTION, "keep-alive").lower() != "keep-alive"
        ):
            return
        read = self._read(block)
        if read is None:
            return
        shape, numbers = read
        if len(self._shapes) >= _KEPT:
            self._shapes.clear()
            self._lines.clear()
            self._blocks.clear()
        self._shapes.add(shape)
        self._lines.update(line for line in shape if line and b":*" not in line and b":#" not in line)
        self._keep(block, numbers)

    def _keep(self, block: bytes, numbers: dict[bytes, bytes]) -> Block | None:
        if _LENGTH not in numbers or int(numbers.get(_TIMEOUT, b"1")) == 0:
            return None
        json_length = numbers.get(JSON_LENGTH.lower().encode())
        found = Block(
            int(numbers[_LENGTH]),
            None if json_length is None else json_length.decode(),
            numbers[_AUTHORIZATION].decode() if _AUTHORIZATION in numbers else None,
            numbers[_PROOF].decode() if _PROOF in numbers else None,
            may_be_hop=_HOP in block.lower(),
            traceparent=numbers[b"traceparent"].decode() if b"traceparent" in numbers else None,
            tracestate=numbers[b"tracestate"].decode() if b"tracestate" in numbers else None,
            timeout_ms=int(numbers[_TIMEOUT]) if _TIMEOUT in numbers else None,
            lines=block,
        )
        if len(self._blocks) >= _KEPT:
            self._blocks.clear()
        self._blocks[block] = found
        return found

    def _read(self, block: bytes) -> tuple[tuple[bytes, ...], dict[bytes, bytes]] | None:
        """Return a block's shape, and by name its numbers, credentials and trace; None: not plain.

        The shape holds each line: without its value where that means nothing, or is a number.
        """
        if len(block) > _LONGEST_BLOCK:
            return None
        shape = []
        numbers: dict[bytes, bytes] = {}
        for line in block.split(b"\r\n"):
            if line in self._lines:
                shape.append(line)
                continue
            name, _, value = line.partition(b":")
            name = name.lower()
            if name in _NUMBERS:
                value = value.strip(b" ")
                if name in numbers or not value.isdigit() or len(value) > _MOST_DIGITS:
                    return None
                numbers[name] = value
                shape.append(name + b":#")
            elif name in _CREDENTIALS:
                if name in numbers or not _PRINTABLE.fullmatch(value):
                    return None
                numbers[name] = value.strip(b" ")
                shape.append(name + b":*")
            elif (name in _OPAQUE or name.startswith(_OPAQUE_PREFIX)) and _PRINTABLE.fullmatch(value):
                if name in _TRACE:  # one that is sent twice is read as a list
                    value = value.strip(b" ")
                    numbers[name] = numbers[name] + b"," + value if name in numbers else value
                shape.append(name + b":*")
            else:
                shape.append(line)
        return tuple(shape), numbers
