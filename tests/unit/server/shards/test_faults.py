"""What a server tells the operator of models that it can't load: what is a fault, and when it is over."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry import TenantryError
from tenantry.errors import (
    ArtifactAccessDenied,
    ArtifactInvalid,
    ArtifactNotFound,
    ArtifactTruncated,
    ArtifactUnavailable,
    MemoryTaken,
    ModelQuarantined,
    WorkersUnavailable,
)
from tenantry.placement import SHARDS
from tenantry.registry import (
    Assignment,
    Fault,
    FaultBook,
    FaultState,
    Holding,
    ServerRegistry,
    Writes,
    open_engine,
)
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.formats.checks.pickled_versions import installed
from tenantry_server.memory.eviction import bounded_cache
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.memory.resident import Resident
from tenantry_server.shards import faults as module
from tenantry_server.shards import suspects
from tenantry_server.shards.faults import Faults
from tenantry_server.toys import SumModel
from tests.support.databases.migrated import migrate
from tests.support.databases.whole import whole
from tests.support.tenants.operator_side import leading
from tests.support.waiting import until_soon

ME, OTHER = "server-0", "server-1"
URI = "file:///models/ann.joblib"
GONE = ArtifactNotFound(URI)


class Models(ModelRepository):
    def get_model(self, model_id: str) -> SumModel:  # noqa: ARG002 - any id is a model
        return SumModel()


class Rig:
    """A server's side, on a registry with one user."""

    def __init__(self, folder: Path) -> None:
        self.engine = open_engine(f"sqlite:///{folder}/registry.db")
        migrate(self.engine)
        self.operator = leading(self.engine)
        self.operator.assign_shards(dict.fromkeys(range(SHARDS), Holding(ME)))
        self.registry = ServerRegistry(self.engine, ME, endpoint="http://me", capacity_bytes=1)
        self.table = RoutingTable(self.registry)
        self.models = CachedModelRepository(Models(), bounded_cache(1 << 20))
        self.error: TenantryError | None = None
        self.tried: list[str] = []
        self.now_s = 0.0
        self.begin()
        self.assign(ann="a")

    def begin(self, *live: str) -> None:
        """A process of this server starts."""
        self.faults = Faults(
            FaultBook(self.engine),
            self.table,
            self.models,
            self._load,
            server_id=ME,
            clock_s=lambda: self.now_s,
        )
        self.faults.live = {ME, *live}

    async def _load(self, model_id: str) -> Resident:
        self.tried.append(model_id)
        self.faults.load_ended(model_id, self.error)
        if self.error is not None:
            raise self.error
        return self.models.get_resident(model_id)

    def assign(self, **models: str) -> None:
        rows = [Assignment(user, f"uid-{user}", 1, model) for user, model in models.items()]
        self.operator.commit(Writes(assignments=rows))
        self.table.apply(whole(self.registry))

    async def fail(self, error: TenantryError, *, for_s: float = 10.0, model_id: str = "a") -> list[Fault]:
        """Fail so for a while; return what the registry says then."""
        for now_s in (0.0, for_s):
            self.now_s = now_s
            self.faults.load_ended(model_id, error)
            await self.faults.exchange()
        return self.written()

    def written(self) -> list[Fault]:
        return FaultBook(self.engine).news() or []


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.engine.dispose()


@pytest.mark.parametrize(
    ("error", "for_s", "is_fault"),
    [
        (GONE, 1.0, False),
        (GONE, 3.0, True),
        (ArtifactInvalid(URI, "no model"), 3.0, True),
        (ArtifactAccessDenied(URI), 20.0, False),
        (ArtifactAccessDenied(URI), 40.0, True),
        (ModelQuarantined(URI, "signal SIGSEGV", 30.0), 0.0, True),
        (ArtifactUnavailable(URI, "timeout"), 3600.0, False),
        (ArtifactUnavailable(URI, "HTTP 500", reached=True), 3600.0, False),
        (ArtifactTruncated(URI, 1, 2), 3600.0, False),
        (MemoryTaken(URI, 2, 1), 3600.0, False),
        (WorkersUnavailable("fork"), 3600.0, False),
    ],
)
async def test_what_lasts_is_a_fault(
    rig: Rig, error: TenantryError, for_s: float, *, is_fault: bool
) -> None:
    """Two seconds of a store that is away must not take Ready back from ten thousand tenants."""
    found = await rig.fail(error, for_s=for_s)
    assert [(f.user_id, f.reason) for f in found] == ([("ann", error.reason)] if is_fault else [])
    assert [f.state is FaultState.RETRYING for f in found] == ([error.retryable] if is_fault else [])


