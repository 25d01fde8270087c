"""Reads an answer that comes by aiohttp's client, up to a length."""

import aiohttp

_PIECE_BYTES = 1 << 16


class TooLong(ValueError):
    """An answer is longer than any of ours."""


async def read(response: aiohttp.ClientResponse, *, most_bytes: int) -> bytes:
    """Return the body of an answer.

    Raises:
        TooLong: it has more than `most_bytes` bytes; the rest is not read.
        aiohttp.ClientError: it ended early.
    """
    pieces = []
    left = most_bytes
    async for piece in response.content.iter_chunked(_PIECE_BYTES):
        left -= len(piece)
        if left < 0:
            response.close()
            raise TooLong(f"it answered more than {most_bytes} bytes")
        pieces.append(piece)
    return b"".join(pieces)
