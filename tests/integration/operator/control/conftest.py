"""Fixtures of these tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support.databases.migrated import migrate
from tests.support.databases.patient import open_patient
from tests.support.operator.rig import Rig


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/registry.db"
    else:
        url = request.getfixturevalue("postgres").registry()
    engine = open_patient(url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def rig(engine: Engine, tmp_path: Path) -> Rig:
    return Rig(engine, tmp_path)
