"""Loads of models: at most one of a model at a time, in time, and not again before its time.

Where more wait than there are threads, those whose turn it is are loaded together. What a group does not
load is loaded alone next, and only then judged. Owns the threads that load. Refuses to know where models
come from.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

from tenantry import ModelId, TenantryError
from tenantry.errors import ArtifactUnavailable, ModelTimedOut
from tenantry.processes.threads import Threads
from tenantry.tracing import spans
from tenantry_server.memory.resident import Resident
from tenantry_server.predicting.loading.line import Flight, Line
from tenantry_server.predicting.loading.load_backoff import LoadBackoff
from tenantry_server.scoring.calls import contained


class Loads:
    """Loads under way; used on the event loop.

    A load that takes too long is a failure at once, and another one may begin in its place. Its thread goes
    on, as Python can't end it; until it ends, that model is not loaded again.

    Args:
        load: reads and loads one model; called in threads.
        together: the same for several models; returns None for each that has to be loaded alone, and raises
            nothing that is wrong with one. None: each is loaded alone.
        timeout_s: for one load.
        threads: of loads that are under way at once.

    Attributes:
        ended: called with each model id and what its load raised; None: it is loaded.
    """

    ended: Callable[[str, BaseException | None], None] = staticmethod(lambda *_: None)

    def __init__(
        self,
        load: Callable[[str], Resident],
        together: Callable[[Sequence[str]], Sequence[Resident | None]] | None = None,
        *,
        timeout_s: float,
        threads: int = 4,
    ) -> None:
        self._load = load
        self._load_together = together
        self._timeout_s = timeout_s
        self._most = threads
        self._threads = Threads(threads, "load", timeout_s=timeout_s, late=_Hung)
        self._under_way: dict[str, Flight] = {}  # and those that wait for their turn
        self._line = Line(groups=together is not None)
        self._beginning = False
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
            flight = self._under_way[model_id] = Flight(model_id, user_id or model_id, landing)
            landing.add_done_callback(partial(self._landed, flight))
            self._put(flight)
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
        self._line.drain()
        self._threads.close()

    def _in_thread(self, model_ids: Sequence[str]) -> Sequence[Resident | None]:
        self._in_threads.update(model_ids)
        try:
            if len(model_ids) == 1 or self._load_together is None:
                return [self._load(model_id) for model_id in model_ids]
            return self._load_together(model_ids)
        finally:
            self._in_threads.difference_update(model_ids)

    def _put(self, flight: Flight) -> None:
        self._line.put(flight)
        if not self._beginning:  # once for all that come in this turn of the event loop
            self._beginning = True
            asyncio.get_running_loop().call_soon(self._begin_some)

    def _begin_some(self) -> None:
        """Begin the loads whose turn it is."""
        self._beginning = False
        while self._begun < self._most and (flights := self._line.next(self._most - self._begun)):
            self._begun += 1
            began_s = time.monotonic()
            in_thread = partial(self._in_thread, [flight.model_id for flight in flights])
            begun = self._threads.submit(partial(contained, in_thread))
            for flight in flights:
                flight.begun = begun
            asyncio.wrap_future(begun).add_done_callback(partial(self._ended, flights, began_s))

    def _ended(
        self,
        flights: Sequence[Flight],
        began_s: float,
        begun: "asyncio.Future[Sequence[Resident | None]]",
    ) -> None:
        """A load has ended, or takes too long, or was cancelled before a thread took it."""
        self._begun -= 1
        if begun.cancelled():
            self._again(flights)
        else:
            self._line.ended(flights, time.monotonic() - began_s)
            error = begun.exception()
            if len(flights) > 1:
                self._group_ended(flights, [] if error is not None else begun.result())
            elif error is not None:
                self._failed(flights[0], error)
            else:
                self._succeeded(flights[0], begun.result()[0])
        self._begin_some()

    def _again(self, flights: Sequence[Flight]) -> None:
        """Let those of a cancelled group wait for another turn for which somebody waits."""
        for flight in flights:
            if not flight.landing.done():
                flight.begun = None
                self._put(flight)

    def _group_ended(self, flights: Sequence[Flight], residents: Sequence[Resident | None]) -> None:
        loaded, left = 0, []
        for place, flight in enumerate(flights):
            resident = residents[place] if place < len(residents) else None
            if flight.landing.done():
                continue
            if resident is None:
                flight.begun = None
                left.append(flight)
            else:
                loaded += 1
                flight.landing.set_result(resident)
        self._line.group_ended(loaded, left)

    def _succeeded(self, flight: Flight, resident: Resident | None) -> None:
        if resident is None or flight.landing.done():  # the loop is closing
            return
        self._line.loaded_alone(resident)
        flight.landing.set_result(resident)

    def _failed(self, flight: Flight, error: BaseException) -> None:
        if isinstance(error, _Hung):
            error = self._timed_out(flight.model_id, str(error))
        if not flight.landing.done():  # the loop is closing
            flight.landing.set_exception(error)

    def _timed_out(self, model_id: str, place: str) -> ModelTimedOut:
        return ModelTimedOut(ModelId.parse(model_id).uri, self._timeout_s, place)

    def _forget(self, flight: Flight) -> None:
        if self._under_way.get(flight.model_id) is flight:
            del self._under_way[flight.model_id]

    def _landed(self, flight: Flight, landing: "asyncio.Future[Resident]") -> None:
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


class _Hung(Exception):
    """A load takes too long; the message says where its thread is."""


def _untried(error: TenantryError) -> bool:
    return isinstance(error, ArtifactUnavailable) and not error.tried
