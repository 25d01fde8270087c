"""What is loaded before anybody asks: for whom, in which order, how much, and for how long that counts."""

import asyncio
import threading
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete
from structlog.testing import capture_logs

from tenantry import Model
from tenantry.errors import ArtifactNotFound, ArtifactUnavailable, RegistryUnavailable
from tenantry.placement import SHARDS, owners, rendezvous, shard_of
from tenantry.registry import (
    Assignment,
    Holding,
    OperatorRegistry,
    ServerRegistry,
    ServerReport,
    Writes,
    migrate,
    open_engine,
    schema,
)
from tenantry.registry.engine import writing
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.eviction import bounded_cache
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.view import FleetView
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.rows.json_payload import parse
from tenantry_server.shards import warm_loader
from tenantry_server.shards.hot_users import HotUsers
from tenantry_server.shards.prewarmer import Prewarmer
from tenantry_server.shards.warm_loader import Warmer
from tenantry_server.toys import SumModel
from tests.support.tenants.shards import held
from tests.support.waiting import until_soon

ME, OTHER = "server-0", "server-1"
KIB = 1024


class Sized(SumModel):
    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self.size_bytes = size_bytes


class Models(ModelRepository):
    """`NAME/BYTES` is a model; those that begin with bad are none, and slow ones wait for the gate."""

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


class Rig:
    """A server's parts on a real registry, and the operator at the other side of it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.operator = OperatorRegistry(engine, "test")
        self.operator.lead("a test")
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
        self.warm: list[str] = []  # in the memory of whoever holds them
        self.prewarmer = self.make_prewarmer(wait_s=600)

    def make_prewarmer(self, *, wait_s: float) -> Prewarmer:
        async def warm(shards: Collection[int]) -> list[str]:
            return [user_id for user_id in self.warm if shard_of(user_id) in shards]

        return Prewarmer(
            self.table,
            Warmer(self.table, self.models, self.plane.load),
            hot=self.hot.recall,
            warm=warm,
            keeps=FleetView(self.table, self.peers, self.plane).keeps,
            server_id=ME,
            wait_s=wait_s,
        )

    def assign(self, *rows: Assignment) -> None:
        self.operator.commit(Writes(assignments=rows))

    def hold(self, *user_ids: str, other: tuple[str, ...] = ()) -> None:
        """Give this server the shards of these users, and another one those of others."""
        shards = {shard_of(user_id): ME for user_id in user_ids}
        self.operator.assign_shards(held(shards | {shard_of(user_id): OTHER for user_id in other}))

    def read(self) -> None:
        """As the follower does."""
        first = not self.table.was_read
        changes = self.registry.everything() if first else self.registry.changes_since(self.table.revision)
        self.table.apply(changes)
        self.prewarmer.changed(changes)

    def read_everything(self) -> None:
        changes = self.registry.everything()
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


def row(user_id: str, model_id: str | None = None, *, pinned: bool = False, kib: int = 1) -> Assignment:
    return Assignment(user_id, f"uid-{user_id}", 1, model_id or f"{user_id}/{kib * KIB}", prewarm=pinned)


def pinned(user_id: str, model_id: str | None = None, *, kib: int = 1) -> Assignment:
    return row(user_id, model_id, pinned=True, kib=kib)


def users_of(models: list[str]) -> list[str]:
    return [model_id.partition("/")[0] for model_id in models]


# For whom


async def test_pinned_tenants_of_own_shards_are_loaded_before_it_is_done(rig: Rig) -> None:
    rig.assign(pinned("ann"), row("bob"), pinned("cid"), pinned("dan", "dan/1"))
    rig.assign(replace(pinned("eve"), model_id=None, candidate_id="eve/1"))
    rig.hold("ann", "bob", "dan", "eve", other=("cid",))
    async with rig.running():
        await asyncio.sleep(0)
        assert not rig.prewarmer.done
        rig.read()
        await until_soon(lambda: rig.prewarmer.done)
    assert set(users_of(rig.source.asked)) == {"ann", "dan"}
    assert len(rig.models) == 2


async def test_what_was_answered_last_is_loaded_too(rig: Rig) -> None:
    """Of another server's list only what this one has taken over; its own may be asked for again."""
    rig.assign(*(row(user_id) for user_id in ("ann", "bob", "cid", "dan", "eve")))
    rig.hold("ann", "bob", "eve", other=("cid", "dan"))
    rig.registry.remember_hot(dict.fromkeys(["ann", "cid", "gone"], 0))
    rig.other.remember_hot(dict.fromkeys(["bob", "dan"], 0))
    await rig.first_round()
    assert set(users_of(rig.source.asked)) == {"ann", "bob", "cid"}


