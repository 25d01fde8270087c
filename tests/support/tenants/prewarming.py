"""Prewarming over a real registry, without HTTP."""

import asyncio
import threading
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from sqlalchemy import Engine

from tenantry import Model
from tenantry.errors import ArtifactInvalid, ArtifactNotFound, ArtifactUnavailable, RegistryUnavailable
from tenantry.placement import shard_of
from tenantry.registry import (
    Assignment,
    Holding,
    ServerRegistry,
)
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.eviction import bounded_cache
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.view import FleetView
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.shards.hot_users import HotUsers
from tenantry_server.shards.prewarmer import Prewarmer
from tenantry_server.shards.warm_loader import Warmer
from tenantry_server.toys import SumModel
from tests.support.databases.whole import whole
from tests.support.tenants.operator_side import OperatorSide
from tests.support.waiting import until_soon

ME, OTHER = "server-0", "server-1"


KIB = 1024


class Sized(SumModel):
    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self.size_bytes = size_bytes


class Models(ModelRepository):
    """`NAME/BYTES` is a model; those named bad… or odd… are none, and slow ones wait for the gate."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.away = 0  # so many loads more do not reach the store

    def get_model(self, model_id: str) -> Model:
        self.asked.append(model_id)
        if self.away:
            self.away -= 1
            raise ArtifactUnavailable(model_id, "it could not be reached a moment ago", tried=False)
        name, _, size = model_id.partition("/")
        if name.startswith("odd"):
            raise ArtifactInvalid(model_id, "written by another version")
        if name.startswith("bad"):
            raise ArtifactNotFound(model_id)
        if name.startswith("worse"):
            raise ZeroDivisionError(model_id)
        if name.startswith("slow"):
            self.gate.wait()
        return Sized(int(size or 1))


class Registry(ServerRegistry):
    reachable = True

    def hot(self) -> dict[str, dict[str, int]]:
        if not self.reachable:
            raise RegistryUnavailable("the registry did not answer: pulled plug")
        return super().hot()


class Rig(OperatorSide):
    """A server's parts on a real registry, and the operator at the other side of it."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.registry = Registry(engine, ME, endpoint="http://me", capacity_bytes=1)
        self.other = ServerRegistry(engine, OTHER, endpoint="http://other", capacity_bytes=1)
        self.source = Models()
        self.table = RoutingTable(self.registry)
        cache = bounded_cache(100 * KIB)
        setattr(cache, "getsizeof", lambda model: model.size_bytes)  # noqa: B010 - a method to mypy
        self.models = CachedModelRepository(self.source, cache)
        self.plane = DataPlane(self.table, self.models)
        self.hot = HotUsers(self.registry, self.table, self.models, limit=5, every_s=600)
        self.peers = Directory(ME)
        self.warm: list[str] = []  # held by their owners
        self.prewarmer = self.make_prewarmer(wait_s=600)

    def make_prewarmer(self, *, wait_s: float) -> Prewarmer:
        async def warm(shards: Collection[int]) -> list[str]:
            return [user_id for user_id in self.warm if shard_of(user_id) in shards]

        async def elsewhere(users: Collection[str]) -> list[str]:
            return [user_id for user_id in self.warm if user_id in users]

        return Prewarmer(
            self.table,
            Warmer(self.table, self.models, self.plane.models.load, elsewhere),
            hot=self.hot.recall,
            warm=warm,
            keeps=FleetView(self.table, self.peers, self.plane).keeps,
            server_id=ME,
            wait_s=wait_s,
        )

    def hold_for(self, *user_ids: str, other: tuple[str, ...] = ()) -> None:
        """Give this server the shards of these users, and another one those of others."""
        shards = {shard_of(user_id): ME for user_id in user_ids}
        self.hold(shards | {shard_of(user_id): OTHER for user_id in other})

    def read(self) -> None:
        """As the follower does."""
        first = not self.table.was_read
        changes = whole(self.registry) if first else self.registry.changes_since(self.table.revision)
        self.table.apply(changes)
        self.prewarmer.changed(changes)

    def read_everything(self) -> None:
        changes = whole(self.registry)
        self.table.apply(changes)
        self.prewarmer.changed(changes)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.prewarmer.run())
        try:
            yield
        finally:
            assert not task.done()
            task.cancel()

    async def first_round(self) -> None:
        """From the first reading until everything is loaded."""
        async with self.running():
            self.read()
            await until_soon(self.prewarmer.first_round_over.is_set)


def row(user_id: str, model_id: str | None = None, *, pinned: bool = False, kib: int = 1) -> Assignment:
    return Assignment(user_id, f"uid-{user_id}", 1, model_id or f"{user_id}/{kib * KIB}", prewarm=pinned)


def pinned(user_id: str, model_id: str | None = None, *, kib: int = 1) -> Assignment:
    return row(user_id, model_id, pinned=True, kib=kib)


def users_of(models: list[str]) -> list[str]:
    return [model_id.partition("/")[0] for model_id in models]


# Hand-over


def arriving(rig: Rig, *user_ids: str) -> int:
    """Another server answers for these, and this one is to take them over; the revision that says so."""
    changed = rig.operator.assign_shards({shard_of(user): Holding(OTHER, next_id=ME) for user in user_ids})
    rig.read()
    return max(holding.revision for holding in changed.values())
