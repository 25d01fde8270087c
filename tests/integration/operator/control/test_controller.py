"""The operator's loop on a real registry, with the servers' side played step by step."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, event, select, update

from tenantry import ModelId, TenantModel
from tenantry.errors import ArtifactNotFound, InvalidManifest, LeadershipLost, RegistryUnavailable
from tenantry.placement import SHARDS
from tenantry.registry import (
    Assignment,
    LoadReport,
    LoadState,
    OperatorRegistry,
    ServerRegistry,
    ServerReport,
    Writes,
    migrate,
    open_engine,
    schema,
)
from tenantry.registry.engine import reading, writing
from tenantry.spec import ModelSource
from tenantry_operator.artifacts.lookups import Lookups
from tenantry_operator.artifacts.resolver import Resolver
from tenantry_operator.control import controller as controllers
from tenantry_operator.control.controller import Controller
from tenantry_operator.declared import Declaration, Listing
from tenantry_operator.fleet import busy_users
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.settings import OperatorSettings

SOURCE = "a test"


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/registry.db"
    else:
        url = request.getfixturevalue("postgres").database()
    engine = open_engine(url)
    migrate(engine)
    yield engine
    engine.dispose()


def no_s3(source: ModelSource) -> ModelId:
    raise AssertionError(source)


class Server:
    """A model server's side of the registry, one step at a time."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name = name
        self._registry = ServerRegistry(engine, name, endpoint=f"http://{name}", capacity_bytes=1 << 30)
        self.rows: dict[str, Assignment] = {}
        self.owners: dict[int, str] = {}
        self.revision = -1
        self.renew()
        self.read(self._registry.everything())
        self.renew()

    def follow(self) -> None:
        """Take in what changed, and say so."""
        self.read(self._registry.changes_since(self.revision))
        self.renew()

    def read(self, changes: Any) -> None:
        for row in changes.assignments:
            self.rows[row.user_id] = row
            if row.deleted:
                del self.rows[row.user_id]
        self.owners |= {shard: holding.server_id for shard, holding in changes.shards.items()}
        self.revision = changes.revision

    def renew(self) -> None:
        self._registry.renew(lease_s=60.0, acked_revision=self.revision, report=ServerReport())

    def busy(self, **shares: float) -> None:
        """Say whom its core works for."""
        report = ServerReport(busiest=shares)
        self._registry.renew(lease_s=60.0, acked_revision=self.revision, report=report)

    def load(self, state: LoadState = LoadState.LOADED) -> None:
        """Say the same of every candidate that stands."""
        self.say(*(self.word(row.user_id, str(row.candidate_id), state) for row in self.candidates()))

    def candidates(self) -> list[Assignment]:
        return [row for row in self.rows.values() if row.candidate_id is not None]

    def word(self, user_id: str, model_id: str, state: LoadState = LoadState.LOADED) -> LoadReport:
        if state is LoadState.LOADED:
            return LoadReport(user_id, self.name, model_id, state, 1000)
        return LoadReport(user_id, self.name, model_id, state, None, "ArtifactInvalid", "no model")

    def say(self, *reports: LoadReport) -> None:
        self._registry.report(list(reports))

    def leave(self) -> None:
        self._registry.release()

    def answer(self, user_id: str) -> str | None:
        """What a request would be answered with."""
        row = self.rows.get(user_id)
        return None if row is None else row.model_id


