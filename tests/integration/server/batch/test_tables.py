"""Arrow and Parquet, by processes that have pyarrow: the environment for development has none."""

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tenantry_server.workers.pool import Pool
from tests.support.environments import CHECKOUT, with_pyarrow
from tests.support.tenants.application import Client, Tenants

PARQUET = {"Content-Type": "application/vnd.apache.parquet"}
CASES = ("table", "score", "score_batch", "score_local", "score_s3")


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
