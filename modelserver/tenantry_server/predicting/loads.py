"""Loads of models: at most one of a model at a time, in time, and not again before its time.

Owns the threads that load. Refuses to know where models come from.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from tenantry import ModelId, TenantryError
from tenantry.errors import ArtifactUnavailable, ModelTimedOut
from tenantry.threads import Threads
from tenantry_server.memory.model_cache import Resident
from tenantry_server.predicting.load_backoff import LoadBackoff
from tenantry_server.scoring.calls import contained


class Loads:
    """Loads under way; used on the event loop.

    A load that takes too long is a failure at once, and another one may begin in its place. Its thread goes
    on, as Python can't end it; until it ends, that model is not loaded again.

    Args:
        load: reads and loads one model; called in threads.
        timeout_s: for one load.
        threads: of loads that are under way at once.

    Attributes:
        ended: called with each model id and what its load raised; None: it is loaded.
    """

    ended: Callable[[str, BaseException | None], None] = staticmethod(lambda *_: None)

    def __init__(self, load: Callable[[str], Resident], *, timeout_s: float, threads: int = 4) -> None:
        self._load = load
        self._timeout_s = timeout_s
        self._threads = Threads(threads, "load", timeout_s=timeout_s, late=_Hung)
        self._under_way: dict[str, _Flight] = {}
        self._in_threads: set[str] = set()
        self._backoff = LoadBackoff()

    async def load_if_due(self, model_id: str) -> Resident:
        """Load a model unless that failed a moment ago.

        Raises:
            ArtifactError, ModelTooLarge: it can't be loaded, or could not be when it was tried last.
        """
        if model_id not in self._under_way:
            self._backoff.check(model_id)
        return await self.load(model_id)

    async def load(self, model_id: str) -> Resident:
        """Load a model now, or wait for the load that is under way.

        A load that has begun goes on although every request leaves. One that has not is dropped with the
        last request that waits for it, so that requests in a hurry hold up no others.

        Raises:
            ArtifactError, ModelTooLarge: it can't be loaded.
        """
        flight = self._under_way.get(model_id)
        if flight is None:
            if model_id in self._in_threads:  # and nobody waits for it: it took too long
                raise self._timed_out(model_id, "an earlier load of it still goes on")
            begun = self._threads.submit(partial(contained, partial(self._in_thread, model_id)))
            landing = asyncio.ensure_future(self._in_time(model_id, begun))
            flight = self._under_way[model_id] = _Flight(begun, landing)
            landing.add_done_callback(partial(self._landed, model_id, flight))
        flight.waiting += 1
        try:
            # Shielded: a request that gives up waiting must not end the load for the others.
            return await asyncio.shield(flight.landing)
        finally:
            flight.waiting -= 1
            if not flight.waiting and flight.begun.cancel():
                self._forget(model_id, flight)

    @property
    def hung(self) -> int:
        """How many loads take longer than they may."""
        return self._threads.hung

    def close(self) -> None:
        """Begin no more loads; those under way finish by themselves."""
        self._threads.close()

    def _in_thread(self, model_id: str) -> Resident:
        self._in_threads.add(model_id)
        try:
            return self._load(model_id)
        finally:
            self._in_threads.discard(model_id)

    async def _in_time(self, model_id: str, begun: "Future[Resident]") -> Resident:
        try:
            return await asyncio.wrap_future(begun)
        except _Hung as hung:
            raise self._timed_out(model_id, str(hung)) from None

    def _timed_out(self, model_id: str, place: str) -> ModelTimedOut:
        return ModelTimedOut(ModelId.parse(model_id).uri, self._timeout_s, place)

    def _forget(self, model_id: str, flight: "_Flight") -> None:
        if self._under_way.get(model_id) is flight:
            del self._under_way[model_id]

    def _landed(self, model_id: str, flight: "_Flight", landing: "asyncio.Future[Any]") -> None:
        self._forget(model_id, flight)
        if landing.cancelled():
            return
        error = landing.exception()  # retrieved, in case every request that waited has left
        if error is None:
            self._backoff.succeeded(model_id)
        elif isinstance(error, TenantryError) and not _untried(error):
            self._backoff.failed(model_id, error)
        self.ended(model_id, error)


@dataclass(slots=True, eq=False)
class _Flight:
    """A load that waits for its turn, or is under way.

    Attributes:
        begun: ends with the load, and can be cancelled before it.
        landing: the same on the event loop.
        waiting: how many want it.
    """

    begun: "Future[Resident]"
    landing: "asyncio.Future[Resident]"
    waiting: int = 0


class _Hung(Exception):
    """A load takes too long; the message says where its thread is."""


def _untried(error: TenantryError) -> bool:
    return isinstance(error, ArtifactUnavailable) and not error.tried