class World:
    """An operator, its registry, and a folder of artifacts."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self.engine = engine
        self.path = path
        self.declared: dict[str, Declaration] = {}
        self.absent: set[str] = set()
        self.resolve: Callable[[ModelSource], ModelId] = Resolver(no_s3)
        self.restart()

    def gauge(self, name: str) -> float:
        """A metric without labels."""
        lines = dict(line.rsplit(" ", 1) for line in self.metrics.text().decode().splitlines())
        return float(lines[f"tenantry_operator_{name}"])

    def restart(self, registry: OperatorRegistry | None = None, **settings: Any) -> None:
        self.registry = registry or OperatorRegistry(self.engine, "test")
        self.registry.lead(SOURCE)
        told = OperatorSettings(retry_first_s=0.001, retry_last_s=0.001, **settings)
        self.metrics = OperatorMetrics()
        self.controller = Controller(self.registry, self.look, told, self.metrics)

    def look(self, source: ModelSource) -> ModelId:
        return self.resolve(source)

    def publish(self, name: str, content: str) -> str:
        path = self.path / f"{name}.joblib"
        path.write_text(content)
        return f"file://{path}"

    def declare(self, name: str, content: str = "1", **over: Any) -> Declaration:
        """Publish an artifact and declare it for the user of the same name."""
        return self.manifest(name, uri=self.publish(name, content), **over)

    def manifest(
        self, name: str, *, uri: str, user: str | None = None, created_at: float = 100.0, **spec: Any
    ) -> Declaration:
        before = self.declared.get(f"uid-{name}")
        document = {
            "apiVersion": "tenantry.dev/v1alpha1",
            "kind": "TenantModel",
            "metadata": {"name": name},
            "spec": {"userId": user or name, "model": {"uri": uri, **spec.pop("model", {})}, **spec},
        }
        declared = Declaration(
            f"uid-{name}",
            "default",
            name,
            1 if before is None else before.generation + 1,
            created_at,
            TenantModel.parse(document),
        )
        return self.show(declared)

    def breaks(self, name: str) -> None:
        before = self.declared[f"uid-{name}"]
        problem = InvalidManifest("", "f.yaml:1: wrong")
        self.show(
            Declaration(
                before.uid, "default", name, before.generation + 1, before.created_at, None, problem
            )
        )

    def show(self, declared: Declaration) -> Declaration:
        self.declared[declared.uid] = declared
        self.absent.discard(declared.uid)
        return declared

    def delete(self, *names: str) -> None:
        for name in names:
            del self.declared[f"uid-{name}"]
            self.absent.add(f"uid-{name}")

    def listing(self) -> Listing:
        return Listing(dict(self.declared), frozenset(self.absent), complete=True)

    def step(self) -> None:
        """One pass with what is declared now, and as many as its look-ups take."""
        self.controller.step(self.listing())
        while self.controller.looking:
            self.controller.step()

    def until_ready(self, *servers: Server) -> None:
        """All that it takes when everything works."""
        for _ in range(4):
            self.step()
            for server in servers:
                server.follow()
                server.load()
                server.follow()
        self.step()

    # What stands in the registry

    def rows(self, table: Any) -> list[tuple[Any, ...]]:
        with reading(self.engine) as connection:
            return sorted((tuple(row) for row in connection.execute(select(table))), key=repr)

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that an operator writes; its epoch aside."""
        tables = (schema.claims, schema.assignments, schema.shard_map, schema.loads)
        found = {table.name: self.rows(table) for table in tables}
        with reading(self.engine) as connection:
            found["revision"] = [tuple(connection.execute(select(schema.leader.c.revision)).one())]
        return found

    def row(self, user_id: str) -> Assignment:
        return self.registry.assignments([user_id])[user_id]

    def status(self, name: str) -> tuple[str, str | None]:
        """Its reason, and the model that it says is answering."""
        claim = next(c for c in self.registry.claims() if c.uid == f"uid-{name}")
        return claim.conditions[0]["reason"], claim.model_id

    def reason(self, name: str) -> str:
        return self.status(name)[0]


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    return World(engine, tmp_path)


def test_from_declared_to_ready(world: World) -> None:
    world.declare("ann")
    world.step()
    assert world.reason("ann") == "NoServer"
    one, two = Server(world.engine, "s1"), Server(world.engine, "s2")
    world.step()
    one.follow()
    assert set(one.owners.values()) == {"s1", "s2"}
    assert len(one.owners) == SHARDS
    assert one.answer("ann") is None
    one.load()
    world.step()
    assert world.reason("ann") == "RollingOut"
    one.follow()
    world.step()
    assert world.reason("ann") == "RollingOut"
    two.follow()
    world.step()
    assert world.status("ann") == ("Ready", one.answer("ann"))
    assert one.answer("ann") == two.answer("ann") is not None
    assert world.registry.reports() == []


def test_an_update_is_loaded_beside_the_model_that_answers(world: World) -> None:
    world.declare("ann", "1")
    server = Server(world.engine, "s1")
    world.until_ready(server)
    first = server.answer("ann")
    world.declare("ann", "2")
    world.step()
    server.follow()
    assert server.answer("ann") == first
    assert world.status("ann") == ("Loading", first)
    server.load()
    world.step()
    server.follow()
    second = server.answer("ann")
    assert second not in (None, first)
    assert world.reason("ann") == "RollingOut"
    world.step()
    assert world.status("ann") == ("Ready", second)


