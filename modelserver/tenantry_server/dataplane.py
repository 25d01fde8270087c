"""One prediction: whose model, get it, check the rows against it, run it. Knows no HTTP."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from tenantry import Model, TenantryError
from tenantry.errors import FeatureMismatch, PredictionFailed, PredictionTimeout
from tenantry.model import Predictions
from tenantry_server.cache import CachedModelRepository
from tenantry_server.model_info import ModelInfoRepository
from tenantry_server.payload import Payload
from tenantry_server.repositories import ModelRepository

_T = TypeVar("_T")
_PREDICT_THREADS = 8  # more than a core needs: a call over its time keeps its thread until it ends
_LOAD_THREADS = 4
# What a model raises because of its rows; where those were checked to be numbers, only values are left.
_REFUSALS: dict[bool, tuple[type[Exception], ...]] = {
    True: (ValueError,),
    False: (ValueError, TypeError, KeyError),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a prediction gave.

    Attributes:
        predictions: shape (n,) or (n, outputs).
        model_id: the exact model that gave them.
    """

    predictions: Predictions
    model_id: str


class DataPlane:
    """Predicts for users, with at most one load of a model under way.

    Models are run and loaded in threads of their own, so that neither holds up the event loop: a slow
    load can't starve predictions, nor a slow model the server's lease.

    Args:
        model_info_repository: whose model.
        model_repository: the models; a CachedModelRepository is asked for what is in memory first.
    """

    def __init__(
        self, model_info_repository: ModelInfoRepository, model_repository: ModelRepository
    ) -> None:
        self._info = model_info_repository
        self._models = model_repository
        self._loading: dict[str, asyncio.Future[tuple[Model, int]]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._predict_pool = ThreadPoolExecutor(_PREDICT_THREADS, "predict")
        self._load_pool = ThreadPoolExecutor(_LOAD_THREADS, "load")
        self._info_pool = ThreadPoolExecutor(1, "model-info")

    async def predict(self, user_id: str, payload: Payload, *, timeout_s: float) -> Answer:
        """Score the rows of `payload` with this user's model, loading it first if it is cold.

        Args:
            timeout_s: budget in seconds, a load included.

        Raises:
            ModelNotAssigned: nobody declared a TenantModel for this user.
            ModelNotReady: one is declared, and no version of it has loaded yet.
            ArtifactError: the model can't be loaded.
            FeatureMismatch: the rows are not what the model takes.
            PredictionFailed: the model raised.
            PredictionTimeout: the budget is spent; a load that was under way goes on.
        """
        try:
            async with asyncio.timeout(timeout_s) as budget:
                model_id = self._info.peek(user_id)
                if model_id is None:
                    model_id = await _in(
                        self._info_pool, lambda: self._info.get_model_id_by_user_id(user_id)
                    )
                model = self._in_memory(model_id)
                if model is None:
                    model, _ = await self.load(model_id)
                if len(payload) == 0:
                    return Answer(np.empty(0), model_id)
                run = partial(_predict, model, payload)
                return Answer(await self._in_turn(model_id, run), model_id)
        except TimeoutError:
            if not budget.expired():
                raise  # a repository's own
            raise PredictionTimeout(timeout_s) from None

    async def load(self, model_id: str) -> tuple[Model, int]:
        """Load a model, or wait for the load that is under way.

        Returns:
            the model, and its size in bytes (0 where there is no cache to measure it).
        """
        flight = self._loading.get(model_id)
        if flight is None:
            loop = asyncio.get_running_loop()
            flight = loop.run_in_executor(self._load_pool, _contained, partial(self._load, model_id))
            self._loading[model_id] = flight
            flight.add_done_callback(lambda done: self._landed(model_id, done))
        # Shielded: whoever gives up waiting must not end the load for the others.
        return await asyncio.shield(flight)

    def close(self) -> None:
        """End the threads; calls that run are left to finish."""
        for pool in (self._predict_pool, self._load_pool, self._info_pool):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _in_turn(self, model_id: str, call: Callable[[], _T]) -> _T:
        """Run it when no other call of the same model runs: a slow one holds up its own user only."""
        turn = self._turns.get(model_id)
        if turn is None:
            turn = self._turns[model_id] = asyncio.Semaphore(1)
        await turn.acquire()
        loop = asyncio.get_running_loop()
        try:
            job = self._predict_pool.submit(_contained, call)
        except BaseException:
            turn.release()
            raise

        def ended(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
                loop.call_soon_threadsafe(turn.release)

        # Whoever gives up waiting leaves a call that runs its turn, and takes back one that does not.
        job.add_done_callback(ended)
        return await asyncio.wrap_future(job)

    def _in_memory(self, model_id: str) -> Model | None:
        if isinstance(self._models, CachedModelRepository):
            return self._models.peek(model_id)
        return None

    def _load(self, model_id: str) -> tuple[Model, int]:
        if isinstance(self._models, CachedModelRepository):
            return self._models.get_measured(model_id)
        return self._models.get_model(model_id), 0

    def _landed(self, model_id: str, flight: asyncio.Future[Any]) -> None:
        del self._loading[model_id]
        if not flight.cancelled():
            flight.exception()  # seen here, in case everyone who waited has left


def _predict(model: Model, payload: Payload) -> Predictions:
    """Check the rows and run the model; in a thread, as a million values take a tenth of a second."""
    if model.numeric:
        rows = payload.matrix(model)
        return _checked(model, lambda: model.predict_rows(rows), len(rows))
    frame = payload.frame(model)
    return _checked(model, lambda: model.predict(frame), len(frame))


def _checked(model: Model, call: Callable[[], Predictions], expected: int) -> Predictions:
    try:
        predictions = np.asarray(call())
    except TenantryError:
        raise
    except _REFUSALS[model.numeric] as error:
        raise FeatureMismatch(f"the model refused these rows: {error}") from error
    except BaseException as error:  # sys.exit() in a model must not end the server
        name = type(model).__name__
        raise PredictionFailed(f"{name} raised {type(error).__name__}: {error}") from error
    if predictions.ndim == 0 or len(predictions) != expected:
        raise PredictionFailed(
            f"{type(model).__name__} returned shape {predictions.shape} for {expected} rows"
        )
    return predictions


async def _in(pool: ThreadPoolExecutor, call: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(pool, _contained, call)


def _contained(call: Callable[[], _T]) -> _T:
    """Keep in its thread what an event loop can't take from a future.

    SystemExit and its like end the loop, StopIteration leaves the future pending for ever, and
    CancelledError would pass for a cancellation of whoever awaits it.
    """
    try:
        return call()
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, StopIteration | CancelledError):
            raise
        raise RuntimeError(f"{type(error).__name__} was raised: {error}") from error
