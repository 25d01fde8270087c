"""A batch leaves the event loop to others: it works in slices, and each has a turn of its own."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer
from sklearn.linear_model import Ridge

from tenantry_server import CachedModelRepository, FileSystemModelRepository, bounded_cache, make_app
from tenantry_server.access.gate import Gate
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.kernels.stacked import Kind
from tenantry_server.memory.resident import Resident
from tenantry_server.predicting import batches
from tenantry_server.predicting.batches import Batches
from tenantry_server.predicting.sorting import USERS_AT_ONCE, Found
from tenantry_server.predicting.together import Answers
from tenantry_server.rows.batch import AT_ONCE, Batch
from tests.support.tenants.application import FRAME, Client
from tests.support.tenants.registered import Tenants

ROWS = 3 * AT_ONCE


class Everybody(ModelInfoRepository):
    """Users who share one model."""

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id

    def get_model_id_by_user_id(self, user_id: str) -> str:  # noqa: ARG002 - all of them
        return self.model_id

    def peek_many(self, user_ids: Sequence[str]) -> Sequence[str | None]:
        return [self.model_id] * len(user_ids)


async def ask(client: Client, rows: list[dict[str, Any]]) -> Any:
    async with client.post("/predict", data=orjson.dumps({"rows": rows})) as response:
        assert response.status == 200
        return orjson.loads(await response.read())


class Loop:
    """Counts the turns of the event loop that others have."""

    def __init__(self) -> None:
        self.turns = 0
        self.seen: list[tuple[int, int]] = []  # in which turn, and how many users

    async def count(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


async def test_no_slice_is_larger_than_was_measured(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand users a turn, four thousand rows of kernels a step: docs/benchmarks.md has their time."""
    loop, steps, whole = Loop(), [], CachedModelRepository.peek_many

    def peek_many(self: CachedModelRepository, model_ids: Sequence[str]) -> list[Resident | None]:
        loop.seen.append((loop.turns, len(model_ids)))
        return whole(self, model_ids)

    compute = Kind.predict

    def predict(self: Kind, places: Any, rows: Any) -> Any:
        steps.append(len(rows))
        return compute(self, places, rows)

    monkeypatch.setattr(CachedModelRepository, "peek_many", peek_many)
    monkeypatch.setattr(Kind, "predict", predict)
    everybody = Everybody(tenants.add("u", Ridge().fit(FRAME, [1.0, 2.0, 3.0])))
    models = CachedModelRepository(FileSystemModelRepository(), bounded_cache(1 << 20))
    app = make_app(everybody, models, gate=Gate(), max_body_bytes=4 << 20, predict_timeout_s=60.0)
    rows = [{"user_id": f"u{n}", "a": 1.0, "b": float(n)} for n in range(ROWS)]
    async with TestClient(TestServer(app)) as client:
        await ask(client, rows[:1])
        counting = asyncio.create_task(loop.count())
        loop.seen.clear()
        answer = await ask(client, rows)
        counting.cancel()
    assert answer["errors"] == []
    assert np.diff(answer["predictions"]).std() < 1e-6  # a line
    slices = [users for _, users in loop.seen]
    assert slices[:4] == [64, 128, 256, 512], "users whom nobody knows take longer, so the first are few"
    assert {*slices[4:-1]} == {USERS_AT_ONCE}
    assert sum(slices) == ROWS
    turns = [turn for turn, _ in loop.seen]
    assert len(set(turns)) == len(turns), "two slices in one turn"
    assert steps[-3:] == [AT_ONCE] * 3


async def test_kernels_that_were_cold_are_not_held_until_all_of_them_are_loaded(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache may drop a model that was loaded for a batch; so the batch keeps few of them."""
    held: list[int] = []
    compute = Batches.compute

    async def counted(self: Batches, batch: Batch, found: Found, answers: Answers) -> None:
        held.append(len(found.users))
        await compute(self, batch, found, answers)

    monkeypatch.setattr(batches, "_HELD_BYTES", 0)
    monkeypatch.setattr(Batches, "compute", counted)
    users = [f"u{n}" for n in range(40)]
    for n, user_id in enumerate(users):
        tenants.add(user_id, Ridge(alpha=n + 1.0).fit(FRAME, [1.0, 2.0, 3.0]))
    async with TestClient(TestServer(tenants.app(predict_timeout_s=60.0))) as client:
        rows = [{"user_id": user_id, "a": 1.0, "b": 2.0} for user_id in users]
        answer = await ask(client, rows)
        assert held.count(1) == len(users), "each was computed once it was loaded"
        monkeypatch.setattr(batches, "_HELD_BYTES", 1 << 20)
        assert answer == await ask(client, rows)
    assert answer["errors"] == []
    assert max(held) == len(users), "and together where there is room"
