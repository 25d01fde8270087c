"""One prediction: find the user's model, run it, charge it. Knows no HTTP."""

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from tenantry.errors import ModelLoading, ModelMoving, ModelOverLimit, PredictionTimeout
from tenantry.model import Predictions
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.memory.resident import QUICK_CALL_S, Resident
from tenantry_server.predicting import forecasting
from tenantry_server.predicting.answer import Answer
from tenantry_server.predicting.cost_meter import LoadMeter
from tenantry_server.predicting.lanes import Lanes
from tenantry_server.predicting.user_models import UserModels
from tenantry_server.quotas.quotas import Quotas
from tenantry_server.rows.payload import Payload
from tenantry_server.scoring.calls import score
from tenantry_server.workers.process import Displaced

_PREDICT_THREADS = 8  # more than a core needs: a call that exceeds its time keeps its thread until it ends
_MOVES = 5  # of a model from worker to worker during one request


class DataPlane:
    """Predicts for users.

    Models that are in memory and were measured to be quick answer at once. Other models are run and
    loaded in threads, so that neither holds up the event loop: a slow load can't starve predictions, nor
    a slow model the server's lease.

    Args:
        model_info_repository, model_repository, load_timeout_s, loads: as `UserModels` takes them.
        predict_timeout_s: a call that takes longer than any request waits gives its place to another one.
        quotas: of users; None: nobody has any.

    Attributes:
        models: which model is each user's, and its loads.
        meter, quotas: the cost of its predictions; the quotas that were given.
        aside: the one thread in which large requests of all kinds are read, computed and written. Several
            would each want the interpreter, and the event loop would have to wait for all of them.
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
        self.models = UserModels(
            model_info_repository, model_repository, load_timeout_s=load_timeout_s, loads=loads
        )
        self.quotas = quotas or Quotas()
        self.aside = ThreadPoolExecutor(1, "large-requests")
        lanes = self._lanes = Lanes(_PREDICT_THREADS, timeout_s=predict_timeout_s, aside=self.aside)
        self.meter = LoadMeter(cpu_s=lambda: time.process_time() + lanes.in_workers_s)

    def predict_now(self, user_id: str, payload: Payload) -> Answer | None:
        """Score without waiting for anything, where possible; None: call `predict`.

        Possible where `UserModels.find_quick` finds the model, and the rows are few.

        Raises:
            ModelNotAssigned, ModelNotReady, FeatureMismatch, PredictionFailed, QuotaExceeded: as `predict`.
        """
        found = self.models.find_quick(user_id)
        predictions = None if found is None else self.score_quick(user_id, found[1], payload)
        if found is None or predictions is None:
            return None
        self.meter.spent(user_id, found[1].call_s)
        return Answer(predictions, found[0])

    def score_quick(
        self, user_id: str, resident: Resident, payload: Payload, *, limited: bool = True
    ) -> "Predictions | None":
        """Do `predict_now` with a model that `UserModels.find_quick` found, and charge it to nobody.

        Args:
            limited: False: the user is known to have no limits.
        """
        rows = len(payload)
        if payload.is_forecast:
            if not forecasting.is_quick(resident.model, payload):
                return None
        elif not 0 < rows <= forecasting.QUICK_ROWS or payload.large:
            return None
        if limited:
            self.quotas.take(user_id, rows=rows)
        if not resident.is_sampled():
            return score(resident.model, payload)
        began_s = time.thread_time()  # time of other processes on a busy machine is not a cost of the model
        predictions = score(resident.model, payload)
        resident.took(time.thread_time() - began_s)
        self.meter.accounts.sampled = True
        return predictions

    async def predict(
        self, user_id: str, payload: Payload, *, timeout_s: float, counted: bool = True
    ) -> Answer:
        """Score the rows of `payload` with this user's model, loading it first if it is cold.

        Args:
            timeout_s: budget in seconds, a load included.
            counted: as `Quotas.entered` takes it.

        Raises:
            ModelNotAssigned, ModelNotReady, RegistryUnavailable: as `UserModels.model_id_of`.
            ModelLoading: the budget is spent before the model has loaded; a load that has begun goes on.
            ArtifactError, ModelTooLarge: the model can't be loaded.
            FeatureMismatch: the rows are not what the model takes.
            QuotaExceeded, RowsTooMany: the user's limits allow no more.
            PredictionFailed: the model raised.
            PredictionTimeout: the budget is spent while the model predicts.
        """
        loaded, find = False, partial(self.models.resident, user_id)
        try:
            async with asyncio.timeout(timeout_s) as budget:
                model_id = await self.models.model_id_of(user_id)
                with self.quotas.entered(user_id, rows=len(payload), counted=counted):
                    for _ in range(_MOVES):
                        loaded = False
                        asked_id, resident = await forecasting.answering(find, model_id, payload)
                        loaded = True
                        with contextlib.suppress(Displaced):
                            scored = await self._scored(user_id, asked_id, resident, payload)
                            return Answer(scored, model_id)
                        self.models.forget(asked_id, resident)
                raise ModelMoving(user_id)
        except TimeoutError:
            if not budget.expired():
                raise  # a TimeoutError of the repository
            raise (PredictionTimeout(timeout_s) if loaded else ModelLoading(user_id, timeout_s)) from None

    def check_size(self, user_id: str, model_id: str, resident: Resident) -> None:
        """Drop a model that takes more memory than its user may.

        Raises:
            ModelOverLimit: it does.
        """
        try:
            self.quotas.check_size(user_id, resident.size_bytes)
        except ModelOverLimit:
            self.models.unload(model_id)
            raise

    @property
    def hung(self) -> int:
        """How many calls of models take longer than they may; their threads go on."""
        return self._lanes.hung

    def close(self) -> None:
        """End the threads; running calls and loads finish by themselves."""
        self._lanes.close()
        self.aside.shutdown(wait=False, cancel_futures=True)
        self.models.close()

    async def _scored(
        self, user_id: str, model_id: str, resident: Resident, payload: Payload
    ) -> Predictions:
        if len(payload) == 0:
            return np.empty(0)
        resident.requests += 1
        quick = resident.here and resident.call_s <= QUICK_CALL_S
        if quick and forecasting.is_quick(resident.model, payload):
            self.meter.spent(user_id, resident.call_s)
            return score(resident.model, payload)
        try:
            return await self._lanes.predict(model_id, resident, payload)
        finally:  # a call that failed has cost as much
            self.meter.spent(user_id, resident.charged_s())
