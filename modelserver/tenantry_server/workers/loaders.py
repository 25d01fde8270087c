"""Workers that load models and keep none: who may use one now, and when one is ended."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tenantry import ModelId
from tenantry.errors import UnknownFormat
from tenantry_server.formats import format_of
from tenantry_server.workers import usage
from tenantry_server.workers.pool import KNOWN, Pool
from tenantry_server.workers.process import Worker

_AT_ONCE = 2  # enough to overlap reading with deserialising; more only delays predictions
_LONG_S = 1.0  # a load that takes longer lets another one begin beside it
_IDLE = 2  # workers that wait for the next load
_GREW_BYTES = 128 << 20  # a worker that has so much more after its loads is replaced
_GREW_BY_LIBRARY_BYTES = 512 << 20  # the same, where a heavy library is a part of it


class Loaders:
    """The workers of a pool that load; used on its event loop.

    Args:
        pool: of the workers.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._idle: dict[str, list[Worker]] = defaultdict(list)  # by the heavy library that they have
        self._turns = asyncio.Semaphore(_AT_ONCE)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Load in this block, a few at a time; one that takes long lets another begin beside it."""
        loop = asyncio.get_running_loop()
        await self._turns.acquire()
        over = loop.call_later(_LONG_S, self._turns.release)
        try:
            yield
        finally:
            if loop.time() < over.when():  # else the timer gives the turn back, now or a moment ago
                over.cancel()
                self._turns.release()

    async def take(self, library: str, *, dedicated: bool) -> Worker:
        """Return a worker for a load; called in a turn, as each load outside of one would make a worker.

        Args:
            library: the heavy one that the load needs; `KNOWN` where it needs none.
            dedicated: it must not have loaded anything before.

        Raises:
            OSError: no process can be made.
        """
        idle = self._idle[library]
        while idle and not dedicated:
            loader = idle.pop()
            if loader.open:
                return loader
        return await self._pool.fork()

    def done_with(self, loader: Worker, library: str, needs: str, *, dedicated: bool) -> None:
        """Keep a worker for the next load; end it where a tenant's code has run in it.

        Args:
            needs: what the models need that it has loaded.
        """
        idle = self._idle[library]
        grew_bytes = usage.own_bytes(loader.pid) - loader.at_first_bytes
        most_bytes = _GREW_BYTES if library == KNOWN else _GREW_BY_LIBRARY_BYTES
        clean = needs == library and grew_bytes <= most_bytes
        if clean and loader.open and not dedicated and len(idle) < _IDLE:
            idle.append(loader)
        else:
            self.end(loader)

    def end(self, loader: Worker) -> None:
        """End a worker that keeps no model."""
        if loader.open and loader.group is None:
            self._pool.recycle(loader)


def library_of(exact: ModelId) -> str:
    """Return the heavy library that a load needs; `KNOWN` where it needs none."""
    try:
        known = format_of(exact)
    except UnknownFormat:
        return KNOWN  # which the worker says in words
    return known.name if known.heavy else KNOWN