def test_a_wish_to_prewarm_alone_reaches_the_servers_and_is_one_decision(world: World) -> None:
    """The model that answers stays, nothing is loaded, and nobody is waited for."""
    world.declare("ann")
    one = Server(world.engine, "s1")
    world.until_ready(one)
    model_id = one.answer("ann")
    world.declare("ann", prewarm=True)
    world.step()
    (claim,) = world.registry.claims()
    assert (claim.observed_generation, world.status("ann")) == (2, ("Ready", model_id))
    one.follow()
    assert (one.rows["ann"].prewarm, one.answer("ann"), one.candidates()) == (True, model_id, [])
    settled = world.everything()
    world.step()
    assert world.everything() == settled


def test_wishes_of_before_the_registry_knew_them_are_written_at_a_restart(world: World) -> None:
    world.declare("ann", prewarm=True)
    one = Server(world.engine, "s1")
    world.until_ready(one)
    claims = world.registry.claims()
    with writing(world.engine) as connection:
        connection.execute(update(schema.assignments).values(prewarm=False))
    world.restart()
    world.step()
    assert world.row("ann").prewarm
    assert world.registry.claims() == claims  # so no status is written


def test_a_candidate_that_fails_leaves_the_model_that_answers(world: World) -> None:
    world.declare("ann", "1")
    server = Server(world.engine, "s1")
    world.until_ready(server)
    first = server.answer("ann")
    world.declare("ann", "2")
    world.step()
    server.follow()
    server.load(LoadState.RETRYING)
    world.step()
    assert world.status("ann") == ("ArtifactInvalid", first)
    server.load(LoadState.FAILED)
    world.step()
    assert world.status("ann") == ("ArtifactInvalid", first)
    claim = world.registry.claims()[0]
    assert [c["type"] for c in claim.conditions] == ["Ready", "Stalled"]
    assert claim.conditions[0]["message"].endswith("keeps serving")
    server.follow()
    assert server.answer("ann") == first
    world.declare("ann", "3")
    world.until_ready(server)
    assert world.reason("ann") == "Ready"


def test_a_deleted_tenant_leaves_a_tombstone_until_all_have_passed_it(world: World) -> None:
    world.declare("ann")
    world.declare("bob")
    one, two = Server(world.engine, "s1"), Server(world.engine, "s2")
    world.until_ready(one, two)
    world.delete("ann")
    world.step()
    assert world.row("ann").deleted
    assert [claim.name for claim in world.registry.claims()] == ["bob"]
    one.follow()
    assert one.answer("ann") is None
    assert sweep(world) == 0  # the other may still answer
    two.follow()
    assert sweep(world) == 1
    assert world.registry.assignments(["ann"]) == {}
    assert two.answer("bob") is not None


def sweep(world: World) -> int:
    """The controller's own, made due now."""
    before = len(world.rows(schema.assignments))
    world.controller._sweep_at_s = time.monotonic()
    world.step()
    return before - len(world.rows(schema.assignments))


def test_deleted_and_declared_again(world: World) -> None:
    world.declare("ann")
    server = Server(world.engine, "s1")
    world.until_ready(server)
    world.delete("ann")
    world.step()
    world.declare("ann", created_at=200.0)
    world.step()
    assert world.row("ann").model_id is None
    world.until_ready(server)
    assert world.reason("ann") == "Ready"


def test_the_older_of_two_rivals_wins_and_the_other_is_promoted_when_it_goes(world: World) -> None:
    world.declare("young", "young", user="ann", created_at=200.0)
    server = Server(world.engine, "s1")
    world.until_ready(server)
    youngs = server.answer("ann")
    world.declare("old", "old", user="ann", created_at=100.0)
    world.step()
    assert world.reason("young") == "UserIdConflict"
    world.until_ready(server)
    olds = server.answer("ann")
    assert world.status("old") == ("Ready", olds)
    assert world.status("young") == ("UserIdConflict", None)
    world.delete("old")
    world.step()
    server.follow()
    assert server.answer("ann") is None  # what the old one left does not answer for the young one
    world.until_ready(server)
    assert world.status("young") == ("Ready", youngs)
    assert olds != youngs


def test_rivals_of_the_same_age_are_told_apart_by_uid(world: World) -> None:
    world.declare("b", user="ann")
    world.declare("a", user="ann")
    world.step()
    assert (world.reason("a"), world.reason("b")) == ("NoServer", "UserIdConflict")


@pytest.mark.parametrize("heir", ["invalid", "without an artifact"])
def test_a_deleted_model_stops_answering_even_where_its_heir_can_not_take_over(
    world: World, heir: str
) -> None:
    world.declare("old", user="ann", created_at=100.0)
    world.declare("young", user="ann", created_at=200.0)
    server = Server(world.engine, "s1")
    world.until_ready(server)
    assert server.answer("ann") is not None
    if heir == "invalid":
        world.breaks("young")
    else:
        (world.path / "young.joblib").unlink()
    world.step()
    world.delete("old")
    world.step()
    server.follow()
    assert server.answer("ann") is None


