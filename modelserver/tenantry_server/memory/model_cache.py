"""Loaded models in memory: bounded, loaded once at a time, counted."""

import math
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import cast

from cachetools import Cache

from tenantry import Model
from tenantry.errors import ModelTooLarge
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.memory import eviction


@dataclass(slots=True)
class CacheCounts:
    """What a cache did since its process started.

    Attributes:
        hits: answered from memory.
        misses: had to wait for a load, their own or one under way.
        loads: models read and loaded with success.
        failures: loads that raised.
        evictions: models dropped to make room.
    """

    hits: int = 0
    misses: int = 0
    loads: int = 0
    failures: int = 0
    evictions: int = 0


class Resident:
    """A model in memory, and what is known of it there.

    Attributes:
        model: it.
        size_bytes: in the cache's own measure.
        call_s: what a small prediction costs, in seconds; infinite until one was measured.
        spent_s: what predictions in threads have cost and nobody has charged yet, in seconds.
        requests: that it answered since somebody took note of them.
    """

    # Of a hundred thousand, each dict counts.
    __slots__ = ("_calls", "call_s", "model", "requests", "size_bytes", "spent_s")

    def __init__(self, model: Model, size_bytes: int) -> None:
        self.model = model
        self.size_bytes = size_bytes
        self.call_s = math.inf
        self.spent_s = 0.0
        self.requests = 0
        self._calls = 0

    def is_sampled(self) -> bool:
        """Count a request; whether to measure it: one of 16, as a clock costs as much as a small model."""
        self.requests += 1
        self._calls = (self._calls + 1) & 15
        return self._calls == 0

    def took(self, call_s: float) -> None:
        """Take in one more measured call; a single odd one changes little."""
        known = self.call_s
        self.call_s = call_s if known == math.inf else known + (call_s - known) / 8


class CachedModelRepository(ModelRepository):
    """Keeps models of another repository in any cachetools cache; safe to use from several threads.

    Concurrent calls for one model that is not in memory load it once (single flight). The key is the
    model id, which names exact bytes, so what is in the cache is never stale.

    Args:
        model_repository: where models come from.
        cache: for example ``bounded_cache(512 << 20)``, or ``LRUCache(maxsize=100)`` for a number of
            models. It must be used by nobody else.

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

    def __init__(self, model_repository: ModelRepository, cache: Cache[str, Model]) -> None:
        self._models = model_repository
        # Its values are Residents: getsizeof, the only one who looks at them, is asked here.
        self._cache = cast("Cache[str, Resident]", cache)
        self._measure = cache.getsizeof
        self._size_to_keep = 0
        # To measure may take seconds, and the event loop waits for the lock: it is done outside.
        setattr(cache, "getsizeof", lambda _: self._size_to_keep)  # noqa: B010 - a method to mypy
        self._lock = threading.Lock()
        self._flights: dict[str, Future[Resident]] = {}
        self.counts = CacheCounts()

    def get_model(self, model_id: str) -> Model:
        """From memory, or loaded now; waits where another thread loads the same model.

        Raises:
            ModelTooLarge: it is larger than the whole cache; every other model stays.
            ArtifactError: as the repository below raises it, to every caller that waited.
        """
        return self.get_resident(model_id).model

    def get_resident(self, model_id: str) -> Resident:
        """As `get_model`, with what is known of the model."""
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
        return flight.result()

    def peek(self, model_id: str) -> Resident | None:
        """From memory, or None: never waits for a load, and counts as a use where it is there."""
        with self._lock:
            return self._lookup(model_id)

    def glance(self, model_id: str) -> Resident | None:
        """The same, and no use of it: it does not stay longer for that."""
        with self._lock:
            if model_id not in self._cache:
                return None
            return Cache.__getitem__(self._cache, model_id)  # the policies count in their own

    def __contains__(self, model_id: str) -> bool:
        """Whether it is in memory; no use of it."""
        with self._lock:
            return model_id in self._cache

    def touch(self, model_id: str) -> None:
        """Count it as used now where it is there; no hit, as nobody asked."""
        with self._lock:
            self._cache.get(model_id)

    def most_wanted(self, limit: int) -> list[str]:
        """Up to `limit` of those that would be given up last, the last one first."""
        with self._lock:
            return eviction.most_wanted(self._cache, limit)

    def requests(self, *, take: bool = False) -> dict[str, int]:
        """Model id -> the requests that it answered since they were taken; what would go last comes first.

        The lock is held to copy the order, and then for a moment for each.

        Args:
            take: count from nothing again.
        """
        found = {}
        for model_id in self.most_wanted(len(self)):
            resident = self.glance(model_id)
            if resident is not None:
                found[model_id] = resident.requests
                if take:
                    resident.requests = 0  # a request that is counted in between is lost
        return found

    def discard(self, model_id: str) -> None:
        """Forget a model; requests that hold it finish with it."""
        with self._lock:
            self._cache.pop(model_id, None)

    @property
    def used_bytes(self) -> int:
        """The sizes of the models in memory together, as the cache's own measure counts them."""
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

    def _land(self, model_id: str, flight: Future[Resident]) -> None:
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
            self._size_to_keep = resident.size_bytes
            before = len(self._cache) + (model_id not in self._cache)
            try:
                self._cache[model_id] = resident
            except ValueError:  # cachetools' word for "larger than maxsize"
                raise ModelTooLarge(model_id, resident.size_bytes, self.capacity_bytes) from None
            self.counts.loads += 1
            self.counts.evictions += before - len(self._cache)
        return resident
