"""Models in memory, bounded and counted, and near copies of other servers' models beside them."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from cachetools import Cache

from tenantry import Model
from tenantry.errors import ModelTooLarge
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


class KeptModels:
    """Models in any cachetools cache, by model id; safe to use from several threads.

    Args:
        cache: for example ``bounded_cache(512 << 20)``, or ``LRUCache(maxsize=100)`` for a number of
            models. Nothing else may use it.
        near: for copies of models that other servers have; None: none are kept.

    Attributes:
        counts: what happened since the process started.
    """

    def __init__(self, cache: Cache[str, Model], near: NearCache[Resident] | None = None) -> None:
        # The cache holds Residents, each with its measured size: measuring takes up to seconds, so it is
        # done outside the lock, for which the event loop waits.
        self._measure = cache.getsizeof
        self._cache = cast("Cache[str, Resident]", cache)
        self._cache.getsizeof = lambda resident: resident.size_bytes  # type: ignore[method-assign, assignment]
        self._find: Callable[[str], Resident | None] = eviction.finder(self._cache)
        self._lock = threading.Lock()
        self._near = near
        self.counts = CacheCounts()

    def peek(self, model_id: str) -> Resident | None:
        """Return a model that is in memory, or None, without waiting for a load; it counts as a use.

        A near copy counts as the model here, and nowhere else: it may leave at any moment.
        """
        with self._lock:
            resident = self._find(model_id)
            if resident is not None:
                self.counts.hits += 1
                return resident
            return None if self._near is None else self._near.get(model_id)

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
