"""Arrow and Parquet, in an environment of its own: the one for development has no pyarrow."""

import subprocess
from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tenantry_server.workers.pool import Pool
from tests.support.environments import CHECKOUT, environment, our_requirements, with_our_sources
from tests.support.tenants.application import Client, Tenants

_TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout")
PARQUET = {"Content-Type": "application/vnd.apache.parquet"}


@pytest.mark.timeout(2400)
def test_tables_of_arrow_and_parquet() -> None:
    """The cases in tests/apart; what they print is shown where one fails."""
    python = environment("arrow", *our_requirements("server", tools=_TOOLS), "pyarrow==26.0.1")
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "tests/apart/table_cases.py", "--noconftest"],
        cwd=CHECKOUT,
        env=with_our_sources() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
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
