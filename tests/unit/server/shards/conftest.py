"""Fixtures of these tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenantry.placement import SHARDS
from tenantry.registry import open_engine
from tenantry_server.shards import warm_loader
from tests.support.databases.migrated import migrate
from tests.support.tenants.prewarming import OTHER, Rig
from tests.support.tenants.shards import held
from tests.support.waiting import until_soon


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    engine = open_engine(f"sqlite:///{tmp_path}/registry.db")
    migrate(engine)
    rig = Rig(engine)
    yield rig
    rig.source.gate.set()
    rig.plane.close()
    engine.dispose()


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_loader, "_PARALLEL", 1)


# Later


@pytest.fixture
async def started(rig: Rig) -> AsyncIterator[Rig]:
    """Its first round is over, and it holds nothing."""
    rig.operator.assign_shards(held(dict.fromkeys(range(SHARDS), OTHER)))
    async with rig.running():
        rig.read()
        await until_soon(lambda: rig.prewarmer.done)
        yield rig