@pytest.mark.usefixtures("one_at_a_time")
async def test_the_most_important_come_first(rig: Rig) -> None:
    names = ["pin-cold", "pin-warm", "pin-hot", "hot-1", "hot-2", "hot-other", "else"]
    rig.assign(*(row(name, pinned=name.startswith("pin")) for name in names))
    rig.hold(*names[:5], other=("else",))
    rig.operator.assign_shards(held({shard_of("hot-other"): ME}))
    rig.registry.remember_hot(dict.fromkeys(["else", "hot-1", "pin-hot", "hot-2", "pin-warm"], 0))
    rig.other.remember_hot(dict.fromkeys(["hot-other"], 0))
    await rig.first_round()
    order = users_of(rig.source.asked)
    assert order == ["pin-hot", "pin-warm", "pin-cold", "hot-other", "hot-1", "hot-2", "else"]
    assert users_of(rig.models.most_wanted(9)) == order
    assert rig.models.counts.hits == 0  # nobody asked


async def test_a_server_without_a_shard_yet_loads_for_those_that_it_will_be_given(rig: Rig) -> None:
    """It gave them back when it was stopped; the operator counts it in a moment after it is back."""
    names = [f"user-{number}" for number in range(60)]
    rig.assign(*map(pinned, names))
    rig.operator.assign_shards(held(dict.fromkeys(range(SHARDS), OTHER)))
    soon = owners([ME, OTHER])
    mine = {name for name in names if soon[shard_of(name)] == ME}
    async with rig.running():
        rig.read()
        await until_soon(lambda: rig.prewarmer.done)
        assert set(users_of(rig.source.asked)) == mine
        rig.operator.assign_shards(held(soon))
        rig.read()
        await until_soon(lambda: not rig.prewarmer._due)
    assert len(rig.source.asked) == len(mine)


# How much, and how long


@pytest.mark.usefixtures("one_at_a_time")
async def test_a_tenth_of_the_memory_is_left(rig: Rig) -> None:
    sizes = {"ann": 30, "bob": 40, "cid": 30, "dan": 15, "eve": 10}
    rig.assign(*(replace(row(name, kib=kib), size_bytes=kib * KIB) for name, kib in sizes.items()))
    rig.hold(*sizes)
    rig.registry.remember_hot(dict.fromkeys(sizes, 0))
    with capture_logs() as logs:
        await rig.first_round()
    assert users_of(rig.source.asked) == ["ann", "bob", "dan"]
    assert [line["without_room"] for line in logs if "without_room" in line] == [2]
    assert rig.models.counts.evictions == 0


@pytest.mark.usefixtures("one_at_a_time")
async def test_where_sizes_are_not_known_it_stops_once_it_is_full(rig: Rig) -> None:
    names = [f"user-{number}" for number in range(10)]
    rig.assign(*(pinned(name, kib=30) for name in names))
    rig.hold(*names)
    await rig.first_round()
    assert len(rig.source.asked) in (3, 4)


