"""Loads of models in real workers, as the server's threads ask for them."""

import asyncio
import io
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.svm import SVR

from tenantry import Model, ModelId
from tenantry_server.kernels.base import Compiled
from tenantry_server.workers.loading import WorkerLoads
from tenantry_server.workers.pool import Pool
from tenantry_server.workers.remote import WorkerModel

_MANY = 16
_ROWS = np.arange(6.0).reshape(3, 2)


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(most=4)
    pool.start()
    try:
        await pool.until_ready()
        yield pool
    finally:
        pool.close()


async def _loaded_at_once(pool: Pool, estimator: Ridge | SVR) -> list[Model]:
    file = io.BytesIO()
    joblib.dump(estimator.fit(_ROWS, [1.0, 2.0, 4.0]), file)
    ids = [ModelId.parse(f"file:///{n}.joblib") for n in range(_MANY)]
    loads = WorkerLoads(pool, timeout_s=60)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(_MANY) as threads:
        return await asyncio.gather(
            *(loop.run_in_executor(threads, loads.load, file.getvalue(), each) for each in ids)
        )


def _made(pool: Pool) -> int:
    return len(pool.workers) + sum(pool.restarts.values())


async def test_many_loads_at_once_are_made_by_two_workers(pool: Pool) -> None:
    """A worker for each would cost more than its load: a fleet that starts has hundreds of cold models."""
    models = await _loaded_at_once(pool, Ridge())
    assert all(isinstance(model, Compiled) for model in models)
    assert _made(pool) <= 2


async def test_models_that_stay_share_one_worker_however_many_arrive_at_once(pool: Pool) -> None:
    models = await _loaded_at_once(pool, SVR())
    assert all(isinstance(model, WorkerModel) for model in models)
    assert _made(pool) <= 3
