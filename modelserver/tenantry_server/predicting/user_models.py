"""Which model is each user's, how it stands in memory now, and its loads. Predicts nothing."""

import asyncio
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tenantry import Model
from tenantry.errors import ModelLoading
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.cards.card import Card
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.memory.resident import QUICK_CALL_S, Resident
from tenantry_server.predicting import forecasting
from tenantry_server.predicting.answer import Pace
from tenantry_server.predicting.loading.loads import Loads
from tenantry_server.predicting.residents import Residents
from tenantry_server.predicting.stored_cards import stored_card
from tenantry_server.scoring.calls import contained, contained_in

_SLOW_CALL_S = 0.001


class UserModels:
    """The models of users, with at most one load of a model under way; used on the event loop.

    SQL is asked and models are loaded in threads.

    Args:
        model_info_repository: from users to models.
        model_repository: the models; without a CachedModelRepository each request loads its own.
        load_timeout_s: for one load.
        loads: how many may be under way at once.
    """

    def __init__(
        self,
        model_info_repository: ModelInfoRepository,
        model_repository: ModelRepository,
        *,
        load_timeout_s: float = 60.0,
        loads: int = 4,
    ) -> None:
        self._info = model_info_repository
        self._models = model_repository
        self._cache = model_repository if isinstance(model_repository, CachedModelRepository) else None
        sources = Residents(model_repository)
        self._loads = Loads(sources.one, sources.together, timeout_s=load_timeout_s, threads=loads)
        self._info_pool = ThreadPoolExecutor(1, "model-info")

    def knows(self, user_id: str) -> bool:
        """Return whether it is known, without asking SQL, which model is the user's; raise as `pace`."""
        return self._info.peek(user_id) is not None

    def find_quick(self, user_id: str) -> tuple[str, Resident] | None:
        """Return the id of the user's model and the model, where it may answer at once; None: it may not.

        It may where it is in memory, only computes, and was quick.

        Raises:
            ModelNotAssigned, ModelNotReady: as `model_id_of`.
        """
        if self._cache is None:
            return None
        model_id = self._info.peek(user_id)
        if model_id is None:
            return None
        resident = self._cache.peek(model_id)
        if resident is None or resident.call_s > QUICK_CALL_S or not resident.here:
            return None
        return model_id, resident

    def pace(self, user_id: str) -> Pace:
        """Return how a small prediction would run here; not a use of the model.

        Raises:
            ModelNotAssigned, ModelNotReady: as `model_id_of`.
        """
        resident = self._glance(user_id)
        if resident is None:
            return Pace.UNKNOWN
        if resident.call_s > QUICK_CALL_S or not resident.here:
            return Pace.SLOW if _SLOW_CALL_S < resident.call_s < math.inf else Pace.USUAL
        return Pace.QUICK

    def is_in_worker(self, user_id: str) -> bool:
        """Return whether the user's model is in a worker now, so that a prediction only has to call it.

        Raises:
            ModelNotAssigned, ModelNotReady: as `model_id_of`.
        """
        resident = self._glance(user_id)
        return resident is not None and resident.model.elsewhere

    async def model_id_of(self, user_id: str) -> str:
        """Return which model answers for this user now.

        Raises:
            ModelNotAssigned: nobody declared a TenantModel for this user.
            ModelNotReady: one is declared, and no version of it has loaded yet.
            RegistryUnavailable: SQL has to be asked, and does not answer.
        """
        model_id, ask = self._info.peek(user_id), partial(self._info.get_model_id_by_user_id, user_id)
        return await contained_in(self._info_pool, ask) if model_id is None else model_id

    async def model_of(self, user_id: str, *, timeout_s: float) -> tuple[Model, str]:
        """Return this user's model, loading it if it is cold, and its model id.

        Raises:
            ModelNotAssigned, ModelNotReady, RegistryUnavailable: as `model_id_of`.
            ModelLoading: the budget is spent before the model has loaded; a load that has begun goes on.
            ArtifactError, ModelTooLarge: the model can't be loaded.
        """
        try:
            async with asyncio.timeout(timeout_s) as budget:
                model_id = await self.model_id_of(user_id)
                return (await self.resident(user_id, model_id)).model, model_id
        except TimeoutError:
            if not budget.expired():
                raise
            raise ModelLoading(user_id, timeout_s) from None

    async def card_of(self, user_id: str) -> tuple[Card | None, str]:
        """Return the card of this user's model, read from its store, and the model id.

        Raises:
            ModelNotAssigned, ModelNotReady, RegistryUnavailable: as `model_id_of`.
            ArtifactError: the card can't be read.
        """
        model_id = await self.model_id_of(user_id)
        reading = partial(stored_card, self._models, model_id)
        return await asyncio.to_thread(contained, reading), model_id

    async def assigned(self) -> Mapping[str, str | None]:
        """Return every user with a model, as far as the model info repository knows."""
        return await contained_in(self._info_pool, self._info.assigned)

    async def resident(self, user_id: str, model_id: str) -> Resident:
        """Return a model that is in memory, or load it in the user's turn.

        Raises:
            ArtifactError, ModelTooLarge: it can't be loaded, or could not be when it was tried last.
        """
        resident = None if self._cache is None else self._cache.peek(model_id)
        return await self._loads.load_if_due(model_id, user_id) if resident is None else resident

    async def load(self, model_id: str) -> Resident:
        """Load a model now, or wait for the load that is under way.

        Raises:
            ArtifactError, ModelTooLarge: it can't be loaded.
        """
        return await self._loads.load(model_id)

    def is_loaded(self, model_id: str) -> bool:
        """Return whether this model is in memory now."""
        return self._cache is not None and model_id in self._cache

    def unload(self, model_id: str) -> None:
        """Drop a model; requests that are using it finish with it, and the next one loads it again."""
        if self._cache is not None:
            self._cache.discard(model_id)
            self._cache.discard(forecasting.original_of(model_id))

    def forget(self, model_id: str, resident: Resident) -> None:
        """Drop a model whose worker is gone, or makes others wait; the next load finds another place."""
        if self._cache is not None:
            self._cache.discard(model_id, only=resident)

    def report_loads(self, ended: Callable[[str, BaseException | None], None]) -> None:
        """Call `ended` with each model id whose load ended, and what it raised; None: it is loaded."""
        self._loads.ended = ended

    @property
    def hung(self) -> int:
        """How many loads take longer than they may; their threads go on."""
        return self._loads.hung

    def close(self) -> None:
        """End the threads; running loads finish by themselves."""
        self._loads.close()
        self._info_pool.shutdown(wait=False, cancel_futures=True)

    def _glance(self, user_id: str) -> Resident | None:
        """Return the user's model if it is in memory; not a use of it."""
        model_id = None if self._cache is None else self._info.peek(user_id)
        return None if model_id is None or self._cache is None else self._cache.glance(model_id)
