"""Frames of HTTP/2: their numbers in RFC 9113, and how they are written. Knows no connection."""

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = struct.Struct(">HBBBI")
"""Of a frame: the length of its payload in 16 and 8 bits, its type, flags and stream."""
MOST_BYTES = 1 << 14
"""Of a payload; every peer has to take as much, and none may send more here."""
DEFAULT_WINDOW_BYTES = (1 << 16) - 1
MOST_WINDOW_BYTES = (1 << 31) - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

_NUMBER = struct.Struct(">I")
_SETTING = struct.Struct(">HI")
_ENABLE_PUSH, _MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE, _MAX_HEADER_LIST_SIZE = range(
    2, 7
)
_MOST_FRAME_BYTES = (1 << 24) - 1
_SHORT = 0x7F


class Code(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Fault(Exception):
    """The other end breaks the protocol, or asks for too much: its connection ends."""

    def __init__(self, code: Code, words: str) -> None:
        super().__init__(words)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    r"""Return a frame.

    Example:
        >>> frame(PING, ACK, 0, b"12345678")
        b'\x00\x00\x08\x06\x01\x00\x00\x00\x0012345678'
    """
    length = len(payload)
    return HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def reset(stream: int, code: Code) -> bytes:
    """Return a frame that ends a stream."""
    return frame(RST_STREAM, 0, stream, _NUMBER.pack(code))


def credit(stream: int, size_bytes: int) -> bytes:
    """Return a frame that lets the other end send so much more; stream 0: on all of them together."""
    return frame(WINDOW_UPDATE, 0, stream, _NUMBER.pack(size_bytes))


def goaway(last_stream: int, code: Code, words: str = "") -> bytes:
    """Return a frame that ends a connection, but for the calls up to `last_stream`."""
    return frame(GOAWAY, 0, 0, _NUMBER.pack(last_stream) + _NUMBER.pack(code) + words.encode())


def own_settings(streams: int, window_bytes: int, header_bytes: int) -> bytes:
    """Return a frame with what this end bears: streams at once, and bytes of each and of its headers."""
    given = (
        (_MAX_CONCURRENT_STREAMS, streams),
        (_INITIAL_WINDOW_SIZE, window_bytes),
        (_MAX_HEADER_LIST_SIZE, header_bytes),
    )
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*each) for each in given))


def window_of(payload: bytes, former_bytes: int) -> int:
    """Return the first window of a stream, as the other end's settings have it.

    Raises:
        Fault: a setting is not what the protocol allows.
    """
    if len(payload) % _SETTING.size:
        raise Fault(Code.FRAME_SIZE_ERROR, "settings of an odd length")
    window_bytes = former_bytes
    for name, value in _SETTING.iter_unpack(payload):
        if name == _INITIAL_WINDOW_SIZE:
            if value > MOST_WINDOW_BYTES:
                raise Fault(Code.FLOW_CONTROL_ERROR, "a first window of over 31 bits")
            window_bytes = value
        elif name == _MAX_FRAME_SIZE and not MOST_BYTES <= value <= _MOST_FRAME_BYTES:
            raise Fault(Code.PROTOCOL_ERROR, "a frame size that is not allowed")
        elif name == _ENABLE_PUSH and value > 1:
            raise Fault(Code.PROTOCOL_ERROR, "a push setting that is neither 0 nor 1")
    return window_bytes


def number_of(payload: bytes) -> int:
    """Return the 32 bits of a payload.

    Raises:
        Fault: it has more, or less.
    """
    if len(payload) != _NUMBER.size:
        raise Fault(Code.FRAME_SIZE_ERROR, "a frame of the wrong length")
    return int(_NUMBER.unpack(payload)[0])


def content(kind: int, flags: int, payload: bytes) -> bytes:
    r"""Return what a frame of data or headers carries, without padding and priority.

    Example:
        >>> content(DATA, PADDED, b"\x02abc\x00\x00")
        b'abc'

    Raises:
        Fault: they are longer than the frame.
    """
    at, end = 0, len(payload)
    if flags & PADDED:
        at, end = 1, end - (payload[0] if payload else 1)
    if kind == HEADERS and flags & WITH_PRIORITY:
        at += 5
    if at > end:
        raise Fault(Code.PROTOCOL_ERROR, "padding that is longer than its frame")
    return payload[at:end]


def literal(name: str, value: str) -> bytes:
    r"""Return a header for a block, in the form that no table is needed for (RFC 7541, section 6.2.2).

    Example:
        >>> literal("a", "b" * 127)[:5]
        b'\x00\x01a\x7f\x00'
    """
    return b"\0" + _text(name.encode("ascii")) + _text(value.encode("ascii", "replace"))


def _text(text: bytes) -> bytes:
    left = len(text)
    if left < _SHORT:
        return bytes((left,)) + text
    length, left = bytearray((_SHORT,)), left - _SHORT
    while left > _SHORT:
        length.append(left & _SHORT | 0x80)
        left >>= 7
    length.append(left)
    return bytes(length) + text