def test_an_heir_looks_at_its_artifact_anew(world: World) -> None:
    """It was overwritten while it stood behind the other one, perhaps for days."""
    world.declare("old", user="ann", created_at=100.0)
    world.declare("young", "1", user="ann", created_at=200.0)
    server = Server(world.engine, "s1")
    world.until_ready(server)
    world.publish("young", "2")
    world.delete("old")
    world.step()
    expected = Resolver(no_s3)(source_of(world, "young"))
    assert world.row("ann").candidate_id == str(expected)


def source_of(world: World, name: str) -> ModelSource:
    model = world.declared[f"uid-{name}"].model
    assert model is not None
    return model.spec.model


def test_a_restart_writes_nothing(world: World) -> None:
    """Neither for what is ready, nor for what waits for a person, a server or an artifact."""
    server = Server(world.engine, "s1")
    world.declare("ready", refreshInterval="1h")
    world.declare("rival", user="ready", created_at=200.0)
    world.declare("deleted")
    world.until_ready(server)
    world.declare("failed")
    world.declare("broken")
    world.step()
    server.follow()
    server.say(
        *(server.word(r.user_id, str(r.candidate_id), LoadState.FAILED) for r in server.candidates())
    )
    world.breaks("broken")
    world.manifest("missing", uri=f"file://{world.path}/nowhere")
    world.delete("deleted")
    world.step()
    server.follow()
    world.declare("loading")
    world.step()
    before = world.everything()
    for _ in range(2):
        world.restart()
        assert world.everything() == before
        world.step()
        world.controller.step()
        assert world.everything() == before
    server.follow()
    server.load()
    world.until_ready(server)
    assert world.reason("loading") == "Ready"


def test_a_restart_asks_the_artifact_store_nothing_about_what_is_ready(world: World) -> None:
    """10,000 HEAD requests would hold up the first change after it."""
    world.declare("ann")
    server = Server(world.engine, "s1")
    world.until_ready(server)
    (world.path / "ann.joblib").unlink()
    world.resolve = no_s3
    world.restart()
    world.step()
    assert world.reason("ann") == "Ready"


@pytest.mark.parametrize("at", ["declared", "reported", "acknowledged"])
def test_a_restart_in_the_middle_goes_on(world: World, at: str) -> None:
    world.declare("ann")
    server = Server(world.engine, "s1")
    world.step()
    server.follow()
    if at != "declared":
        server.load()
    if at == "acknowledged":
        world.step()
        server.follow()
    world.restart()
    if at == "declared":
        world.step()
        server.load()
    for _ in range(2):
        world.step()
        server.follow()
    world.step()
    assert world.reason("ann") == "Ready"


def test_a_second_leader_ends_the_first(world: World) -> None:
    world.declare("ann")
    world.step()
    first = world.controller
    world.restart()
    world.declare("bob")
    before = world.everything()
    with pytest.raises(LeadershipLost):
        first.step(world.listing())
    assert world.everything() == before
    world.step()
    assert world.reason("bob") == "NoServer"


