"""One prediction: find the user's model, load it, run it. Knows no HTTP."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from tenantry import Model
from tenantry.errors import ModelLoading, ModelMoving, ModelOverLimit, PredictionTimeout
from tenantry.model import Predictions
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.cards.card import Card
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.memory.resident import Resident
from tenantry_server.predicting import forecasting
from tenantry_server.predicting.answer import Answer, Pace
from tenantry_server.predicting.cost_meter import LoadMeter
from tenantry_server.predicting.lanes import Lanes
from tenantry_server.predicting.loads import Loads
from tenantry_server.predicting.stored_cards import stored_card
from tenantry_server.quotas.quotas import Quotas
from tenantry_server.rows.payload import Payload
from tenantry_server.scoring import surroundings
from tenantry_server.scoring.calls import contained, contained_in, score
from tenantry_server.workers.process import Displaced

_PREDICT_THREADS = 8  # more than a core needs: a call that exceeds its time keeps its thread until it ends
# Handing work to a thread costs about 50 us plus GIL switches. Calls cheaper than a few times that run on
# the event loop, and hold up others for no longer than a request's own parsing does.
_QUICK_CALL_S = 0.0003
_SLOW_CALL_S = 0.001
_MOVES = 5  # of a model from worker to worker during one request


class DataPlane:
    """Predicts for users, with at most one load of a model under way.

    Models that are in memory and were measured to be quick answer at once. Other models are run and
    loaded in threads, so that neither holds up the event loop: a slow load can't starve predictions, nor
    a slow model the server's lease.

    Args:
        model_info_repository: from users to models.
        model_repository: the models; without a CachedModelRepository each request loads its own.
        load_timeout_s: for one load.
        predict_timeout_s: a call that takes longer than any request waits gives its place to another one.
        loads: how many may be under way at once.
        quotas: of users; None: nobody has any.

    Attributes:
        meter, quotas: the cost of its predictions; the quotas that were given.
    """

    def __init__(
        self,
        model_info_repository: ModelInfoRepository,
        model_repository: ModelRepository,
        *,
        load_timeout_s: float = 60.0,
        predict_timeout_s: float = 10.0,
        loads: int = 4,
        quotas: Quotas | None = None,
    ) -> None:
        self._info = model_info_repository
        self.quotas = quotas or Quotas()
        self._models = model_repository
        self._cache = model_repository if isinstance(model_repository, CachedModelRepository) else None
        lanes = self._lanes = Lanes(_PREDICT_THREADS, timeout_s=predict_timeout_s)
        self.meter = LoadMeter(cpu_s=lambda: time.process_time() + lanes.in_workers_s)
        self._loads = Loads(self._load, timeout_s=load_timeout_s, threads=loads)
        self._info_pool = ThreadPoolExecutor(1, "model-info")

    def predict_now(self, user_id: str, payload: Payload) -> Answer | None:
        """Score without waiting for anything, where possible; None: call `predict`.

        Possible where the user's model is in memory, only computes, was quick, and the rows are few.

        Raises:
            ModelNotAssigned, ModelNotReady, FeatureMismatch, PredictionFailed, QuotaExceeded: as `predict`.
        """
        found = self.find_quick(user_id)
        answer = None if found is None else self.score_quick(user_id, found, payload)
        if found is not None and answer is not None:
            self.meter.spent(user_id, found[1].call_s)
        return answer

    def find_quick(self, user_id: str) -> tuple[str, Resident] | None:
        """Return the model that `predict_now` would ask, and its model id; None: there is none.

        Raises:
            ModelNotAssigned, ModelNotReady: as `predict`.
        """
        if self._cache is None:
            return None
        model_id = self._info.peek(user_id)
        if model_id is None:
            return None
        resident = self._cache.peek(model_id)
        if resident is None or resident.call_s > _QUICK_CALL_S or not resident.here:
            return None
        return model_id, resident

    def is_in_worker(self, user_id: str) -> bool:
        """Return whether the user's model is in a worker now, so that `predict` only has to call it.

        Raises:
            ModelNotAssigned, ModelNotReady: as `predict`.
        """
        model_id = None if self._cache is None else self._info.peek(user_id)
        resident = None if model_id is None or self._cache is None else self._cache.glance(model_id)
        return resident is not None and resident.model.elsewhere

    def knows(self, user_id: str) -> bool:
        """Return whether it is known, without asking SQL, which model is the user's; raise as `pace`."""
        return self._info.peek(user_id) is not None

    def score_quick(self, user_id: str, found: tuple[str, Resident], payload: Payload) -> Answer | None:
        """Do `predict_now` with the model that `find_quick` found, and charge it to nobody."""
        model_id, resident = found
        if not forecasting.is_quick(resident.model, payload):
            return None
        self.quotas.take(user_id, rows=len(payload))
        if not resident.is_sampled():
            return Answer(score(resident.model, payload), model_id)
        began_s = time.thread_time()  # time of other processes on a busy machine is not a cost of the model
        predictions = score(resident.model, payload)
        resident.took(time.thread_time() - began_s)
        self.meter.accounts.sampled = True
        return Answer(predictions, model_id)

    def pace(self, user_id: str) -> Pace:
        """Return how a small prediction would run here; not a use of the model.

        Raises:
            ModelNotAssigned, ModelNotReady: as `predict`.
        """
        model_id = None if self._cache is None else self._info.peek(user_id)
        resident = None if model_id is None or self._cache is None else self._cache.glance(model_id)
        if resident is None:
            return Pace.UNKNOWN
        if resident.call_s > _QUICK_CALL_S or not resident.here:
            return Pace.SLOW if _SLOW_CALL_S < resident.call_s < math.inf else Pace.USUAL
        return Pace.QUICK

    async def predict(
        self, user_id: str, payload: Payload, *, timeout_s: float, counted: bool = True
    ) -> Answer:
        """Score the rows of `payload` with this user's model, loading it first if it is cold.

        Args:
            timeout_s: budget in seconds, a load included.
            counted: as `Quotas.entered` takes it.

        Raises:
            ModelNotAssigned: nobody declared a TenantModel for this user.
            ModelNotReady: one is declared, and no version of it has loaded yet.
            ModelLoading: the budget is spent before the model has loaded; a load that has begun goes on.
            ArtifactError, ModelTooLarge: the model can't be loaded.
            FeatureMismatch: the rows are not what the model takes.
            QuotaExceeded, RowsTooMany: the user's limits allow no more.
            PredictionFailed: the model raised.
            PredictionTimeout: the budget is spent while the model predicts.
        """
        loaded, find = False, partial(self._resident, user_id)
        try:
            async with asyncio.timeout(timeout_s) as budget:
                model_id = await self.model_id_of(user_id)
                with self.quotas.entered(user_id, rows=len(payload), counted=counted):
                    for _ in range(_MOVES):
                        loaded = False
                        asked_id, resident = await forecasting.answering(find, model_id, payload)
                        loaded = True
                        with contextlib.suppress(Displaced):
                            scored = await self._scored(user_id, asked_id, resident, payload)
                            return Answer(scored, model_id)
                        self._forget(asked_id, resident)
                raise ModelMoving(user_id)
        except TimeoutError:
            if not budget.expired():
                raise  # a TimeoutError of the repository
            raise (PredictionTimeout(timeout_s) if loaded else ModelLoading(user_id, timeout_s)) from None

    async def model_of(self, user_id: str, *, timeout_s: float) -> tuple[Model, str]:
        """Return this user's model, loading it if it is cold, and its model id.

        Raises:
            ModelNotAssigned, ModelNotReady, ModelLoading, ArtifactError, ModelTooLarge: as `predict`.
        """
        try:
            async with asyncio.timeout(timeout_s) as budget:
                model_id = await self.model_id_of(user_id)
                return (await self._resident(user_id, model_id)).model, model_id
        except TimeoutError:
            if not budget.expired():
                raise
            raise ModelLoading(user_id, timeout_s) from None

    async def model_id_of(self, user_id: str) -> str:
        """Return which model answers for this user now.

        Raises:
            ModelNotAssigned, ModelNotReady, RegistryUnavailable: as the model info repository.
        """
        model_id, ask = self._info.peek(user_id), partial(self._info.get_model_id_by_user_id, user_id)
        return await contained_in(self._info_pool, ask) if model_id is None else model_id

    async def card_of(self, user_id: str) -> tuple[Card | None, str]:
        """Return the card of this user's model, read from its store, and the model id.

        Raises:
            ModelNotAssigned, ModelNotReady: as `predict`.
            ArtifactError: the card can't be read.
        """
        model_id = await self.model_id_of(user_id)
        reading = partial(stored_card, self._models, model_id)
        return await asyncio.to_thread(contained, reading), model_id

    async def assigned(self) -> Mapping[str, str | None]:
        """Return every user with a model, as far as the model info repository knows."""
        return await contained_in(self._info_pool, self._info.assigned)

    def is_loaded(self, model_id: str) -> bool:
        """Return whether this model is in memory now."""
        return self._cache is not None and model_id in self._cache

    def unload(self, model_id: str) -> None:
        """Drop a model; requests that are using it finish with it, and the next one loads it again."""
        if self._cache is not None:
            self._cache.discard(model_id)
            self._cache.discard(forecasting.original_of(model_id))

    def check_size(self, user_id: str, model_id: str, resident: Resident) -> None:
        """Drop a model that takes more memory than its user may.

        Raises:
            ModelOverLimit: it does.
        """
        try:
            self.quotas.check_size(user_id, resident.size_bytes)
        except ModelOverLimit:
            self.unload(model_id)
            raise

    async def load(self, model_id: str) -> Resident:
        """Load a model now, or wait for the load that is under way.

        Raises:
            ArtifactError, ModelTooLarge: it can't be loaded.
        """
        return await self._loads.load(model_id)

    def report_loads(self, ended: Callable[[str, BaseException | None], None]) -> None:
        """Call `ended` with each model id whose load ended, and what it raised; None: it is loaded."""
        self._loads.ended = ended

    @property
    def hung(self) -> tuple[int, int]:
        """How many loads, and how many calls of models, take longer than they may; their threads go on."""
        return self._loads.hung, self._lanes.hung

    def close(self) -> None:
        """End the threads; running calls finish by themselves."""
        self._lanes.close()
        self._loads.close()
        self._info_pool.shutdown(wait=False, cancel_futures=True)

    async def _scored(
        self, user_id: str, model_id: str, resident: Resident, payload: Payload
    ) -> Predictions:
        if len(payload) == 0:
            return np.empty(0)
        resident.requests += 1
        if forecasting.is_table(resident.model, payload):
            self.meter.spent(user_id, resident.call_s)
            return score(resident.model, payload)
        try:
            return await self._lanes.predict(model_id, resident, payload)
        finally:  # a call that failed has cost as much
            self.meter.spent(user_id, resident.charged_s())

    def _forget(self, model_id: str, resident: Resident) -> None:
        """Drop a model whose worker is gone, or makes others wait; the next load finds another place."""
        if self._cache is not None:
            self._cache.discard(model_id, only=resident)

    async def _resident(self, user_id: str, model_id: str) -> Resident:
        resident = None if self._cache is None else self._cache.peek(model_id)
        return await self._loads.load_if_due(model_id, user_id) if resident is None else resident

    def _load(self, model_id: str) -> Resident:
        cache = self._cache
        if cache is not None:
            return surroundings.kept(lambda: cache.get_resident(model_id))
        return Resident(surroundings.kept(lambda: self._models.get_model(model_id)), 0)