async def test_it_is_done_after_a_while_in_any_case_and_goes_on(rig: Rig) -> None:
    rig.assign(pinned("slow-1"), pinned("slow-2"), pinned("slow-3"), pinned("slow-4"))
    rig.hold("slow-1", "slow-2", "slow-3", "slow-4")
    rig.prewarmer = rig.make_prewarmer(wait_s=0.01)
    with capture_logs() as logs:
        async with rig.running():
            rig.read()
            await until_soon(lambda: rig.prewarmer.done)
            assert len(rig.models) == 0
            rig.source.gate.set()
            await until_soon(rig.prewarmer.first_round_over.is_set)
    assert len(rig.models) == 4
    assert next(line["event"] for line in logs) == "ready before everything is prewarmed; that goes on"


async def test_a_few_at_a_time(rig: Rig) -> None:
    """Whoever asks for a cold model meanwhile finds a thread."""
    names = [f"slow-{number}" for number in range(9)]
    rig.assign(*map(pinned, names), row("ann"))
    rig.hold(*names, "ann")
    async with rig.running():
        rig.read()
        await until_soon(lambda: len(rig.source.asked) == 3)
        await rig.plane.load("ann/1")
        assert len(rig.source.asked) == 4
        rig.source.gate.set()
        await until_soon(lambda: rig.prewarmer.done)


async def test_failures_hold_up_nothing_and_are_told_of_once(rig: Rig) -> None:
    rig.assign(pinned("bad-1"), pinned("worse-2"), pinned("bad-3"), pinned("ann"))
    rig.hold("bad-1", "worse-2", "bad-3", "ann")
    with capture_logs() as logs:
        await rig.first_round()
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == [
        "prewarming failed",
        "not everything could be prewarmed",
    ]
    assert [line["failed"] for line in logs if "failed" in line] == [3]
    assert len(rig.models) == 1


async def test_without_the_list_of_hot_users_the_pinned_are_loaded(rig: Rig) -> None:
    rig.assign(pinned("ann"), row("bob"))
    rig.hold("ann", "bob")
    rig.registry.remember_hot(dict.fromkeys(["bob"], 0))
    rig.registry.reachable = False
    await rig.first_round()
    assert users_of(rig.source.asked) == ["ann"]


async def test_an_empty_registry_is_prewarmed_at_once(rig: Rig) -> None:
    with capture_logs() as logs:
        await rig.first_round()
    assert logs == []


# Later


@pytest.fixture
async def started(rig: Rig) -> AsyncIterator[Rig]:
    """Its first round is over, and it holds nothing."""
    rig.operator.assign_shards(held(dict.fromkeys(range(SHARDS), OTHER)))
    async with rig.running():
        rig.read()
        await until_soon(lambda: rig.prewarmer.done)
        yield rig


async def test_a_shard_that_comes_brings_its_pinned_tenants(started: Rig) -> None:
    started.assign(pinned("ann"), row("bob"), pinned("cid"))
    started.read()
    started.hold("ann", "bob")
    started.read()
    await until_soon(lambda: "ann/1024" in started.models)
    assert users_of(started.source.asked) == ["ann"]


async def test_a_tenant_that_is_pinned_later_is_loaded(started: Rig) -> None:
    started.assign(row("ann"), row("bob"))
    started.hold("ann", "bob")
    started.read()
    started.assign(pinned("ann"))
    started.read()
    await until_soon(lambda: "ann/1024" in started.models)
    assert users_of(started.source.asked) == ["ann"]


async def test_who_is_pinned_no_more_is_not_loaded(started: Rig) -> None:
    started.assign(pinned("ann"), pinned("bob"), pinned("cid"))
    started.read()
    started.assign(row("ann"), replace(pinned("bob"), model_id=None, deleted=True))
    started.read()
    started.hold("ann", "bob", "cid")
    started.read()
    await until_soon(lambda: "cid/1024" in started.models)
    assert users_of(started.source.asked) == ["cid"]


async def test_reading_everything_anew_loads_nothing_twice(started: Rig) -> None:
    started.assign(pinned("ann"), pinned("bob"))
    started.hold("ann", "bob")
    started.read()
    await until_soon(lambda: len(started.models) == 2)
    started.assign(row("bob"))
    started.models.discard("bob/1024")
    started.read_everything()
    await until_soon(lambda: not started.prewarmer._due)
    started.hold(other=("ann", "bob"))
    started.read()
    started.hold("ann", "bob")
    started.read()
    await until_soon(lambda: not started.prewarmer._due)
    assert len(started.source.asked) == 2


