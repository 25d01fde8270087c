"""Loads of models in real workers, as the server's threads ask for them."""

import asyncio
import io
import itertools
import os
import pickle
import signal
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.svm import SVR

from tenantry import Model, ModelId
from tenantry.errors import ModelCrashed, ModelTooLarge
from tenantry_server.artifacts import headroom
from tenantry_server.artifacts.together import Artifact
from tenantry_server.kernels.base import Compiled
from tenantry_server.workers import loaders
from tenantry_server.workers.calls.remote import WorkerModel
from tenantry_server.workers.loading import WorkerLoads
from tenantry_server.workers.pool import Pool
from tests.support.processes.sandboxed import workers
from tests.support.tenants.hostile.models import EndsOnLoad, LoadsSlowly, Misbehaves
from tests.support.waiting import PATIENCE_S, until_soon

_MANY = 16
_TRIES = 5  # of a call that takes on no more models once half a second is over
_ROWS, _TARGETS = np.arange(6.0).reshape(3, 2), [1.0, 2.0, 4.0]
_IDS = [ModelId(f"file:///{n}.joblib") for n in range(_MANY)]


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    async with workers(4, shut_in=False) as pool:
        yield pool


@pytest.fixture
def none_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """No load takes so long that another one begins beside it, however busy the machine is."""
    monkeypatch.setattr(loaders, "_LONG_S", PATIENCE_S)


async def _loaded_at_once(pool: Pool, model: Any, ids: Sequence[ModelId] = _IDS) -> list[Model]:
    file = io.BytesIO()
    joblib.dump(model, file)
    loads = WorkerLoads(pool, timeout_s=60)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(_MANY) as threads:
        return await asyncio.gather(
            *(loop.run_in_executor(threads, loads.load, file.getvalue(), each) for each in ids)
        )


def _shared_by(pool: Pool) -> list[int]:
    """How many models each worker keeps."""
    return sorted(len(worker.sizes) for worker in pool.workers if worker.sizes)


def _made(pool: Pool) -> int:
    return len(pool.workers) + sum(pool.restarts.values())


@pytest.mark.usefixtures("none_is_long")
async def test_many_loads_at_once_are_made_by_two_workers(pool: Pool) -> None:
    """A worker for each would cost more than its load: a fleet that starts has hundreds of cold models."""
    models = await _loaded_at_once(pool, Ridge().fit(_ROWS, _TARGETS))
    assert all(isinstance(model, Compiled) for model in models)
    assert _made(pool) <= 2


async def test_a_kernel_that_has_no_place_in_the_cache_is_not_read(pool: Pool) -> None:
    file = io.BytesIO()
    joblib.dump(Ridge().fit(_ROWS, _TARGETS), file)
    loads = WorkerLoads(pool, timeout_s=60, most_bytes=100)
    with pytest.raises(ModelTooLarge, match="the cache holds 100"):
        await asyncio.to_thread(loads.load, file.getvalue(), _IDS[0])


async def test_a_pause_of_everything_is_not_the_fault_of_the_model_that_was_loaded(
    pool: Pool, tmp_path: Path
) -> None:
    """A container that is frozen goes on in the middle of a call, long after its time."""
    file = io.BytesIO()
    begun = tmp_path / "begun"
    joblib.dump(LoadsSlowly(begun), file)
    loads = WorkerLoads(pool, timeout_s=8.0)
    with ThreadPoolExecutor(1) as thread:
        loading = asyncio.get_running_loop().run_in_executor(thread, loads.load, file.getvalue(), _IDS[0])
        await until_soon(begun.exists)
        pids = [worker.pid for worker in pool.workers]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(9.0)  # noqa: ASYNC251 - nor does this process run
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert isinstance(await loading, WorkerModel)
    assert pool.restarts["overran"] == 0


@pytest.mark.usefixtures("none_is_long")
async def test_models_that_stay_share_one_worker_however_many_arrive_at_once(pool: Pool) -> None:
    models = await _loaded_at_once(pool, SVR().fit(_ROWS, _TARGETS))
    assert all(isinstance(model, WorkerModel) for model in models)
    assert _made(pool) <= 3
    assert _shared_by(pool) == [_MANY]


async def test_a_dedicated_model_shares_its_worker_with_nobody(pool: Pool) -> None:
    ids = [replace(each, isolation="dedicated") for each in _IDS[:3]]
    kept = await _loaded_at_once(pool, SVR().fit(_ROWS, _TARGETS), [*ids, *_IDS[3:6]])
    assert len(kept) == 6
    assert _shared_by(pool) == [1, 1, 1, 3]


