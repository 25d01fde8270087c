"""The body of a request: read once, kept, and never longer than the application's limit.

It can be sent to a peer while it still arrives, sent again to another peer, and then be read by a handler
here. Refuses to parse it.
"""

import math
import time
from collections.abc import AsyncIterator

from aiohttp import web


class Body:
    """The part of a body that has arrived so far.

    Args:
        request: the request; aiohttp has decompressed its body already.
        limit_bytes: of the whole body.
        whole: the body, where all of it has arrived and was read from the request.

    Attributes:
        whole_at_s: when the last of it arrived, of `time.monotonic`; infinite before.
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
        """Whether all of it has arrived."""
        return self.whole_at_s < math.inf

    @property
    def length(self) -> int:
        """Bytes that have arrived."""
        return self._read_bytes

    async def pieces(self) -> AsyncIterator[bytes]:
        """Iterate over what has arrived, and then over the rest as it arrives; may be begun again.

        Raises:
            web.HTTPRequestEntityTooLarge: the body is over the limit.
            web.RequestPayloadError: the body is not what its headers say, or ended early.
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
        """Wait for all of it, and return it.

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
"""Where a request keeps its body once something began to read it."""


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
    """Return the whole body, also where something began to read it.

    Raises:
        web.HTTPRequestEntityTooLarge: the body is over the application's limit.
        web.RequestPayloadError: the body is not what its headers say, or ended early.
    """
    body = request.get(BODY)
    return await request.read() if body is None else await body.whole()