async def test_a_failure_later_ends_nothing(started: Rig) -> None:
    started.hold("bad", "ann")
    started.assign(pinned("bad"))
    started.read()
    await until_soon(lambda: started.source.asked)
    started.assign(pinned("ann"))
    started.read()
    await until_soon(lambda: "ann/1024" in started.models)


# Who was answered last


async def test_whom_it_answered_last_is_kept_in_that_order(rig: Rig) -> None:
    """One model may answer for several users; of whom nobody uses, nobody needs to know."""
    names = ("ann", "bob", "cid", "dan", "eve", "fay", "gus")
    rig.assign(*(row(name) for name in names), row("bob-too", "bob/1024"))
    rig.read()
    for name in names:
        await rig.plane.load(f"{name}/1024")
    await rig.plane.load("nobody's/1")
    for name in ("bob", "ann"):
        rig.models.touch(f"{name}/1024")
    rig.hot._begun = True
    await rig.hot.remember()
    assert rig.registry.hot() == {ME: dict.fromkeys(["ann", "bob", "bob-too", "gus", "fay"], 0)}


async def test_who_is_asked_for_most_often_comes_first_and_old_requests_count_less(rig: Rig) -> None:
    """A scan of everybody, each once, does not drive out those who are asked for all the time."""
    rig.assign(*(row(name) for name in ("ann", "bob", "cid")))
    rig.read()
    rig.hot._begun = True

    async def ask(name: str, times: int) -> None:
        for _ in range(times):
            await rig.plane.predict(name, parse(b'[{"x": 1.0}]'), timeout_s=10)

    await ask("ann", 8)
    await ask("bob", 2)
    await ask("cid", 1)
    await rig.hot.remember()
    assert rig.registry.hot() == {ME: {"ann": 8, "bob": 2, "cid": 1}}
    assert await rig.hot.in_memory({shard_of("cid"), shard_of("ann")}) == ["ann", "cid"]
    for _ in range(5):  # nobody asks, so nothing is known better
        await rig.hot.remember()
    await ask("bob", 5)
    await rig.hot.remember()
    assert list(rig.registry.hot()[ME].items()) == [("bob", 6), ("ann", 4), ("cid", 0)]


async def test_counts_outlive_a_restart_and_a_new_version(rig: Rig) -> None:
    rig.registry.remember_hot({"ann": 40, "bob": 9})
    rig.assign(row("ann"), row("bob"))
    rig.hold("ann", "bob")
    await rig.first_round()
    rig.hot._begun = True
    await rig.hot.remember()  # told to stop again, before anybody asked
    assert rig.registry.hot() == {ME: {"ann": 40, "bob": 9}}
    rig.assign(replace(row("ann"), model_id="ann/2048"))
    rig.read()
    for _ in range(5):
        await rig.plane.predict("bob", parse(b'[{"x": 1.0}]'), timeout_s=10)
    await rig.plane.predict("ann", parse(b'[{"x": 1.0}]'), timeout_s=10)
    await rig.hot.remember()
    assert list(rig.registry.hot()[ME].items()) == [("ann", 21), ("bob", 9)]


async def test_what_stays_the_same_is_written_all_the_same(rig: Rig) -> None:
    """A row that nobody touches for a week is of a server that nobody asks, and is forgotten."""
    rig.assign(row("ann"))
    rig.read()
    rig.hot._begun = True
    for _ in range(3):
        await rig.plane.predict("ann", parse(b'[{"x": 1.0}]'), timeout_s=10)
        with writing(rig.engine) as connection:
            connection.execute(delete(schema.hot))
        await rig.hot.remember()
        assert rig.registry.hot() == {ME: {"ann": 1}}


