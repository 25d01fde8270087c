"""The body of a request: read once, kept, never longer than the application's limit, and in time.

It can be sent to a peer while it still arrives, sent again to another peer, and then be read by a handler
here. Refuses to parse it.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator

from aiohttp import web

from tenantry.errors import BodiesTooMany, BodyTimeout, TenantryError

_LARGE_BYTES = 1 << 20  # are joined without the interpreter, and fresh memory takes milliseconds


class Arriving:
    """The bodies that have not arrived whole: how long each may take, and what all hold together.

    Args:
        timeout_s: for one body, from when its head had arrived.
        max_bytes: of all that has arrived of them. Where it is not enough, the oldest is refused: a client
            that sends as fast as it can is soon done.
    """

    def __init__(self, *, timeout_s: float = 30.0, max_bytes: int = 256 << 20) -> None:
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._bodies: dict[Body, asyncio.TimerHandle] = {}  # the oldest first
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._bodies)

    def begin(self, body: "Body") -> None:
        """Count a body from now on, until `end`."""
        late = BodyTimeout(self._timeout_s)
        timer = asyncio.get_running_loop().call_later(self._timeout_s, body.refuse, late)
        self._bodies[body] = timer

    def grew(self, size_bytes: int) -> None:
        """Count bytes that have arrived; refuse the oldest bodies where all together hold too much."""
        self.held_bytes += size_bytes
        while self.held_bytes > self._max_bytes and self._bodies:
            next(iter(self._bodies)).refuse(BodiesTooMany())

    def end(self, body: "Body") -> None:
        """Count a body no longer: it has arrived, or nobody waits for it."""
        timer = self._bodies.pop(body, None)
        if timer is not None:
            timer.cancel()
            self.held_bytes -= body.length


class Body:
    """The part of a body that has arrived so far.

    Args:
        request: the request; aiohttp has decompressed its body already.
        limit_bytes: of the whole body.
        whole: the body, where all of it has arrived and was read from the request.

    Attributes:
        whole_at_s: when the last of it arrived, of `time.monotonic`; infinite before.
    """

    __slots__ = (
        "_arriving",
        "_limit_bytes",
        "_pieces",
        "_read_bytes",
        "_refused",
        "_request",
        "whole_at_s",
    )

    def __init__(self, request: web.Request, limit_bytes: int, whole: bytes | None = None) -> None:
        self._request = request
        self._limit_bytes = limit_bytes
        self._pieces: list[bytes] = [] if whole is None else [whole]
        self._read_bytes = 0 if whole is None else len(whole)
        self._refused: TenantryError | None = None
        self._arriving: Arriving | None = None
        self.whole_at_s = math.inf if whole is None else time.monotonic()
        if whole is None:
            self._arriving = request.app.get(ARRIVING)
            if self._arriving is not None:
                self._arriving.begin(self)

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
            BodyTimeout, BodiesTooMany: the rest is no longer waited for.
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
            web.HTTPRequestEntityTooLarge, web.RequestPayloadError, BodyTimeout, BodiesTooMany: as `pieces`.
        """
        while not self.is_whole:
            await self._read()
        if len(self._pieces) != 1 and self._read_bytes > _LARGE_BYTES:
            self._pieces = [await asyncio.to_thread(b"".join, self._pieces)]
        return self.now()

    def now(self) -> bytes:
        """Return all of it, where all of it has arrived.

        Raises:
            web.HTTPRequestEntityTooLarge: as `pieces`.
        """
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        self._check()
        return self._pieces[0]

    def refuse(self, error: TenantryError) -> None:
        """Wait for no more of it: a reader gets `error`, and what has arrived is dropped."""
        self._end()
        self._refused = error
        self._pieces.clear()
        self._request.content.set_exception(error)

    def close(self, response: web.StreamResponse | None) -> None:
        """Wait for no more of it, as its request has this answer, or its client has left."""
        self._end()
        if self._refused is not None and response is not None:
            # aiohttp reads the rest for some seconds, and drops it, so that the client sees the answer.
            self._request.content.set_exception(None)  # type: ignore[arg-type]
            response.force_close()

    def _end(self) -> None:
        if self._arriving is not None:
            self._arriving.end(self)
            self._arriving = None

    async def _read(self) -> None:
        if self._refused is not None:
            raise self._refused
        piece = await self._request.content.readany()
        if not piece:
            self.whole_at_s = time.monotonic()
            self._end()
            return
        self._read_bytes += len(piece)
        if self._arriving is not None:
            self._arriving.grew(
                len(piece)
            )  # before anything is raised, as `end` subtracts the whole length
            if self._refused is not None:
                raise self._refused
        self._check()
        self._pieces.append(piece)

    def _check(self) -> None:
        if self._read_bytes > self._limit_bytes:
            raise web.HTTPRequestEntityTooLarge(self._limit_bytes, self._read_bytes)


class Arrived:
    """A body that has arrived whole, without a request of aiohttp's.

    Attributes:
        length: in bytes.
        whole_at_s: when it was made, of `time.monotonic`.
    """

    __slots__ = ("_body", "length", "whole_at_s")
    is_whole = True

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)
        self.whole_at_s = time.monotonic()

    def now(self) -> bytes:
        """Return it."""
        return self._body

    async def pieces(self) -> AsyncIterator[bytes]:
        """Iterate over its only piece."""
        yield self._body


ARRIVING = web.AppKey("arriving", Arriving)
"""Where an application counts the bodies that arrive."""

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
        BodyTimeout, BodiesTooMany: it did not arrive in time, or too many do at once.
    """
    return await begun(request, request.client_max_size).whole()


def close(request: web.Request, response: web.StreamResponse | None) -> None:
    """Wait no longer for the rest of a body whose request has its answer; None: the client has left."""
    body = request.get(BODY)
    if body is not None:
        body.close(response)