class Flaky(OperatorRegistry):
    """Fails once, at the call that is chosen; before it wrote, or after."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, "flaky")
        self.fail_at: int | None = None
        self.after = False
        self.calls = 0

    def commit(self, writes: Writes) -> dict[str, int]:
        self.calls += 1
        fails = self.calls == self.fail_at
        if fails and not self.after:
            raise RegistryUnavailable("just now")
        revisions = super().commit(writes)
        if fails:
            raise RegistryUnavailable("it was written, and the answer was lost")
        return revisions


@pytest.mark.parametrize("after", [False, True], ids=["before it wrote", "after it wrote"])
@pytest.mark.parametrize("fail_at", range(1, 13))
def test_a_registry_that_fails_once_loses_nothing(world: World, fail_at: int, *, after: bool) -> None:
    """At whichever commit of a story with an update, rivals and a deletion."""
    flaky = Flaky(world.engine)
    world.restart(flaky)
    flaky.fail_at, flaky.after = fail_at, after
    server = Server(world.engine, "s1")

    def go_on() -> None:
        for _ in range(5):
            try:
                world.step()
            except RegistryUnavailable:
                continue
            server.follow()
            server.load()

    world.declare("ann", "1")
    world.declare("old", user="bob")
    world.declare("young", user="bob", created_at=200.0)
    world.declare("gone")
    go_on()
    world.declare("ann", "2")
    world.delete("old", "gone")
    go_on()
    go_on()
    server.follow()
    world.step()
    assert flaky.calls >= 6
    assert {c.name: world.reason(c.name) for c in world.registry.claims()} == {
        "ann": "Ready",
        "young": "Ready",
    }
    assert server.answer("ann") == str(Resolver(no_s3)(source_of(world, "ann")))
    assert server.answer("gone") is None
    assert world.registry.reports() == []


def test_a_report_is_kept_until_its_answer_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not removed with the group of a rival, when the winner's own group fails."""
    monkeypatch.setattr(controllers, "_GROUP", 1)
    for attempt in range(8):  # groups come in no particular order
        user = f"u{attempt}"
        world.declare(f"old{attempt}", user=user)
        world.declare(f"young{attempt}", user=user, created_at=200.0)
    server = Server(world.engine, "s1")
    world.step()
    server.follow()
    server.load()
    for attempt in range(8):
        world.declare(f"young{attempt}", "2", user=f"u{attempt}", created_at=200.0)
    flaky = Flaky(world.engine)
    world.restart(flaky)
    for fail_at in range(1, 40, 3):
        flaky.fail_at = flaky.calls + fail_at
        try:
            world.step()
        except RegistryUnavailable:
            world.restart(flaky)
    world.step()
    server.follow()
    world.step()
    assert {world.reason(f"old{attempt}") for attempt in range(8)} == {"Ready"}


def test_a_newer_listing_is_not_overtaken_by_one_that_had_to_wait(world: World) -> None:
    """It would remove a tenant that is back by now."""
    world.declare("ann")
    server = Server(world.engine, "s1")
    world.until_ready(server)
    world.delete("ann")
    without = world.listing()
    world.declare("ann")
    back = world.listing()
    stop = threading.Event()
    loop = world.controller
    step = loop.step
    taken: list[Listing | None] = []

    def once_lost(listing: Listing | None = None) -> None:
        taken.append(listing)
        if len(taken) == 1:
            loop.submit(back)  # while the registry does not answer
            raise RegistryUnavailable("just now")
        step(listing)
        stop.set()

    loop.step = once_lost  # type: ignore[method-assign]
    loop.submit(without)
    loop.run(stop)
    assert taken == [without, back]
    assert not world.row("ann").deleted


def test_a_mass_deletion_is_refused_until_a_person_allows_it(world: World) -> None:
    names = [f"t{n}" for n in range(60)]
    for name in names:
        world.manifest(name, uri=f"file://{world.path}/one.joblib")
    world.publish("one", "1")
    world.declare("other")
    world.step()
    world.delete(*names)
    before = world.everything()
    world.step()
    assert world.everything() == before
    world.declare("other", "2")
    world.step()
    assert world.row("other").generation == 2  # the rest goes on
    changed = world.manifest("other", uri=f"file://{world.path}/one.joblib")
    world.controller.step(Listing({changed.uid: changed}))
    assert world.gauge("not_removed") == 60, "one change says nothing about what is missing"
    assert world.row("other").generation == 3
    world.restart(allow_mass_delete=True)
    world.step()
    assert [claim.name for claim in world.registry.claims()] == ["other"]
    assert all(world.row(name).deleted for name in names)


def resync(world: World) -> None:
    """The controller's own, made due now."""
    world.controller._resync_at_s = time.monotonic()
    world.step()


def test_rows_edited_by_hand_are_repaired(world: World) -> None:
    world.declare("ann")
    world.declare("bob")
    world.declare("cid")
    server = Server(world.engine, "s1")
    world.until_ready(server)
    good = world.everything()
    answers = {user: server.answer(user) for user in ("ann", "bob", "cid")}
    ours = schema.assignments.c
    with writing(world.engine) as connection:
        connection.execute(
            update(schema.assignments).where(ours.user_id == "ann").values(model_id="file:///evil")
        )
        connection.execute(delete(schema.assignments).where(ours.user_id == "bob"))
        stranger = {"generation": 1, "model_id": "file:///evil", "revision": 0, "deleted": False}
        for user, uid in (("eve", "uid-eve"), ("mallory", "uid-ann")):
            connection.execute(schema.assignments.insert().values(user_id=user, uid=uid, **stranger))
        connection.execute(
            update(schema.claims).where(schema.claims.c.uid == "uid-cid").values(conditions=[{}])
        )
        connection.execute(delete(schema.claims).where(schema.claims.c.uid == "uid-bob"))
        connection.execute(update(schema.shard_map).values(server_id="nobody"))
    resync(world)
    assert world.row("eve").deleted
    assert world.row("mallory").deleted
    assert world.reason("cid") == "Ready"
    world.until_ready(server)
    assert {user: server.answer(user) for user in ("ann", "bob", "cid", "eve")} == answers | {"eve": None}
    assert {world.reason(name) for name in ("ann", "bob", "cid")} == {"Ready"}
    assert {row[1] for row in world.rows(schema.shard_map)} == {"s1"}
    assert len(world.rows(schema.claims)) == len(good["claims"])


