"""The model cache: models of a repository in memory, each loaded once at a time."""

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress

from cachetools import Cache

from tenantry import Model
from tenantry.errors import ModelTooLarge
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.memory.kept import KeptModels
from tenantry_server.memory.near_cache import NearCache
from tenantry_server.memory.resident import Resident


class CachedModelRepository(KeptModels, ModelRepository):
    """Keeps models of another repository in memory; safe to use from several threads.

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
        super().__init__(cache, near)
        self._models = model_repository
        self._flights: dict[str, Future[Resident | None]] = {}  # None: it has to be loaded alone

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
            resident = self._find(model_id)
            if resident is not None:
                self.counts.hits += 1
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
