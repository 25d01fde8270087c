"""The statuses of gRPC, and how they stand at the end of an answer. Imports no gRPC."""

from collections.abc import Iterable
from enum import IntEnum
from urllib.parse import quote

from tenantry_server.grpc_v2.http2.frames import literal

_MOST_WORDS = 4 << 10  # bytes, encoded: clients take 8 KiB of headers
_PLAIN = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}"


class Status(IntEnum):
    """By its number in gRPC."""

    OK = 0
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


_CODES = {
    400: Status.INVALID_ARGUMENT,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.NOT_FOUND,
    405: Status.UNIMPLEMENTED,
    408: Status.DEADLINE_EXCEEDED,
    409: Status.ABORTED,
    413: Status.RESOURCE_EXHAUSTED,
    415: Status.INVALID_ARGUMENT,
    422: Status.INVALID_ARGUMENT,
    429: Status.RESOURCE_EXHAUSTED,
    500: Status.INTERNAL,
    502: Status.UNAVAILABLE,
    503: Status.UNAVAILABLE,
    504: Status.DEADLINE_EXCEEDED,
    507: Status.RESOURCE_EXHAUSTED,
}


def code_of(status: int) -> Status:
    """Return the status that stands for one of HTTP."""
    return _CODES.get(status, Status.UNKNOWN)


def trailers(code: Status, words: str = "", said: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return the block of headers at the end of an answer.

    Args:
        words: of an error; written as the protocol has it, in percent signs where it is not ASCII.
        said: further metadata, names in lower case.
    """
    block = literal("grpc-status", str(int(code)))
    if words:
        block += literal("grpc-message", _percent_encoded(words))
    return block + b"".join(literal(name, value) for name, value in said)


def _percent_encoded(words: str) -> str:
    """Return a text as gRPC has it.

    Example:
        >>> _percent_encoded("100 %: naïve")
        '100 %25: na%C3%AFve'
    """
    written = quote(words, safe=_PLAIN, errors="replace")
    if len(written) <= _MOST_WORDS:
        return written
    cut = written[:_MOST_WORDS]
    at = cut.rfind("%", _MOST_WORDS - 2)
    return cut[:at] if at >= 0 else cut
