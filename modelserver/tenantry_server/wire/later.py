"""An answer that comes later, from another process, on a connection that aiohttp would else read.

Owns the order: what a client sends behind such a request waits until its answer was written; and who goes
on with a request that has no answer in the end: aiohttp, with what is known of it by then. Refuses to know
who answers.

Leans on these of aiohttp 3.14's `web.RequestHandler`, without which
tests/integration/server/protocols/test_later_answers.py fails: `close`, `shutdown` and
`_process_keepalive`, which end a connection that is idle to them; `_manager`, `_loop`, `_request_count`,
`_keepalive_timeout` and `_next_keepalive_close_time`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from aiohttp import web

from tenantry_server.wire.errors import refusals

_Handler = Callable[[Any], Awaitable[web.StreamResponse]]
# Of what a client sends meanwhile; then it is not read until the answer is there.
_MOST_BEHIND_BYTES = 64 << 10


@dataclass(slots=True)
class Continued:
    """There is no answer yet: the application goes on with the request.

    Attributes:
        known: what the request keeps under these keys from its beginning.
    """

    known: dict[Any, Any] = field(default_factory=dict)


Ended: TypeAlias = Callable[[bytes | Continued], None]
"""Called once, with the whole answer, or with what is known where the application goes on."""


class Later(ABC):
    """An answer that is computed elsewhere."""

    __slots__ = ()

    @abstractmethod
    def begin(self, ended: Ended) -> None:
        """Have it computed, and give it to `ended`."""

    @abstractmethod
    def cancel(self) -> None:
        """Wait for it no longer: `ended` is not called."""


class InTask(Later):
    """An answer that a coroutine returns; an exception of it is the application's to describe.

    Args:
        answer: the coroutine; it must not raise.
    """

    __slots__ = ("_answer", "_task")

    def __init__(self, answer: Coroutine[Any, Any, bytes | Continued]) -> None:
        self._answer = answer
        self._task: asyncio.Task[None] | None = None

    def begin(self, ended: Ended) -> None:
        """Run the coroutine in a task of its own, in the context of the caller."""
        self._task = asyncio.get_running_loop().create_task(self._run(ended))

    def cancel(self) -> None:
        """Cancel the task."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, ended: Ended) -> None:
        ended(await self._answer)


class Watched(Later):
    """Another answer, that is also shown to somebody before it is given.

    Args:
        later: the other one.
        see: called with what comes of it.
    """

    __slots__ = ("_later", "_see")

    def __init__(self, later: Later, see: Callable[[bytes | Continued], None]) -> None:
        self._later = later
        self._see = see

    def begin(self, ended: Ended) -> None:
        """Begin the other one."""

        def seen(answer: bytes | Continued) -> None:
            self._see(answer)
            ended(answer)

        self._later.begin(seen)

    def cancel(self) -> None:
        """Cancel the other one."""
        self._later.cancel()


class Connection(refusals.Connection):
    """A connection on which at most one answer is awaited while aiohttp is idle.

    Attributes:
        known: of the request that aiohttp reads next.
    """

    __slots__ = ("_behind", "_behind_bytes", "_closes", "_later", "_settled", "known")

    def __init__(self, server: web.Server, **settings: Any) -> None:
        super().__init__(server, **settings)
        self.known: dict[Any, Any] = {}
        self._later: Later | None = None
        self._settled: asyncio.Future[None] | None = None  # of `shutdown`
        self._behind: list[bytes] = []  # what came since; aiohttp answers other pieces otherwise
        self._behind_bytes = 0
        self._closes = False  # once the answer was written

    @property
    def waits(self) -> bool:
        """Whether each request that has arrived has its answer, so that the next one is read at once."""
        waiter = self._waiter
        return self._later is None and waiter is not None and not (waiter.done() or self._messages)

    def await_answer(self, later: Later, data: bytes) -> None:
        """Write an answer once it is there.

        Args:
            later: gives it.
            data: the request, for aiohttp where there is none.
        """
        self._request_count += 1  # a connection without a request would be closed as mute
        self._later = later
        later.begin(partial(self._end, data))

    def keep_behind(self, data: bytes) -> None:
        """Keep what comes before the answer is there."""
        self._behind.append(data)
        self._behind_bytes += len(data)
        if self._behind_bytes > _MOST_BEHIND_BYTES and self.transport is not None:
            self.transport.pause_reading()

    def write(self, answer: bytes) -> None:
        """Write a whole answer, and count its request."""
        if self.transport is None or self._manager is None:
            return  # the client has left
        self.transport.write(answer)
        self._request_count += 1
        self._manager.requests_count += 1
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout

    def close(self) -> None:
        """Close the connection once its requests have their answers."""
        if self._later is None:
            super().close()
        else:
            self._closes = True

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's own
        """End the connection, when the request under way has its answer, or the time is over."""
        if self._later is not None:
            self._settled = self._loop.create_future()
            await asyncio.wait((self._settled,), timeout=timeout)
            self._give_up()
        await super().shutdown(timeout)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait for no answer to a client that has left, where aiohttp would not."""
        self._behind.clear()
        if self._manager is not None and self._manager.handler_cancellation:
            self._give_up()
        super().connection_lost(exc)

    def _process_keepalive(self) -> None:
        if self._later is not None:  # to aiohttp it is idle
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    def _give_up(self) -> None:
        """Wait no longer for the answer, if one is awaited."""
        later = self._later
        if later is not None:
            self._settle()
            later.cancel()

    def _settle(self) -> None:
        self._later = None
        self._request_count -= 1
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    def _end(self, data: bytes, answer: bytes | Continued) -> None:
        """Write an answer, or let aiohttp go on with its request."""
        self._settle()
        if isinstance(answer, bytes):
            self.write(answer)
            if self._closes:
                self.force_close()
        else:
            self.known = answer.known
            self.to_aiohttp(data)
            if self._closes:
                self.close()
        if self._behind:
            self._read_on()

    def _read_on(self) -> None:
        """Read what came meanwhile; behind another request of this kind, the rest waits again."""
        behind, self._behind = self._behind, []
        if self._behind_bytes > _MOST_BEHIND_BYTES and self.transport is not None:
            self.transport.resume_reading()
        self._behind_bytes = 0
        for piece in behind:
            if self.transport is not None and not self._closes:
                self.data_received(piece)

    def to_aiohttp(self, data: bytes) -> None:
        """Let aiohttp have a request, or a piece of one."""
        super().data_received(data)


def continuing(handler: _Handler) -> _Handler:
    """Return a handler whose requests keep what is known of them."""

    async def continued(request: Any) -> web.StreamResponse:
        recall(request)
        return await handler(request)

    return continued


def recall(request: web.BaseRequest) -> None:
    """Let a request keep what is known of it, where the application goes on with it."""
    connection = request.protocol
    if isinstance(connection, Connection) and connection.known:
        request.update(connection.known)
        connection.known = {}
