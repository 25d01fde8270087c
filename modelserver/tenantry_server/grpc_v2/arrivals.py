"""The messages that have not arrived whole: how long each may take, and how many are waited for.

gRPC itself waits without end for the rest of a message, and keeps what has come of it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tenantry.errors import BodiesTooMany, BodyTimeout

Message = TypeVar("Message")

_STREAMS = 64  # each may hold a part of a message for as long as it stays open
_STREAM_IDLE_S = 300.0
_SLOW_S = 2.0  # that a message may take which is not slow
_TRIM_S = 0.5


class Arrivals:
    """Waits for messages of clients.

    Args:
        timeout_s: for the message of a call.
        most: of them that may arrive slowly at once. One more, and the oldest is given up: a client that
            sends as fast as it can is soon done.
    """

    def __init__(self, *, timeout_s: float, most: int) -> None:
        self._timeout_s = timeout_s
        self._most = most
        self._waiting: dict[asyncio.Timeout, float] = {}  # since when; the oldest first
        self._given_up: set[asyncio.Timeout] = set()
        self._trimming: asyncio.TimerHandle | None = None
        self._streams = 0

    async def whole(self, arriving: Awaitable[Message]) -> Message:
        """Wait for a message.

        Raises:
            BodyTimeout: it took too long.
            BodiesTooMany: others came.
        """
        timeout = asyncio.timeout(self._timeout_s)
        try:
            async with timeout:
                self._waiting[timeout] = asyncio.get_running_loop().time()
                if len(self._waiting) > self._most and self._trimming is None:
                    self._trim_later()
                return await arriving
        except TimeoutError:
            if timeout in self._given_up:
                raise BodiesTooMany from None
            raise BodyTimeout(self._timeout_s) from None
        finally:
            self._waiting.pop(timeout, None)
            self._given_up.discard(timeout)

    def _trim_later(self) -> None:
        self._trimming = asyncio.get_running_loop().call_later(_TRIM_S, self._trim)

    def _trim(self) -> None:
        """Give up the oldest until few enough are left; those that came just now are fast, so far."""
        self._trimming = None
        now_s = asyncio.get_running_loop().time()
        for timeout, since_s in list(self._waiting.items()):
            if len(self._waiting) <= self._most or now_s - since_s < _SLOW_S:
                break
            del self._waiting[timeout]
            if not timeout.expired():
                self._given_up.add(timeout)
                timeout.reschedule(now_s)
        if len(self._waiting) > self._most:
            self._trim_later()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count a stream while it is open.

        Raises:
            BodiesTooMany: as many are open as may be.
        """
        if self._streams >= _STREAMS:
            raise BodiesTooMany
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def following(self, asked: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Iterate over the messages of a stream; one that says nothing for five minutes has ended."""
        while True:
            try:
                async with asyncio.timeout(_STREAM_IDLE_S):
                    message = await anext(asked)
            except (StopAsyncIteration, TimeoutError):
                return
            yield message
