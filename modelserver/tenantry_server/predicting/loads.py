"""Loads of models: at most one of a model at a time, in time, and not again before its time.

Owns the threads that load. Refuses to know where models come from.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from tenantry import ModelId, TenantryError
from tenantry.errors import ArtifactUnavailable, ModelTimedOut
from tenantry.processes.threads import Threads
from tenantry.tracing import spans
from tenantry_server.memory.resident import Resident
from tenantry_server.predicting.load_backoff import LoadBackoff
from tenantry_server.quotas.fair_queue import FairQueue
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
        self._most = threads
        self._threads = Threads(threads, "load", timeout_s=timeout_s, late=_Hung)
        self._under_way: dict[str, _Flight] = {}  # and those that wait for their turn
        self._queue: FairQueue[_Flight] = FairQueue()
        self._begun = 0
        self._in_threads: set[str] = set()
        self._backoff = LoadBackoff()

    async def load_if_due(self, model_id: str, user_id: str) -> Resident:
        """Load a model unless that failed a moment ago.

        Raises:
            ArtifactError, ModelTooLarge: it can't be loaded, or could not be when it was tried last.
        """
        if model_id not in self._under_way:
            self._backoff.check(model_id)
        with spans.part("load", user_id=user_id, model_id=model_id):
            return await self.load(model_id, user_id)

    async def load(self, model_id: str, user_id: str | None = None) -> Resident:
        """Load a model when it is its turn, or wait for the load that is under way.

        A load that has begun goes on although every request leaves. One that has not is dropped with the
        last request that waits for it, so that requests in a hurry hold up no others.

        Args:
            user_id: whose turn it is; those whose loads took little time come first. None: the model's own.

        Raises:
            ArtifactError, ModelTooLarge: it can't be loaded.
        """
        flight = self._under_way.get(model_id)
        if flight is None:
            if model_id in self._in_threads:  # and nobody waits for it: it took too long
                raise self._timed_out(model_id, "an earlier load of it still goes on")
            landing: asyncio.Future[Resident] = asyncio.get_running_loop().create_future()
            flight = self._under_way[model_id] = _Flight(model_id, user_id or model_id, landing)
            landing.add_done_callback(partial(self._landed, flight))
            self._queue.put(flight.user, flight)
            self._begin_some()
        flight.waiting += 1
        try:
            # Shielded: a request that gives up waiting must not end the load for the others.
            return await asyncio.shield(flight.landing)
        finally:
            flight.waiting -= 1
            if not flight.waiting and (flight.begun is None or flight.begun.cancel()):
                self._forget(flight)
                flight.landing.cancel()

    @property
    def hung(self) -> int:
        """How many loads take longer than they may."""
        return self._threads.hung

    def close(self) -> None:
        """Begin no more loads; those under way finish by themselves."""
        self._queue.drain()
        self._threads.close()

    def _in_thread(self, model_id: str) -> Resident:
        self._in_threads.add(model_id)
        try:
            return self._load(model_id)
        finally:
            self._in_threads.discard(model_id)

    def _begin_some(self) -> None:
        """Begin the loads whose turn it is."""
        while self._begun < self._most and self._queue:
            flight = self._queue.get()
            if flight.landing.done():
                continue  # nobody waits for it any more
            self._begun += 1
            flight.began_s = time.monotonic()
            in_thread = partial(self._in_thread, flight.model_id)
            flight.begun = self._threads.submit(partial(contained, in_thread))
            asyncio.wrap_future(flight.begun).add_done_callback(partial(self._ended, flight))

    def _ended(self, flight: "_Flight", begun: "asyncio.Future[Resident]") -> None:
        """A load has ended, or takes too long, or was cancelled before a thread took it."""
        self._begun -= 1
        if not begun.cancelled():
            self._queue.spent(flight.user, time.monotonic() - flight.began_s)
            error = begun.exception()
            if isinstance(error, _Hung):
                error = self._timed_out(flight.model_id, str(error))
            if flight.landing.done():  # the loop is closing
                pass
            elif error is None:
                flight.landing.set_result(begun.result())
            else:
                flight.landing.set_exception(error)
        self._begin_some()

    def _timed_out(self, model_id: str, place: str) -> ModelTimedOut:
        return ModelTimedOut(ModelId.parse(model_id).uri, self._timeout_s, place)

    def _forget(self, flight: "_Flight") -> None:
        if self._under_way.get(flight.model_id) is flight:
            del self._under_way[flight.model_id]

    def _landed(self, flight: "_Flight", landing: "asyncio.Future[Resident]") -> None:
        self._forget(flight)
        if landing.cancelled():
            return
        model_id = flight.model_id
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
        user: whose turn it takes.
        landing: what came of it; cancelled where nobody waited any more before it had begun.
        begun: ends with the load, and can be cancelled before a thread has taken it; None: it waits.
        began_s: when that was made, on `time.monotonic`'s clock.
        waiting: how many want it.
    """

    model_id: str
    user: str
    landing: "asyncio.Future[Resident]"
    begun: "Future[Resident] | None" = None
    began_s: float = 0.0
    waiting: int = 0


class _Hung(Exception):
    """A load takes too long; the message says where its thread is."""


def _untried(error: TenantryError) -> bool:
    return isinstance(error, ArtifactUnavailable) and not error.tried
