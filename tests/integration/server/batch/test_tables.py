"""Arrow and Parquet, by processes that have pyarrow: the environment for development has none."""

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer

from tenantry_server.rows.arrow import reading, writing
from tenantry_server.toys import SumModel
from tenantry_server.workers.pool import Pool
from tests.support.environments import CHECKOUT, with_pyarrow
from tests.support.tenants.application import Client
from tests.support.tenants.registered import Tenants

ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}
PARQUET = {"Content-Type": "application/vnd.apache.parquet"}
CASES = ("arrow", "table", "publish", "score", "score_batch", "score_local", "score_s3")


@pytest.mark.timeout(2400)
def test_tables_of_arrow_and_parquet() -> None:
    """The cases in tests/apart; what they print is shown where one fails."""
    files = [f"tests/apart/{name}_cases.py" for name in CASES]
    plugins = ("-p", "tests.conftest", "-p", "conftest")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--noconftest", *plugins, *files],
        cwd=CHECKOUT,
        env=with_pyarrow() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=2000,
    )
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-2000:]}"


@pytest.fixture(params=["workers", "no workers"])
async def client(tenants: Tenants, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    pool = Pool(most=1) if request.param == "workers" else None
    if pool is not None:
        pool.start()
    app = tenants.app(server_id="server-7", pool=pool, predict_timeout_s=180.0)
    async with TestClient(TestServer(app)) as client:
        yield client
    if pool is not None:
        pool.close()


async def test_without_pyarrow_or_workers_the_answer_says_what_to_do(client: Client) -> None:
    async with client.post("/predict", data=b"PAR1", headers=PARQUET) as response:
        error = (await response.json())["error"]
        assert (response.status, error["reason"]) == (415, "UnknownMediaType")
    words = error["message"]
    assert "pip install 'tenantry[arrow]'" in words or "TENANTRY_WORKERS=0" in words
    assert "application/x-ndjson" in words


async def test_arrow_of_texts_and_numbers_needs_neither(client: Client, tenants: Tenants) -> None:
    tenants.add("ann", SumModel())
    table: dict[str, Any] = {
        "user_id": ["ann", "bob", "ann"],
        "x": np.array([1.5, 2.0, 4.0]),
        "n": np.array([1, 2, 3]),
    }
    async with client.post("/predict", data=writing.write(table, 3), headers=ARROW) as response:
        assert response.content_type == ARROW["Content-Type"]
        read = reading.read(await response.read(), "user_id", 3)
    assert read is not None
    columns, rows = read
    assert rows == 3
    assert columns["user_id"] == ["ann", "bob", "ann"]
    assert np.asarray(columns["prediction"]).tolist()[::2] == [2.5, 7.0]
    assert columns["reason"] == [None, "ModelNotAssigned", None]
    assert np.asarray(columns["status"]).tolist() == [200, 404, 200]
    users: dict[str, Any] = {"x": table["x"], "user_id": np.array([1, 2, 3])}
    for body, words in ((users, "is int64, and must be text"), ({"x": table["x"]}, "the table has 'x'")):
        async with client.post("/predict", data=writing.write(body, 3), headers=ARROW) as response:
            assert response.status == 422
            assert words in (await response.json())["error"]["message"]