async def test_models_that_bring_code_share_a_worker_within_their_namespace(pool: Pool) -> None:
    spaces = (None, None, "team-b", "team-b", "team-c")
    ids = [replace(each, namespace=space) for each, space in zip(_IDS, spaces, strict=False)]
    kept = await _loaded_at_once(pool, Misbehaves(), ids)
    assert len(kept) == 5
    assert _shared_by(pool) == [1, 2, 2]


async def test_models_of_the_known_libraries_share_a_worker_across_namespaces(pool: Pool) -> None:
    ids = [replace(each, namespace=space) for each, space in zip(_IDS, (None, "team-b"), strict=False)]
    kept = await _loaded_at_once(pool, SVR().fit(_ROWS, _TARGETS), ids)
    assert len(kept) == 2
    assert _shared_by(pool) == [2]


async def test_a_load_tells_what_the_next_one_of_the_same_bytes_will_take(pool: Pool) -> None:
    """A compressed file says nothing of that: here 0.2 MiB unfold to 48."""
    model = SVR().fit(_ROWS, _TARGETS)
    model.ballast_ = np.zeros(6 << 20)
    model.noise_ = np.random.default_rng(0).bytes(200 << 10)
    file = io.BytesIO()
    joblib.dump(model, file, compress=3)
    loads = WorkerLoads(pool, timeout_s=60)
    kept = await asyncio.to_thread(loads.load, file.getvalue(), _IDS[0])
    assert isinstance(kept, WorkerModel)
    assert file.tell() < 1 << 20
    assert 48 << 20 <= loads.needs.bytes_of(_IDS[0], file.tell()) < 400 << 20


@pytest.mark.parametrize(("more", "remembered"), [(1, True), (0, False)])
async def test_a_load_in_which_memory_ran_out_is_remembered(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, more: int, *, remembered: bool
) -> None:
    """Only where the kernel counts one more: a worker may be killed for other reasons."""
    counts = itertools.chain([7], itertools.repeat(7 + more))
    monkeypatch.setattr(headroom, "kills", lambda: next(counts))
    monkeypatch.setattr(headroom, "machine_available_bytes", lambda: 1 << 30)
    loads = WorkerLoads(pool, timeout_s=60)
    artifact = pickle.dumps((EndsOnLoad(None), bytes(100 << 10)))
    with pytest.raises(ModelCrashed):
        await asyncio.to_thread(loads.load, artifact, _IDS[0])
    assert (loads.needs.bytes_of(_IDS[0], 0) == 1 << 30) is remembered


async def _loaded_together(pool: Pool, *artifacts: Any, kernels: int = 0) -> list[Model | None]:
    """Load objects, or the bytes of an artifact, in one call of a worker.

    Args:
        kernels: how many there have to be; with fewer it is tried again, as there was no time for them.
    """
    given = [
        Artifact(exact, each if isinstance(each, bytes) else pickle.dumps(each), None)
        for exact, each in zip(_IDS, artifacts, strict=False)
    ]
    models: list[Model | None] = []
    for _ in range(_TRIES):
        models = await asyncio.to_thread(WorkerLoads(pool, timeout_s=60).load_many, given)
        if sum(isinstance(model, Compiled) for model in models) >= kernels:
            break
    return models


async def test_models_that_are_loaded_together_answer_as_those_that_are_loaded_alone(pool: Pool) -> None:
    fitted = [Ridge(alpha=n + 1).fit(_ROWS, _TARGETS) for n in range(4)]
    alone = [(await _loaded_at_once(pool, each, _IDS[:1]))[0] for each in fitted]
    models = await _loaded_together(pool, *fitted, kernels=4)
    for model, other in zip(models, alone, strict=True):
        assert isinstance(model, Compiled)
        assert model.predict_rows(_ROWS).tobytes() == other.predict_rows(_ROWS).tobytes()


async def test_what_is_wrong_with_one_model_is_left_to_its_own_load(pool: Pool) -> None:
    """What came before it is loaded; no model follows in a worker where a tenant's code has run."""
    good = Ridge().fit(_ROWS, _TARGETS)
    for wrong in (b"no model at all", Misbehaves()):
        models = await _loaded_together(pool, good, wrong, good, kernels=1)
        assert [isinstance(model, Compiled) for model in models] == [True, False, False]
    assert await _loaded_together(pool, good, EndsOnLoad(9), good) == [None, None, None]
    assert not pool.strikes.described()


async def test_a_model_that_stays_in_a_worker_holds_up_no_kernels(pool: Pool) -> None:
    svr, good = SVR().fit(_ROWS, _TARGETS), Ridge().fit(_ROWS, _TARGETS)
    models = await _loaded_together(pool, good, svr, good, kernels=2)
    assert [isinstance(model, Compiled) for model in models] == [True, False, True]
    assert _shared_by(pool) == []
