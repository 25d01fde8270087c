"""A person's own small server, from the public classes alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import joblib
import pandas as pd
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from cachetools import LRUCache
from sklearn.linear_model import LinearRegression

from tenantry.model_id import public_name
from tenantry.registry import Assignment, OperatorRegistry, Writes, migrate, open_engine
from tenantry_server import (
    CachedModelRepository,
    FileSystemModelRepository,
    SQLAlchemyModelInfoRepository,
    make_app,
)
from tests.support.databases.patient import open_patient
from tests.support.databases.postgres import PostgresServer


def small_server(registry_url: str, folder: Path) -> Application:
    """All that a person writes, but for the imports and `web.run_app`."""
    return make_app(
        SQLAlchemyModelInfoRepository(open_engine(registry_url)),
        CachedModelRepository(FileSystemModelRepository(folder), LRUCache(maxsize=100)),
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.database()


@pytest.fixture
async def client(registry_url: str, tmp_path: Path) -> AsyncIterator[TestClient[Request, Application]]:
    for user_id, slope in (("ann", 2.0), ("bob", 3.0)):
        rows = pd.DataFrame({"km": [0.0, 1.0]})
        joblib.dump(LinearRegression().fit(rows, [0.0, slope]), tmp_path / f"{user_id}.joblib")
    engine = open_patient(registry_url)
    migrate(engine)
    operator = OperatorRegistry(engine, "by hand")
    operator.lead("by hand")
    operator.commit(
        Writes(
            assignments=[
                Assignment("ann", "uid-ann", 1, "ann.joblib"),
                Assignment("bob", "uid-bob", 1, "bob.joblib"),
                Assignment("eve", "uid-eve", 1, "../../etc/passwd"),
            ]
        )
    )
    engine.dispose()
    async with TestClient(TestServer(small_server(registry_url, tmp_path))) as client:
        yield client


async def test_each_user_gets_their_own_model(client: TestClient[Request, Application]) -> None:
    for user_id, expected in (("ann", 20.0), ("bob", 30.0), ("ann", 20.0)):
        async with client.post(f"/predict/{user_id}", json=[{"km": 10}]) as response:
            assert response.status == 200
            assert await response.json() == pytest.approx([expected])
            assert response.headers["Tenantry-Model-Id"] == public_name(f"{user_id}.joblib")


async def test_nobody_elses_file_is_read(client: TestClient[Request, Application]) -> None:
    """Neither an unknown user nor an id that leads out of the folder."""
    for user_id, status, reason in (("zoe", 404, "ModelNotAssigned"), ("eve", 503, "ArtifactInvalid")):
        async with client.post(f"/predict/{user_id}", json=[{"km": 10}]) as response:
            assert response.status == status
            assert (await response.json())["error"]["reason"] == reason


async def test_it_is_ready_as_soon_as_it_listens(client: TestClient[Request, Application]) -> None:
    async with client.get("/readyz") as response:
        assert response.status == 200
