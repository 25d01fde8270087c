"""One tenant among ten thousand that has no answer: its row says why, and all the others are answered."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer
from sklearn.linear_model import Ridge

from tenantry import Model
from tenantry.errors import ModelQuarantined
from tenantry_server import CachedModelRepository, FileSystemModelRepository, bounded_cache, make_app
from tenantry_server.access.gate import Gate
from tenantry_server.assignments.model_info import ModelInfoRepository
from tests.support.tenants.application import FRAME, Client
from tests.support.tenants.registered import Tenants

ROWS = 10_000
CRASHED, COLD = 7_654, 2_345
URI = "s3://models/secret/crashed.joblib"


class Assigned(ModelInfoRepository):
    """All share one model, but for two users."""

    def __init__(self, model_id: str, cold_id: str) -> None:
        self._model_id = model_id
        self._others = {f"user-{CRASHED}": URI, f"user-{COLD}": cold_id}

    def get_model_id_by_user_id(self, user_id: str) -> str:
        return self._others.get(user_id, self._model_id)

    def peek_many(self, user_ids: Sequence[str]) -> Sequence[str | None]:
        return [self.get_model_id_by_user_id(user_id) for user_id in user_ids]


class Hindered(FileSystemModelRepository):
    """One artifact is quarantined, and one takes as long as the test says."""

    def __init__(self, cold_id: str) -> None:
        super().__init__()
        self._cold_id = cold_id
        self.released = threading.Event()

    def get_model(self, model_id: str) -> Model:
        if model_id == URI:
            raise ModelQuarantined(URI, "signal SIGSEGV", 60.0)
        if model_id == self._cold_id:
            self.released.wait()
        return super().get_model(model_id)


@pytest.fixture
async def hindered(tenants: Tenants) -> AsyncIterator[tuple[Client, Hindered]]:
    shared = tenants.add("shared", Ridge().fit(FRAME, [1.0, 2.0, 3.0]))
    cold = tenants.add("cold", Ridge().fit(FRAME, [3.0, 2.0, 1.0]))
    models = Hindered(cold)
    app = make_app(
        Assigned(shared, cold),
        CachedModelRepository(models, bounded_cache(1 << 20)),
        predict_timeout_s=8.0,  # all of it is spent on the cold one
        gate=Gate(open_lists=True, open_repository=True),
    )
    async with TestClient(TestServer(app)) as client:
        yield client, models
        models.released.set()


async def ask(client: Client, rows: list[dict[str, Any]]) -> Any:
    async with client.post("/predict", data=orjson.dumps({"rows": rows})) as response:
        assert response.status == 200
        return orjson.loads(await response.read())


async def answered(client: Client, rows: list[dict[str, Any]]) -> list[float]:
    """Ask until the models of these rows are loaded, which may take longer than one request waits."""
    async with asyncio.timeout(180):
        while (answer := await ask(client, rows))["errors"]:
            pass
    predictions: list[float] = answer["predictions"]
    return predictions


async def test_one_tenant_of_ten_thousand_fails_alone(hindered: tuple[Client, Hindered]) -> None:
    """Quarantined or cold: its row has its own reason, and is asked for again alone."""
    client, models = hindered
    rows = [{"user_id": f"user-{number}", "a": float(number), "b": 1.0} for number in range(ROWS)]
    alone = await answered(client, rows[:1])
    answer = await ask(client, rows)
    errors = {error["row"]: error for error in answer["errors"]}
    assert {row: (error["user_id"], error["reason"], error["status"]) for row, error in errors.items()} == {
        COLD: (f"user-{COLD}", "ModelLoading", 503),
        CRASHED: (f"user-{CRASHED}", "ModelQuarantined", 503),
    }
    assert "signal SIGSEGV" in errors[CRASHED]["message"]
    assert "secret" not in errors[CRASHED]["message"]
    assert f"user-{COLD}" in errors[COLD]["message"]
    assert [row for row, value in enumerate(answer["predictions"]) if value is None] == [COLD, CRASHED]
    assert answer["predictions"][0] == alone[0]
    models.released.set()
    await answered(client, [rows[COLD]])
    again = await ask(client, [rows[COLD], rows[CRASHED]])
    assert [(error["row"], error["reason"]) for error in again["errors"]] == [(1, "ModelQuarantined")]