def test_a_resync_of_what_is_right_writes_nothing(world: World) -> None:
    world.declare("ann")
    server = Server(world.engine, "s1")
    world.until_ready(server)
    before = world.everything()
    resync(world)
    assert world.everything() == before


def pass_time(world: World, seconds: float) -> None:
    """Let what was planned come due, without waiting for it."""
    world.controller._wake_due(time.monotonic() + seconds)


def test_an_artifact_that_is_overwritten_is_followed(world: World) -> None:
    world.declare("ann", "1", refreshInterval="5m")
    server = Server(world.engine, "s1")
    world.until_ready(server)
    first = server.answer("ann")
    world.publish("ann", "2")
    world.step()
    assert world.reason("ann") == "Ready"
    pass_time(world, 301)
    world.step()
    assert world.status("ann") == ("Loading", first)
    world.until_ready(server)
    assert world.status("ann") == ("Ready", server.answer("ann"))
    assert server.answer("ann") != first


def test_a_long_refresh_interval_comes_due_in_spite_of_resyncs(world: World) -> None:
    """Each decision in between once put it off anew, so an interval above 10 minutes never ended."""
    world.declare("ann", "1", refreshInterval="1h")
    server = Server(world.engine, "s1")
    world.until_ready(server)
    world.publish("ann", "2")
    due_s = world.controller._waits._again._due_s["uid-ann"]
    resync(world)
    assert world.controller._waits._again._due_s["uid-ann"] == due_s
    pass_time(world, 3601)
    world.step()
    assert world.reason("ann") == "Loading"


def test_a_shorter_refresh_interval_counts_from_when_it_is_declared(world: World) -> None:
    world.declare("ann", "1", refreshInterval="24h")
    world.until_ready(Server(world.engine, "s1"))
    world.declare("ann", "1", refreshInterval="1m")
    world.step()
    world.publish("ann", "2")
    pass_time(world, 61)
    world.step()
    assert world.reason("ann") == "Loading"


def test_a_refresh_that_fails_changes_nothing(world: World) -> None:
    world.declare("ann", "1", refreshInterval="5m")
    server = Server(world.engine, "s1")
    world.until_ready(server)
    before = world.everything()
    (world.path / "ann.joblib").unlink()
    pass_time(world, 301)
    world.step()
    assert world.everything() == before
    world.publish("ann", "2")
    pass_time(world, 301)
    world.step()
    assert world.reason("ann") == "Loading"


def test_an_artifact_that_comes_late_is_found(world: World) -> None:
    uri = f"file://{world.path}/late.joblib"
    world.manifest("late", uri=uri)
    server = Server(world.engine, "s1")
    world.step()
    assert world.reason("late") == "ArtifactNotFound"
    world.publish("late", "1")
    pass_time(world, 1)
    world.until_ready(server)
    assert world.reason("late") == "Ready"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("pipe", "ArtifactInvalid"),
        ("/dev/zero", "ArtifactInvalid"),
        ("a%00b", "ArtifactInvalid"),
        ("folder", "ArtifactInvalid"),
        ("x" * 300, "ArtifactUnavailable"),
        ("loop", "ArtifactUnavailable"),
    ],
    ids=["pipe", "device", "NUL", "folder", "long", "loop"],
)
def test_a_hostile_artifact_holds_up_nobody(world: World, path: str, reason: str) -> None:
    """Neither one that would be read for ever, nor one whose path is none."""
    os.mkfifo(world.path / "pipe")
    (world.path / "folder").mkdir()
    (world.path / "loop").symlink_to("loop")
    world.manifest("bad", uri=f"file://{path if path.startswith('/') else f'{world.path}/{path}'}")
    world.declare("good")
    server = Server(world.engine, "s1")
    world.until_ready(server)
    assert world.reason("good") == "Ready"
    assert world.reason("bad") == reason


