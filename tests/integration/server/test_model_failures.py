"""A model's 500: the log has its user, its model and its traceback; the client has none of these."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from tenantry_server.workers.pool import Pool
from tests.support.tenants import beside_workers
from tests.support.tenants.application import Client
from tests.support.tenants.hostile.models import Quotes
from tests.support.tenants.registered import Tenants

ROW = 3.1415926


@pytest.fixture(params=["in a worker", "in the server"])
async def asked(tenants: Tenants, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    pool = Pool(most=2) if request.param == "in a worker" else None
    async with beside_workers.asked(tenants, pool) as client:
        yield client


async def _post(client: Client, path: str, body: Any) -> tuple[int, str]:
    async with client.post(path, data=orjson.dumps(body)) as response:
        return response.status, await response.text()


async def test_the_log_names_it_once_a_minute_and_the_client_sees_no_traceback(
    tenants: Tenants, asked: Client
) -> None:
    """Of single requests, and of the rows of a batch."""
    uris = {user_id: tenants.add(user_id, Quotes()) for user_id in ("quo", "tes")}
    rows = [{"user_id": user_id, "c": ROW} for user_id in ("quo", "tes", "quo", "good")]
    with capture_logs() as logged:
        for _ in range(3):
            status, answer = await _post(asked, "/predict/quo", [{"c": ROW}])
            assert status == 500
            assert "PredictionFailed" in answer
            assert "hostile/models.py" not in answer
        status, answer = await _post(asked, "/predict", {"rows": rows})
    assert status == 200
    assert answer.count("PredictionFailed") == 3
    assert "hostile/models.py" not in answer
    lines = [each for each in logged if each["event"] == "a model failed"]
    assert {line["user"]: line["model"] for line in lines} == uris
    assert len(lines) == 2
    for line in lines:
        assert line["error"] == "PredictionFailed"
        assert line["traceback"].startswith("Traceback (most recent call last):\n")
        assert "hostile/models.py" in line["traceback"]
        assert line["traceback"].endswith(", in predict\nRuntimeError")
    assert str(ROW) not in str(logged)