async def test_a_store_that_is_away_for_a_moment_costs_no_model(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses at once; without a pause the whole list would have been tried in vain meanwhile."""
    monkeypatch.setattr(warm_loader, "_AGAIN_S", 0.001)
    rig.source.away = 3
    rig.assign(*(row(name) for name in ("ann", "bob")))
    rig.hold("ann", "bob")
    rig.registry.remember_hot({"ann": 1, "bob": 1})
    await rig.first_round()
    assert len(rig.models) == 2


@pytest.mark.usefixtures("one_at_a_time")
async def test_requests_at_all_servers_count_together(rig: Rig) -> None:
    names = ("ann", "bob", "cid")
    rig.assign(*map(row, names))
    rig.hold(*names)
    rig.registry.remember_hot({"ann": 5, "bob": 4, "cid": 1})
    rig.other.remember_hot({"bob": 3, "cid": 1})
    await rig.first_round()
    assert users_of(rig.source.asked) == ["bob", "ann", "cid"]


async def test_nothing_is_kept_before_it_has_prewarmed_or_while_nothing_was_loaded(rig: Rig) -> None:
    """What was hot before a restart must not be lost by another one soon after."""
    rig.assign(row("ann"), row("bob"))
    rig.registry.remember_hot(dict.fromkeys(["bob"], 0))
    rig.read()
    begun = asyncio.Event()
    task = asyncio.create_task(rig.hot.run(begun))
    await rig.plane.load("ann/1024")
    await rig.hot.remember()
    assert rig.registry.hot() == {ME: dict.fromkeys(["bob"], 0)}
    begun.set()
    await until_soon(lambda: rig.hot._begun)
    rig.models.discard("ann/1024")
    await rig.hot.remember()
    assert rig.registry.hot() == {ME: dict.fromkeys(["bob"], 0)}
    await rig.plane.load("ann/1024")
    await rig.hot.remember()
    assert rig.registry.hot() == {ME: dict.fromkeys(["ann"], 0)}
    task.cancel()


async def test_it_is_kept_every_now_and_then(rig: Rig) -> None:
    rig.hot = HotUsers(rig.registry, rig.table, rig.models, limit=5, every_s=0.01)
    rig.assign(row("ann"))
    rig.read()
    await rig.plane.load("ann/1024")
    begun = asyncio.Event()
    begun.set()
    task = asyncio.create_task(rig.hot.run(begun))
    await until_soon(rig.registry.hot)
    task.cancel()


async def test_none_are_kept_or_read_where_that_is_not_wanted(rig: Rig) -> None:
    rig.registry.remember_hot(dict.fromkeys(["bob"], 0))
    rig.hot = HotUsers(rig.registry, rig.table, rig.models, limit=0, every_s=0.01)
    rig.assign(row("ann"))
    rig.read()
    await rig.plane.load("ann/1024")
    begun = asyncio.Event()
    begun.set()
    await rig.hot.run(begun)
    await rig.hot.remember()
    assert await rig.hot.recall() == {}
    assert rig.registry.hot() == {ME: dict.fromkeys(["bob"], 0)}


# Hand-over


def arriving(rig: Rig, *user_ids: str) -> int:
    """Another server answers for these, and this one is to take them over; the revision that says so."""
    changed = rig.operator.assign_shards({shard_of(user): Holding(OTHER, next_id=ME) for user in user_ids})
    rig.read()
    return max(holding.revision for holding in changed.values())


async def test_what_is_warm_elsewhere_is_loaded_before_the_shard_is_called_prepared(started: Rig) -> None:
    started.assign(row("slow-ann"), row("bob"), pinned("cid"), row("dan"))
    started.warm = ["slow-ann", "dan"]
    revision = arriving(started, "slow-ann", "bob", "cid")
    await until_soon(lambda: "cid/1024" in started.models and "slow-ann/1024" in started.source.asked)
    assert started.prewarmer.prepared_revision < revision
    started.source.gate.set()
    await until_soon(lambda: started.prewarmer.prepared_revision >= revision)
    assert set(users_of(started.source.asked)) == {"slow-ann", "cid"}


async def test_shards_that_come_later_are_prepared_by_themselves(started: Rig) -> None:
    started.assign(row("ann"), row("bob"))
    started.warm = ["ann", "bob"]
    first = arriving(started, "ann")
    await until_soon(lambda: started.prewarmer.prepared_revision >= first)
    assert users_of(started.source.asked) == ["ann"]
    second = arriving(started, "bob")
    await until_soon(lambda: started.prewarmer.prepared_revision >= second)
    assert users_of(started.source.asked) == ["ann", "bob"]


async def test_a_model_that_does_not_load_holds_up_no_hand_over(started: Rig) -> None:
    started.assign(row("bad"), row("ann"))
    started.warm = ["bad", "ann"]
    revision = arriving(started, "bad", "ann")
    await until_soon(lambda: started.prewarmer.prepared_revision >= revision)
    assert users_of(started.models.most_wanted(9)) == ["ann"]


async def test_shards_that_come_take_their_part_of_the_memory_and_no_more(started: Rig) -> None:
    """What is hot on shards that are held already must not make room for more than that."""
    held_already = {shard: Holding(ME) for shard in range(SHARDS) if shard != shard_of("ann")}
    started.operator.assign_shards(held_already)
    started.assign(replace(row("ann", kib=30), size_bytes=30 * KIB))
    started.read()
    started.warm = ["ann"]
    revision = arriving(started, "ann")
    await until_soon(lambda: started.prewarmer.prepared_revision >= revision)
    assert started.source.asked == []


async def test_of_a_server_that_died_what_it_answered_last_is_loaded(started: Rig) -> None:
    """Nobody is left to ask, and nobody waits for it."""
    started.assign(row("ann"), row("bob"), row("cid"))
    started.other.remember_hot(dict.fromkeys(["ann", "cid"], 0))
    started.hold("ann", "bob")
    started.read()
    await until_soon(lambda: "ann/1024" in started.models)
    assert users_of(started.source.asked) == ["ann"]


async def test_a_shard_that_was_prepared_is_not_warmed_twice(started: Rig) -> None:
    started.assign(row("ann"), row("bob"))
    started.warm = ["ann"]
    started.other.remember_hot(dict.fromkeys(["bob"], 0))
    revision = arriving(started, "ann", "bob")
    await until_soon(lambda: started.prewarmer.prepared_revision >= revision)
    started.hold("ann", "bob")
    started.read()
    await asyncio.sleep(0)
    assert not started.prewarmer._orphans
    assert users_of(started.source.asked) == ["ann"]


# Users on several servers


async def test_a_user_on_several_servers_is_loaded_by_each_of_them(started: Rig) -> None:
    """By what was declared or measured; not by those that are none of them."""
    started.assign(replace(row("ann"), replicas=2), row("bob"), row("cid"))
    started.operator.set_spread({"bob": 2, "cid": 1})
    started.read()
    await until_soon(lambda: len(started.models) == 2)
    assert set(users_of(started.source.asked)) == {"ann", "bob"}


async def test_a_server_that_becomes_one_of_several_loads_then(started: Rig) -> None:
    """Another one was, and went."""
    best = "server-9"
    name = next(n for n in map("u-{}".format, range(99)) if rendezvous(shard_of(n), [ME, best])[0] == best)
    started.other.renew(lease_s=60, acked_revision=0, report=ServerReport())
    third = ServerRegistry(started.engine, best, endpoint="http://third", capacity_bytes=1)
    third.renew(lease_s=60, acked_revision=0, report=ServerReport())
    started.peers.update(started.registry.servers())
    started.assign(replace(row(name), replicas=2))
    started.read()
    await asyncio.sleep(0.05)
    assert started.source.asked == []
    third.release()
    assert started.peers.update(started.registry.servers())
    started.prewarmer.servers_changed()
    await until_soon(lambda: users_of(started.source.asked) == [name])