def test_a_store_that_does_not_answer_holds_up_nobody(world: World) -> None:
    """Its own tenant is decided about once it does."""
    answer = threading.Event()
    files = Resolver(no_s3)

    def slow(source: ModelSource) -> ModelId:
        if source.uri.endswith("slow.joblib"):
            answer.wait()
        return files(source)

    world.resolve = slow
    world.declare("slow")
    world.declare("good")
    server = Server(world.engine, "s1")
    for _ in range(4):
        world.controller.step(world.listing())
        server.follow()
        server.load()
        server.follow()
    assert world.reason("good") == "Ready"
    assert [claim.name for claim in world.registry.claims()] == ["good"]
    world.delete("slow")  # and one that is given up meanwhile is not heard of again
    world.controller.step(world.listing())
    answer.set()
    world.declare("slow")
    world.until_ready(server)
    assert world.reason("slow") == "Ready"


def test_what_an_older_question_finds_is_not_taken_for_the_newer_ones_answer() -> None:
    """The first look began before the bytes that the second declaration means were there."""
    answers = [threading.Event(), threading.Event()]
    asked: list[ModelId] = []

    def slow(source: ModelSource) -> ModelId:
        asked.append(source.pinned(version_id=f"v{len(asked)}"))
        number = len(asked) - 1
        answers[number].wait()
        return asked[number]

    source = ModelSource(uri="s3://models/ann")
    lookups = Lookups(slow, threads=1)
    lookups.ask("ann", source)
    lookups.ask("ann", source)
    answers[0].set()
    assert lookups.take(wait_s=0.5) == {}
    answers[1].set()
    assert lookups.take(wait_s=60.0) == {"ann": asked[1]}
    assert (len(lookups), "ann" in lookups) == (0, False)
    lookups.close()


def test_a_resolver_that_raises_anything_holds_up_nobody(world: World) -> None:
    files = Resolver(no_s3)

    def broken(source: ModelSource) -> ModelId:
        if source.uri.endswith("bad.joblib"):
            raise RuntimeError("a fault of ours")
        return files(source)

    world.resolve = broken
    world.declare("bad")
    world.declare("good")
    world.until_ready(Server(world.engine, "s1"))
    assert (world.reason("good"), world.reason("bad")) == ("Ready", "ArtifactUnavailable")


def test_a_reconcile_that_raises_holds_up_nobody(world: World) -> None:
    """A fault of ours: here a resolver that returns what no model id can be written of."""
    files = Resolver(no_s3)

    def faulty(source: ModelSource) -> ModelId:
        wrong: Any = 42
        return ModelId(source.uri, sha256=wrong) if "bad" in source.uri else files(source)

    world.resolve = faulty
    world.declare("bad")
    world.declare("good")
    server = Server(world.engine, "s1")
    world.until_ready(server)
    assert (world.reason("good"), world.reason("bad")) == ("Ready", "InternalError")
    world.resolve = files
    world.declare("bad")
    world.until_ready(server)
    assert world.reason("bad") == "Ready"


def test_a_rollout_that_waits_for_a_server_is_complete_when_that_is_gone(world: World) -> None:
    world.declare("ann")
    one, two = Server(world.engine, "s1"), Server(world.engine, "s2")
    world.step()
    one.follow()
    one.load()
    world.step()
    one.follow()
    world.step()
    assert world.reason("ann") == "RollingOut"
    two.leave()
    world.step()  # the shards change hands, under a revision that this row does not wait for
    assert world.reason("ann") == "Ready"


def test_when_the_last_server_goes_those_that_wait_say_so(world: World) -> None:
    world.declare("ann")
    server = Server(world.engine, "s1")
    world.step()
    assert world.reason("ann") == "Loading"
    server.leave()
    world.step()
    assert world.reason("ann") == "NoServer"


def test_reports_that_nobody_waits_for_are_removed(world: World) -> None:
    world.declare("ann")
    server = Server(world.engine, "s1")
    world.until_ready(server)
    before = world.everything()
    server.say(
        server.word("ann", str(server.answer("ann"))),
        server.word("ann", "file:///older", LoadState.FAILED),
        server.word("nobody", "file:///x"),
    )
    for _ in range(3):
        world.step()
    assert world.everything() == before


def test_a_manifest_that_breaks_while_its_model_loads_is_asked_for_again(world: World) -> None:
    """The server's word comes while nobody can use it, and it gives none twice for one row."""
    world.declare("ann")
    server = Server(world.engine, "s1")
    world.step()
    server.follow()
    world.breaks("ann")
    world.step()
    server.load()
    world.step()
    assert world.reason("ann") == "InvalidManifest"
    assert world.registry.reports() == []
    server.follow()
    assert server.candidates() == []
    world.declare("ann")
    world.step()
    server.follow()
    assert [row.user_id for row in server.candidates()] == ["ann"]
    world.until_ready(server)
    assert world.reason("ann") == "Ready"