async def test_a_fault_is_written_once_and_is_over_when_the_model_loads(rig: Rig) -> None:
    (first,) = await rig.fail(GONE)
    assert await rig.fail(GONE, for_s=20.0) == [first]
    rig.faults.load_ended("a", None)
    await rig.faults.exchange()
    assert rig.written() == []


async def test_a_candidate_that_fails_is_no_fault(rig: Rig) -> None:
    assert await rig.fail(GONE, model_id="a candidate") == []


async def test_every_user_of_a_model_is_named(rig: Rig) -> None:
    rig.assign(bob="a", cid="c")
    assert {fault.user_id for fault in await rig.fail(GONE)} == {"ann", "bob"}


async def test_another_model_in_force_ends_it(rig: Rig) -> None:
    assert await rig.fail(GONE)
    rig.assign(ann="b")
    await rig.faults.exchange()
    assert rig.written() == []


async def test_words_change_where_the_reason_does(rig: Rig) -> None:
    await rig.fail(GONE)
    (fault,) = await rig.fail(ArtifactInvalid(URI, "no model"), for_s=20.0)
    assert (fault.reason, fault.state) == ("ArtifactInvalid", FaultState.STALLED)


async def test_a_server_that_restarts_tries_again_what_it_called_broken(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row stands until then: Ready must not come and go with each restart."""
    monkeypatch.setattr(module, "_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "_EVERY_S", 0.001)
    monkeypatch.setattr(suspects, "FIRST_RETRY_S", 0.001)
    before = await rig.fail(GONE)
    rig.begin()
    rig.error = GONE
    running = asyncio.create_task(rig.faults.run())
    await until_soon(lambda: len(rig.tried) > 0)
    assert rig.written() == before
    rig.error = None
    rig.now_s += 1e6
    await until_soon(lambda: rig.written() == [])
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize("mended", [True, False])
async def test_the_owner_looks_after_what_a_server_said_that_is_gone(rig: Rig, *, mended: bool) -> None:
    FaultBook(rig.engine).write([Fault("ann", OTHER, "a", "ArtifactInvalid", "no model")], [])
    rig.begin(OTHER)
    await rig.faults.exchange()
    rig.faults.live = {ME}
    await rig.faults.exchange()
    rig.faults.load_ended("a", None if mended else GONE)
    await rig.faults.exchange()
    assert [(f.server_id, f.reason) for f in rig.written()] == (
        [] if mended else [(ME, "ArtifactNotFound")]
    )


async def test_a_server_that_lives_speaks_for_itself(rig: Rig) -> None:
    FaultBook(rig.engine).write([Fault("ann", OTHER, "a", "ArtifactInvalid", "no model")], [])
    rig.begin(OTHER)
    rig.faults.load_ended("a", None)
    await rig.faults.exchange()
    assert [fault.server_id for fault in rig.written()] == [OTHER]


SKEW = f"trained with scikit-learn 1.6.1, served by {installed()}"


async def test_a_skew_is_written_once_and_takes_nothing_back(rig: Rig) -> None:
    rig.faults.skewed("a", SKEW)
    rig.faults.load_ended("a", None)
    for _ in range(2):
        await rig.faults.exchange()
    (doubt,) = rig.written()
    assert (doubt.user_id, doubt.reason, doubt.message) == ("ann", "VersionSkew", SKEW)
    assert doubt.state is FaultState.DOUBTED
    rig.begin()
    await rig.faults.exchange()
    assert rig.written() == [doubt], "a restart with the same library writes nothing"


async def test_the_skew_of_a_candidate_waits_until_it_is_in_force(rig: Rig) -> None:
    rig.faults.skewed("b", SKEW)
    await rig.faults.exchange()
    assert rig.written() == []
    rig.assign(ann="b")
    await rig.faults.exchange()
    assert [doubt.model_id for doubt in rig.written()] == ["b"]
    rig.assign(ann="c")
    await rig.faults.exchange()
    assert rig.written() == []


async def test_the_skew_of_another_library_is_over_with_the_restart(rig: Rig) -> None:
    FaultBook(rig.engine).write(
        [Fault("ann", ME, "a", "VersionSkew", "…, served by 1.0", FaultState.DOUBTED)], []
    )
    await rig.faults.exchange()
    assert rig.written() == []


async def test_a_skewed_model_that_breaks_is_broken_and_skewed_again_when_it_is_mended(rig: Rig) -> None:
    rig.faults.skewed("a", SKEW)
    await rig.faults.exchange()
    assert [fault.reason for fault in await rig.fail(GONE)] == ["ArtifactNotFound"]
    rig.faults.skewed("a", SKEW)
    rig.faults.load_ended("a", None)
    await rig.faults.exchange()
    assert [fault.reason for fault in rig.written()] == ["VersionSkew"]
