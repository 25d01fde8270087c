"""A registry on each of the databases."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tenantry.registry import OperatorRegistry, ServerRegistry
from tests.support.databases.migrated import migrate
from tests.support.databases.patient import open_patient
from tests.support.databases.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database, empty where a test does not ask for `engine`, which is migrated."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/deep/er/registry.db"
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.registry() if "engine" in request.fixturenames else postgres.database()


@pytest.fixture
def opened(url: str) -> Iterator[Callable[[], Engine]]:
    """Opens the registry, as often as processes would."""
    engines: list[Engine] = []

    def another() -> Engine:
        engines.append(open_patient(url))
        return engines[-1]

    yield another
    for engine in engines:
        engine.dispose()


@pytest.fixture
def engine(opened: Callable[[], Engine]) -> Engine:
    first = opened()
    migrate(first)
    return first


@pytest.fixture
def operator(engine: Engine) -> OperatorRegistry:
    registry = OperatorRegistry(engine, "operator")
    registry.lead("tests")
    return registry


@pytest.fixture
def server(engine: Engine) -> ServerRegistry:
    return ServerRegistry(engine, "server-0", endpoint="http://127.0.0.1:1", capacity_bytes=1 << 20)
