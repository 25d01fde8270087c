"""Messages that a client has compressed."""

import zlib

from tenantry.errors import InvalidRequest

PREFIX_BYTES = 5
"""Before each message: a flag and its length."""

_WINDOWS = {"gzip": 31, "deflate": 15}  # as zlib numbers them
_EXPANDS_TO = 100  # times its size; beyond a first part. What is larger is sent as it is
_ALWAYS_BYTES = 64 << 10


def undone(framed: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return a message as it was before it was compressed.

    Args:
        framed: the message, with its prefix.
        encoding: that its call names.
        max_bytes: of a message.

    Raises:
        InvalidRequest: it can't be read, or is too large.
    """
    window = _WINDOWS.get(encoding)
    if framed[0] != 1 or window is None:
        raise InvalidRequest("a message is compressed in a way that this server does not know")
    most = min(max_bytes, _ALWAYS_BYTES + _EXPANDS_TO * len(framed))
    unpacking = zlib.decompressobj(window)
    try:
        message = unpacking.decompress(framed[PREFIX_BYTES:], most)
    except zlib.error:
        raise InvalidRequest("a compressed message can't be read") from None
    if not unpacking.eof:
        raise InvalidRequest(
            "a compressed message is cut short, or too large without compression: send it uncompressed"
        )
    return message
