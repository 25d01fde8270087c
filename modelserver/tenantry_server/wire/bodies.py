"""The body of a request: read once, kept, and never more of it than the application's limit.

It can be sent to a peer while it still comes, sent again to another one, and read by a handler here
after that. Refuses to know what it says.
"""

import math
import time
from collections.abc import AsyncIterator

from aiohttp import web


class Body:
    """What came of a body so far.

    Args:
        request: whose body; decompressed by aiohttp already.
        limit_bytes: of the whole.
        whole: the body, where it has all come and was taken from the request.

    Attributes:
        whole_at_s: when the last of it came, of `time.monotonic`; infinite before.
    """

    __slots__ = ("_limit_bytes", "_pieces", "_read_bytes", "_request", "whole_at_s")

    def __init__(self, request: web.Request, limit_bytes: int, whole: bytes | None = None) -> None:
        self._request = request
        self._limit_bytes = limit_bytes
        self._pieces: list[bytes] = [] if whole is None else [whole]
        self._read_bytes = 0 if whole is None else len(whole)
        self.whole_at_s = math.inf if whole is None else time.monotonic()

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come."""
        return self.whole_at_s < math.inf

    @property
    def length(self) -> int:
        """Bytes that have come."""
        return self._read_bytes

    async def pieces(self) -> AsyncIterator[bytes]:
        """What has come, and then the rest as it comes; may be begun again at any time.

        Raises:
            web.HTTPRequestEntityTooLarge: it is over the limit.
            web.RequestPayloadError: it is not what its headers say, or ended early.
        """
        sent = 0
        while True:
            while sent < len(self._pieces):
                sent += 1
                yield self._pieces[sent - 1]
            if self.is_whole:
                return
            await self._read()

    async def whole(self) -> bytes:
        """All of it.

        Raises:
            web.HTTPRequestEntityTooLarge, web.RequestPayloadError: as `pieces`.
        """
        while not self.is_whole:
            await self._read()
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        self._check()
        return self._pieces[0]

    async def _read(self) -> None:
        piece = await self._request.content.readany()
        if not piece:
            self.whole_at_s = time.monotonic()
            return
        self._read_bytes += len(piece)
        self._check()
        self._pieces.append(piece)

    def _check(self) -> None:
        if self._read_bytes > self._limit_bytes:
            raise web.HTTPRequestEntityTooLarge(self._limit_bytes, self._read_bytes)


BODY = web.RequestKey("body", Body)
"""Where a request keeps it once somebody began to read it."""


def begun(request: web.Request, limit_bytes: int) -> Body:
    """Return the body that a request keeps, and begin to keep it where nothing has read it yet.

    Args:
        limit_bytes: of the whole.
    """
    body = request.get(BODY)
    if body is None:
        content = request.content
        arrived = content.read_nowait() if content.is_eof() and content.exception() is None else None
        body = request[BODY] = Body(request, limit_bytes, arrived)
    return body


async def whole(request: web.Request) -> bytes:
    """The whole body, whoever began to read it.

    Raises:
        web.HTTPRequestEntityTooLarge: it is over the application's limit.
        web.RequestPayloadError: it is not what its headers say, or ended early.
    """
    body = request.get(BODY)
    return await request.read() if body is None else await body.whole()
