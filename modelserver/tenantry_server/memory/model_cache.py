"""The model cache: loaded models in memory, bounded, each loaded once at a time, counted."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from cachetools import Cache

from tenantry import Model
from tenantry.errors import ModelTooLarge
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.memory import eviction
from tenantry_server.memory.near_cache import NearCache
from tenantry_server.memory.resident import Resident


@dataclass(slots=True)
class CacheCounts:
    """What a cache did since its process started.

    Attributes:
        hits: lookups that found a model.
        misses: lookups that had to wait for a load, their own or one under way.
        loads: models that were read and loaded.
        failures: loads that raised.
        evictions: models that were dropped to make room.
    """

    hits: int = 0
    misses: int = 0
    loads: int = 0
    failures: int = 0
    evictions: int = 0


class CachedModelRepository(ModelRepository):
    """Keeps models of another repository in any cachetools cache; safe to use from several threads.

    Concurrent calls for one model that is not in memory load it once (single flight). The key is the
    model id, which names exact bytes, so what is in the cache is never stale.

    Args:
        model_repository: where models come from.
        cache: for example ``bounded_cache(512 << 20)``, or ``LRUCache(maxsize=100)`` for a number of
            models. Nothing else may use it.
        near: for copies of models that other servers have; None: none are kept.

    Example:
        >>> from cachetools import LRUCache
        >>> class Slow(ModelRepository):
        ...     def get_model(self, model_id):
        ...         print("loading", model_id)
        ...         return SumModel()
        >>> from tenantry_server.toys import SumModel
        >>> cached = CachedModelRepository(Slow(), LRUCache(maxsize=2))
        >>> cached.get_model("a") is cached.get_model("a")
        loading a
        True
        >>> cached.counts.hits, cached.counts.misses
        (1, 1)
    """

    def __init__(
        self,
        model_repository: ModelRepository,
        cache: Cache[str, Model],
        near: NearCache[Resident] | None = None,
    ) -> None:
        self._models = model_repository
        # The cache holds Residents, each with its measured size: measuring takes up to seconds, so it is
        # done outside the lock, for which the event loop waits.
        self._measure = cache.getsizeof
        self._cache = cast("Cache[str, Resident]", cache)
        self._cache.getsizeof = lambda resident: resident.size_bytes  # type: ignore[method-assign, assignment]
        self._lock = threading.Lock()
        self._flights: dict[str, Future[Resident | None]] = {}  # None: it has to be loaded alone
        self._near = near
        self.counts = CacheCounts()

    def get_model(self, model_id: str) -> Model:
        """Return a model from memory, or load it; wait where another thread loads the same model.

        Raises:
            ModelTooLarge: it is larger than the whole cache; every other model stays.
            ArtifactError: as the repository below raises it, to every caller that waited.
        """
        return self.get_resident(model_id).model

    def get_card(self, model_id: str) -> bytes | None:
        """Ask the repository below: cards are not kept in memory."""
        return self._models.get_card(model_id)

    def get_resident(self, model_id: str) -> Resident:
        """Return the same with what is known of the model."""
        mine = False
        with self._lock:
            resident = self._lookup(model_id)
            if resident is not None:
                return resident
            self.counts.misses += 1
            flight = self._flights.get(model_id)
            if flight is None:
                mine = True
                flight = self._flights[model_id] = Future()
        if mine:
            self._land(model_id, flight)
        resident = flight.result()
        return self.get_resident(model_id) if resident is None else resident  # it was not one of a group

    def get_residents(self, model_ids: Sequence[str]) -> list[Resident | None]:
        """Load small models together, for a fraction of the time.

        Returns:
            None for each that has to be asked for by `get_resident`: it is loaded alone, or already here.
        """
        with self._lock:
            mine: dict[str, Future[Resident | None]] = {
                each: Future()
                for each in model_ids
                if each not in self._cache and each not in self._flights
            }
            self._flights.update(mine)
        loaded: dict[str, Resident] = {}
        try:
            for model_id, model in zip(mine, self._models.get_models(list(mine)), strict=True):
                if model is not None:
                    with suppress(ModelTooLarge):  # which is said where it is loaded alone
                        loaded[model_id] = self._keep(model_id, model)
        finally:
            with self._lock:
                self.counts.misses += len(loaded)
                for model_id in mine:
                    del self._flights[model_id]
            for model_id, flight in mine.items():
                flight.set_result(loaded.get(model_id))
        return [loaded.get(model_id) for model_id in model_ids]

    def peek(self, model_id: str) -> Resident | None:
        """Return a model that is in memory, or None, without waiting for a load; it counts as a use.

        A near copy counts as the model here, and nowhere else: it may leave at any moment.
        """
        with self._lock:
            resident = None if self._near is None else self._near.get(model_id)
            return self._lookup(model_id) if resident is None else resident  # a miss there costs more

    def peek_many(self, model_ids: Sequence[str]) -> list[Resident | None]:
        """Return what `peek` returns for each, for a fraction of the time; the lock is held once."""
        with self._lock:
            found = eviction.get_many(self._cache, model_ids)
            missing = 0 if all(found) else found.count(None)
            self.counts.hits += len(found) - missing
            if missing and self._near is not None:
                for place, model_id in enumerate(model_ids):
                    if found[place] is None:
                        found[place] = self._near.get(model_id)
            return found

    def glance(self, model_id: str) -> Resident | None:
        """Like `peek`, but does not count as a use, so the eviction order is unchanged."""
        with self._lock:
            if model_id not in self._cache:
                return None if self._near is None else self._near.glance(model_id)
            return Cache.__getitem__(self._cache, model_id)  # the policies count in their own method

    def __contains__(self, model_id: str) -> bool:
        """Return whether a model is in memory; not a use of it."""
        with self._lock:
            return model_id in self._cache

    def touch(self, model_id: str) -> None:
        """Count a model as used now, if it is in memory; not a hit, as no request asked."""
        with self._lock:
            self._cache.get(model_id)

    def most_wanted(self, limit: int) -> list[str]:
        """Return up to `limit` model ids that would be given up last, the last one first."""
        with self._lock:
            return eviction.most_wanted(self._cache, limit)

    def requests(self, *, reset: bool = False) -> dict[str, int]:
        """Return the requests that each model answered, what is given up last first.

        The lock is held to copy the order, and then briefly for each model.

        Args:
            reset: count from 0 again.
        """
        found = {}
        for model_id in self.most_wanted(len(self)):
            resident = self.glance(model_id)
            if resident is not None:
                found[model_id] = resident.requests
                if reset:
                    resident.requests = 0  # a request that is counted in between is lost
        return found

    def discard(self, model_id: str, only: Resident | None = None) -> None:
        """Drop a model; requests that are using it finish with it.

        Args:
            only: drop it only if it is still this one.
        """
        with self._lock:
            if self._near is not None:
                self._near.discard(model_id)
            if only is None or self._cache.get(model_id) is only:
                self._cache.pop(model_id, None)

    def missed_near(self, model_id: str) -> bool:
        """Count a request that another server answers; return whether a copy here may be worth it."""
        if self._near is None:
            return False
        with self._lock:
            return model_id not in self._cache and self._near.missed(model_id)

    def keep_near(self, model_id: str, model: Model, call_s: float) -> None:
        """Keep a copy of another server's model, if it is wanted more than those that would leave.

        Args:
            call_s: the cost of a small prediction there, in seconds.
        """
        if self._near is None:
            return
        resident = Resident(model, int(self._measure(model)))
        resident.took(call_s)
        with self._lock:
            if model_id not in self._cache and self._near.admits(model_id, resident.size_bytes):
                self._near.put(model_id, resident)

    @property
    def near(self) -> NearCache["Resident"] | None:
        """The near copies, to be shown; None: none are kept."""
        return self._near

    @property
    def used_bytes(self) -> int:
        """The sizes of all models in memory, in the cache's own measure."""
        with self._lock:
            return int(self._cache.currsize)

    @property
    def capacity_bytes(self) -> int:
        """The cache's bound, in its own measure."""
        return int(self._cache.maxsize)

    def __len__(self) -> int:
        with self._lock:
            return len(self._cache)

    def _lookup(self, model_id: str) -> Resident | None:
        try:
            resident = self._cache[model_id]
        except KeyError:
            return None
        self.counts.hits += 1
        return resident

    def _land(self, model_id: str, flight: Future[Resident | None]) -> None:
        try:
            resident = self._keep(model_id, self._models.get_model(model_id))
        except BaseException as error:
            with self._lock:
                self.counts.failures += 1
                del self._flights[model_id]
            flight.set_exception(error)
        else:
            with self._lock:
                del self._flights[model_id]
            flight.set_result(resident)

    def _keep(self, model_id: str, model: Model) -> Resident:
        resident = Resident(model, int(self._measure(model)))
        with self._lock:
            before = len(self._cache) + (model_id not in self._cache)
            try:
                self._cache[model_id] = resident
            except ValueError:  # cachetools' word for "larger than maxsize"
                raise ModelTooLarge(model_id, resident.size_bytes, self.capacity_bytes) from None
            if self._near is not None:
                self._near.discard(model_id)
            self.counts.loads += 1
            self.counts.evictions += before - len(self._cache)
        return resident