def test_a_tenant_may_change_its_mind_about_its_user_before_it_is_written(world: World) -> None:
    """It must not stand in line for the first one for ever."""
    flaky = Flaky(world.engine)
    world.restart(flaky)
    flaky.fail_at = 1
    world.declare("ann", user="one", created_at=100.0)
    with pytest.raises(RegistryUnavailable):
        world.step()
    world.manifest("ann", uri=f"file://{world.path}/ann.joblib", user="two", created_at=100.0)
    world.declare("bob", user="one", created_at=200.0)
    server = Server(world.engine, "s1")
    world.until_ready(server)
    assert (world.reason("ann"), world.reason("bob")) == ("Ready", "Ready")
    world.delete("ann")
    world.step()
    world.delete("bob")
    world.step()
    assert world.registry.claims() == []


def statements(engine: Engine) -> list[str]:
    """Everything that goes to the database from here on."""
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    return seen


def test_a_step_with_nothing_to_do_costs_two_selects(world: World) -> None:
    for n in range(50):
        world.manifest(f"t{n}", uri=world.publish("one", "1"))
    server = Server(world.engine, "s1")
    world.until_ready(server)
    listing = world.listing()
    world.controller.step(listing)
    seen = statements(world.engine)
    world.controller.step(listing)
    world.controller.step()
    assert len(seen) - sum(s.startswith(("BEGIN", "PRAGMA")) for s in seen) == 4
    assert all("servers" in s or "loads" in s for s in seen if s.startswith("SELECT"))


def test_many_are_written_in_groups(world: World) -> None:
    """Short locks, and few of them: 450 tenants take three commits."""
    commits: list[Sequence[Any]] = []

    class Counting(OperatorRegistry):
        def commit(self, writes: Writes) -> dict[str, int]:
            commits.append(writes.claims)
            return super().commit(writes)

    world.restart(Counting(world.engine, "counting"))
    uri = world.publish("one", "1")
    for n in range(450):
        world.manifest(f"t{n}", uri=uri)
    world.resolve = lambda source: source.pinned(sha256="0" * 64)
    world.step()
    assert sum(len(claims) for claims in commits) == 450
    assert max(len(claims) for claims in commits) <= 200
    world.delete(*(f"t{n}" for n in range(50)))
    world.step()
    assert len(world.rows(schema.claims)) == 400


def test_an_artifact_that_is_refused_is_quoted(world: World) -> None:
    def missing(source: ModelSource) -> ModelId:
        raise ArtifactNotFound(source.uri)

    world.resolve = missing
    world.declare("ann")
    world.step()
    assert "publish it there, or correct spec.model.uri" in str(world.registry.claims()[0].conditions)


def test_to_scale_servers_writes_to_no_tenant(world: World) -> None:
    """Nor is any status told anew: ten thousand tenants would be ten thousand writes."""
    for name in ("ann", "bob", "cid"):
        world.declare(name)
    one, two = Server(world.engine, "s1"), Server(world.engine, "s2")
    world.until_ready(one, two)
    before, decided = world.everything(), world.gauge("decisions_total")
    world.restart(rebalance_after_s=0)
    world.step()
    three = Server(world.engine, "s3")
    world.step()
    assert {row[3] for row in world.rows(schema.shard_map)} == {None, "s3"}
    two.leave()
    world.step()
    three.leave()
    world.step()
    after = world.everything()
    assert {name: after[name] for name in ("claims", "assignments")} == {
        name: before[name] for name in ("claims", "assignments")
    }
    assert {row[1] for row in world.rows(schema.shard_map)} == {"s1"}
    assert world.gauge("decisions_total") <= decided + 3


def test_a_user_who_keeps_a_server_busy_goes_to_several(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busy_users, "_LOOK_EVERY_S", 0.0)
    servers = [Server(world.engine, f"s{n}") for n in range(3)]
    servers[0].busy(ann=0.5, bob=0.1)
    world.step()
    world.step()
    assert world.registry.spread() == {"ann": 2}
    assert world.gauge("spread_users") == 1
    world.restart()
    assert world.registry.spread() == {"ann": 2}
    monkeypatch.setattr(busy_users, "_DOWN_AFTER_S", 0.0)
    servers[0].busy()
    world.step()
    assert world.registry.spread() == {"ann": 1}
    for server in servers:
        server.follow()
    world.registry.sweep(forget_servers_s=600.0)
    assert world.registry.spread() == {}
