"""A request of many rows to a model of many outputs: refused before it takes the memory of a server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import orjson
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from tenantry.errors import AnswerTooLarge
from tenantry.registry import open_engine
from tenantry.trust.tls import Tls
from tenantry_server.assembly.whole import assemble
from tenantry_server.scoring import bounds
from tenantry_server.settings import ServerSettings
from tenantry_server.watchdog import Holds
from tenantry_server.workers.pool import Pool
from tests.support.databases.migrated import migrate
from tests.support.tenants import beside_workers
from tests.support.tenants.application import Client
from tests.support.tenants.registered import Tenants

OUTPUTS = 500
MOST_BYTES = 1 << 20  # 131,072 numbers: 262 rows of that model
ROWS = 400


@pytest.fixture(params=["kernel", "kept in a worker"])
async def asked(
    tenants: Tenants, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Client]:
    monkeypatch.setattr(bounds, "_most_bytes", MOST_BYTES)
    kernel = request.param == "kernel"
    wide = Ridge().fit([[0.0], [1.0]], np.arange(2.0 * OUTPUTS).reshape(2, OUTPUTS))
    label = LogisticRegression().fit([[0.0], [1.0]], ["a" * 10_000, "b" * 10_000])
    for user_id, model in (
        ("wide", wide),
        ("label", label),
        ("plain", Ridge().fit([[0.0], [1.0]], [0, 1])),
    ):
        tenants.add(user_id, model, "" if kernel else "#compile=off")
    pool = None if kernel else Pool(most=1, most_answer_bytes=MOST_BYTES)
    async with beside_workers.asked(tenants, pool) as client:
        yield client


def test_the_setting_is_in_force_in_the_server_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are computed there, and not in a worker."""
    monkeypatch.setattr(bounds, "_most_bytes", bounds.MOST_BYTES)
    engine = open_engine("sqlite://")
    migrate(engine)
    settings = ServerSettings(server_id="s0", workers=0, max_answer_bytes=999)
    assemble(
        settings, engine, endpoint="http://127.0.0.1:1", tls=Tls(), stopping=lambda: False, holds=Holds()
    )
    engine.dispose()
    with pytest.raises(AnswerTooLarge, match="takes 1,000 bytes in memory, and this server gives 999"):
        bounds.check(5, 1000)


async def _post(client: Client, path: str, body: Any) -> tuple[int, Any]:
    async with client.post(path, data=orjson.dumps(body)) as response:
        return response.status, orjson.loads(await response.read())


@pytest.mark.parametrize("user_id", ["wide", "label"])
async def test_an_answer_that_would_be_too_large_is_refused_with_what_to_do(
    asked: Client, user_id: str
) -> None:
    rows = [[0.5]] * ROWS
    status, answer = await _post(asked, f"/predict/{user_id}", {"instances": rows})
    assert (status, answer["error"]["reason"]) == (413, "AnswerTooLarge")
    assert "send fewer rows at a time" in answer["error"]["message"]
    assert "TENANTRY_MAX_ANSWER_BYTES" in answer["error"]["message"]
    status, answer = await _post(asked, f"/predict/{user_id}", {"instances": rows[:20]})
    assert (status, len(answer["predictions"])) == (200, 20)
    status, answer = await _post(asked, "/predict/plain", {"instances": rows})
    assert (status, len(answer["predictions"])) == (200, ROWS)


async def test_a_batch_of_many_users_has_the_same_bound_as_a_whole(asked: Client) -> None:
    rows = [{"user_id": "wide", "x": 0.5} for _ in range(ROWS)]
    rows += [{"user_id": "plain", "x": 0.5} for _ in range(10)]
    status, answer = await _post(asked, "/predict", {"rows": rows})
    assert status == 200
    assert {each["reason"] for each in answer["errors"]} == {"AnswerTooLarge"}
    assert answer["predictions"][ROWS:] == [pytest.approx(0.5, abs=0.3)] * 10


async def test_several_requests_that_are_computed_together_are_bounded_one_by_one(asked: Client) -> None:
    body = {"instances": [[0.5]] * 100}
    answers = await asyncio.gather(*(_post(asked, "/predict/wide", body) for _ in range(8)))
    assert {status for status, _ in answers} == {200}
