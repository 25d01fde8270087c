"""Fixtures of these tests."""

import pickle
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from sklearn.linear_model import Ridge

from tenantry.registry import open_engine
from tenantry_server.app import FAST_PATH
from tenantry_server.toys import ErrorModel, SumModel
from tests.support.databases.migrated import migrate
from tests.support.tenants import application
from tests.support.tenants.application import (
    FRAME,
    Client,
    Exits,
    ExitsWhenLoaded,
    GatedLoad,
    GatedModel,
    Large,
    Returns,
    WrongCount,
)
from tests.support.tenants.registered import Tenants


@pytest.fixture
def tenants(tmp_path: Path) -> Iterator[Tenants]:
    engine = open_engine(f"sqlite:///{tmp_path}/registry.db")
    migrate(engine)
    tenants = application.tenants(engine, tmp_path)
    tenants.add("good", SumModel(plus=100))
    tenants.add("ridge", Ridge().fit(FRAME, [1.0, 2.0, 3.0]))
    for gated in (GatedModel, GatedLoad):
        gated.gate.clear()
    GatedModel.waiting = GatedLoad.loads = 0
    yield tenants
    for gated in (GatedModel, GatedLoad):
        gated.gate.set()
    engine.dispose()


@pytest.fixture(params=["application", "fast path"])
async def client(tenants: Tenants, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """Over the application alone, and as a real server answers what it can before that."""
    app = tenants.app(server_id="server-7", peeks=request.param == "fast path")
    async with TestClient(TestServer(app)) as client:
        if request.param == "fast path":
            runner = client.server.runner
            assert runner is not None
            assert runner.server is not None
            app[FAST_PATH].install(runner.server)
        yield client


@pytest.fixture
def strange(tenants: Tenants) -> Tenants:
    """Every tenant that a server would rather not have."""
    for user_id, model in {
        "raises": ErrorModel(),
        "exits": Exits(),
        "wrong": WrongCount(),
        "scalar": Returns(np.float64(1)),
        "complex": Returns(np.array([1j])),
        "slow": GatedModel(),
        "slow-load": GatedLoad(),
        "garbage": b"no model at all",
        "exits-load": pickle.dumps(ExitsWhenLoaded()),
        "large": Large(),
    }.items():
        tenants.add(user_id, model)
    tenants.assign("lost", "file:///no/such/file.joblib")
    tenants.assign("new", None)
    tenants.assign("swapped", f"{tenants.add('swapped', SumModel())}#sha256={'0' * 64}")
    odd = tenants.add("odd", SumModel())
    Path(odd.removeprefix("file://")).rename(odd.removeprefix("file://").replace(".joblib", ".odd"))
    tenants.assign("odd", odd.replace(".joblib", ".odd"))
    return tenants
