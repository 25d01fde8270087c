"""A server's follower over a real registry that can be out of reach, and the operator at its other side."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

from sqlalchemy import Engine

from tenantry import Model
from tenantry.errors import ArtifactInvalid, RegistryUnavailable
from tenantry.placement import SHARDS
from tenantry.registry import (
    Assignment,
    Changes,
    LoadReport,
    Server,
    ServerRegistry,
    ServerReport,
)
from tenantry.registry.following.pieces import ROWS, pieces
from tenantry.registry.following.stillness import Stillness
from tenantry.registry.following.wakeups import Channel
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.candidate_loader import CandidateLoader
from tenantry_server.assignments.follower import RegistryFollower
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.eviction import bounded_cache
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.toys import SumModel
from tests.support.tenants.operator_side import OperatorSide

LEASE_S = 10.0


class Clock:
    """Goes on when told."""

    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def nothing() -> None:
    """Happens between two statements where no test says otherwise."""


class Restless(Stillness):
    """Says that the registry has to be read: a clock that stands still would have nobody read it again."""

    rests = False

    def holds(self) -> bool:
        return self.rests and super().holds()

    @property
    def announced(self) -> bool:
        return self.rests and super().announced


class Registry(ServerRegistry):
    """Can be out of reach, and lets a test act just where another process would."""

    reachable = True
    before_renewal: Callable[[], None] = staticmethod(nothing)
    after_reading: Callable[[], object] = staticmethod(nothing)
    complete_reads = 0
    piece_rows = ROWS

    def __init__(self, engine: Engine, server_id: str, *, endpoint: str, capacity_bytes: int) -> None:
        super().__init__(engine, server_id, endpoint=endpoint, capacity_bytes=capacity_bytes)
        self.stillness: Restless = Restless(engine, Channel.SERVERS)

    def pieces(self) -> Iterator[Changes]:
        self._check()
        self.complete_reads += 1
        for piece in pieces(self._engine, rows=self.piece_rows):
            self.after_reading()
            yield piece

    def changes_since(self, revision: int, token: str | None = None) -> Changes:
        self._check()
        changes = super().changes_since(revision, token)
        self.after_reading()
        return changes

    def renew(
        self, *, lease_s: float, acked_revision: int, report: ServerReport, token: str | None = None
    ) -> None:
        self._check()
        self.before_renewal()
        super().renew(lease_s=lease_s, acked_revision=acked_revision, report=report, token=token)

    def report(self, reports: list[LoadReport]) -> None:
        self._check()
        super().report(reports)

    def _check(self) -> None:
        if not self.reachable:
            raise RegistryUnavailable("the registry did not answer: pulled plug")


class Models(ModelRepository):
    """Every id is a model, but for those that begin with bad."""

    def get_model(self, model_id: str) -> Model:
        if model_id.startswith("bad"):
            raise ArtifactInvalid(model_id, "bad")
        return SumModel()


class Rig(OperatorSide):
    """One server's parts around a registry, and the operator at the other side of it."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.clock = Clock()
        self.registry = Registry(engine, "server-0", endpoint="http://127.0.0.1:1", capacity_bytes=1 << 20)
        self.table = RoutingTable(self.registry, clock_s=self.clock)
        self.models = CachedModelRepository(Models(), bounded_cache(1 << 20))
        self.plane = DataPlane(self.table, self.models)
        self.follower = RegistryFollower(
            self.registry, self.table, self.models, poll_s=0.005, lease_s=LEASE_S, clock_s=self.clock
        )
        self.candidates = CandidateLoader(self.plane.models.load, "server-0", self.follower.wake)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(self.follower.run(self.candidates)),
            asyncio.create_task(self.candidates.run()),
        ]
        try:
            yield
            assert not [task for task in tasks if task.done()]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self.plane.close()
            self.registry.reachable = True
            await self.follower.release()

    def own_all(self) -> None:
        self.hold(dict.fromkeys(range(SHARDS), "server-0"))

    @property
    def seen(self) -> Server:
        """This server, as the operator sees it."""
        (server,) = self.operator.servers()
        return server

    def acked(self, revision: int) -> bool:
        return [server.acked_revision for server in self.operator.servers()] == [revision]


def row(user_id: str, model_id: str | None, candidate_id: str | None = None) -> Assignment:
    return Assignment(user_id, f"uid-{user_id}", 1, model_id, candidate_id)


def tombstone(user_id: str) -> Assignment:
    return replace(row(user_id, None), deleted=True)
