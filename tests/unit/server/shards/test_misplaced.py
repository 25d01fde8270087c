"""Each model is in one memory: what others hold is let go, and nothing else."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry.placement import SHARDS, shard_of
from tenantry.registry import Assignment, Changes, Holding, ServerRegistry, Writes, open_engine
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.eviction import bounded_cache
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.view import FleetView
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.shards import misplaced as straying
from tenantry_server.shards.misplaced import MisplacedModels
from tenantry_server.toys import SumModel
from tests.support.databases.migrated import migrate
from tests.support.databases.whole import whole
from tests.support.tenants.operator_side import leading
from tests.support.waiting import until_soon

ME, OTHER = "server-0", "server-1"


class Models(ModelRepository):
    def get_model(self, model_id: str) -> SumModel:  # noqa: ARG002 - any id is a model
        return SumModel()


class Rig:
    def __init__(self, folder: Path) -> None:
        self.engine = open_engine(f"sqlite:///{folder}/registry.db")
        migrate(self.engine)
        self.operator = leading(self.engine)
        self.registry = ServerRegistry(self.engine, ME, endpoint="http://me", capacity_bytes=1)
        self.table = RoutingTable(self.registry)
        self.models = CachedModelRepository(Models(), bounded_cache(1 << 20))
        holders = FleetView(self.table, Directory(ME), DataPlane(self.table, self.models))
        self.strays = MisplacedModels(self.table, self.models, holders)

    def load(self, *users: str) -> None:
        self.operator.commit(
            Writes(assignments=[Assignment(user, f"uid-{user}", 1, f"model-{user}") for user in users])
        )
        for user in users:
            self.models.get_model(f"model-{user}")

    def place(self, **holdings: Holding) -> Changes:
        self.operator.assign_shards({shard_of(user): holding for user, holding in holdings.items()})
        changes = whole(self.registry)
        self.table.apply(changes)
        return changes

    @property
    def inside(self) -> set[str]:
        return {model_id.removeprefix("model-") for model_id in self.models.most_wanted(99)}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.engine.dispose()


async def test_what_another_server_holds_is_let_go(rig: Rig) -> None:
    """Not what is coming, not what is to be handed over but is still ours, not what nobody holds."""
    rig.load("ann", "bob", "cid", "dan", "eve")
    rig.place(
        ann=Holding(ME),
        bob=Holding(OTHER),
        cid=Holding(OTHER, next_id=ME),
        dan=Holding(ME, next_id=OTHER),
    )
    await rig.strays.drop_now()
    assert rig.inside == {"ann", "cid", "dan", "eve"}


async def test_a_model_that_two_users_share_stays_while_one_of_them_is_ours(rig: Rig) -> None:
    rig.load("ann")
    rig.operator.commit(Writes(assignments=[Assignment("bob", "uid-bob", 1, "model-ann")]))
    rig.place(ann=Holding(OTHER), bob=Holding(ME))
    await rig.strays.drop_now()
    assert rig.inside == {"ann"}


async def test_without_a_shard_map_nothing_strays(rig: Rig) -> None:
    rig.load("ann")
    rig.place()
    await rig.strays.drop_now()
    assert rig.inside == {"ann"}


async def test_it_looks_some_time_after_shards_changed_hands(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once would be too early: requests that others pass on are still on their way."""
    monkeypatch.setattr(straying, "_GRACE_S", 0.05)
    rig.load("ann")
    rig.place(ann=Holding(ME))
    task = asyncio.create_task(rig.strays.run())
    try:
        rig.strays.changed(rig.place(ann=Holding(OTHER)))
        await asyncio.sleep(0)
        assert rig.inside == {"ann"}
        await until_soon(lambda: rig.inside == set())
    finally:
        task.cancel()


async def test_all_shards_may_go(rig: Rig) -> None:
    users = [f"user-{number}" for number in range(200)]
    rig.load(*users)
    rig.operator.assign_shards(dict.fromkeys(range(SHARDS), Holding(OTHER)))
    rig.table.apply(whole(rig.registry))
    await rig.strays.drop_now()
    assert rig.inside == set()
