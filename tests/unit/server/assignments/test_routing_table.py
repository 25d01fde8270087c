"""The routing table: what it takes in, whom it believes, and for how long."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tenantry.errors import ModelNotAssigned, ModelNotReady, RegistryUnavailable
from tenantry.placement import SHARDS, shard_of
from tenantry.processes.runtime import boot_clock_s
from tenantry.registry import Assignment, Changes, OperatorRegistry, ServerRegistry, Writes, open_engine
from tenantry_server.assignments.routing_table import OnRegistryLoss, RoutingTable
from tests.support.databases.migrated import migrate
from tests.support.tenants.operator_side import leading
from tests.support.tenants.shards import held


class Clock:
    """Goes on when told."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Unsteady(ServerRegistry):
    """A registry that can be out of reach, and counts how often it was asked."""

    reachable = True
    asked = 0

    def lookup(self, user_id: str) -> Assignment | None:
        self.asked += 1
        if not self.reachable:
            raise RegistryUnavailable("the registry did not answer: pulled plug")
        return super().lookup(user_id)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = open_engine(f"sqlite:///{tmp_path}/registry.db")
    migrate(engine)
    return engine


@pytest.fixture
def operator(engine: Engine) -> OperatorRegistry:
    return leading(engine)


@pytest.fixture
def registry(engine: Engine) -> Unsteady:
    return Unsteady(engine, "server-0", endpoint="http://127.0.0.1:1", capacity_bytes=1 << 20)


@pytest.fixture
def table(registry: Unsteady, clock: Clock) -> RoutingTable:
    return RoutingTable(registry, clock_s=clock)


def row(user_id: str, model_id: str | None, candidate_id: str | None = None) -> Assignment:
    return Assignment(user_id, f"uid-{user_id}", 1, model_id, candidate_id)


def changed(revision: int, *rows: Assignment, shards: dict[int, str] | None = None) -> Changes:
    return Changes(revision, complete=False, assignments=list(rows), shards=held(shards or {}))


def whole(revision: int, *rows: Assignment, shards: dict[int, str] | None = None) -> Changes:
    return Changes(revision, complete=True, assignments=list(rows), shards=held(shards or {}))


def trusted(table: RoutingTable, clock: Clock, lease_s: float = 10.0) -> RoutingTable:
    table.contact.renewed(until_s=clock.now_s + lease_s)
    return table


def test_a_difference_changes_its_users_only(table: RoutingTable, clock: Clock) -> None:
    table.apply(whole(1, row("ann", "a1"), row("bob", "b1")))
    table.apply(changed(2, row("ann", "a2")))
    trusted(table, clock)
    assert (table.peek("ann"), table.peek("bob"), table.revision) == ("a2", "b1", 2)


def test_an_index_holds_whoever_has_a_model_or_will(table: RoutingTable) -> None:
    """And is a copy: it is written out in a thread, while the table goes on changing."""
    table.apply(whole(1, row("ann", "a1"), row("bob", None), row("eve", "e1")))
    listed = table.assigned()
    table.apply(changed(2, replace(row("eve", None), deleted=True)))
    assert listed == {"ann": "a1", "bob": None, "eve": "e1"}
    assert table.assigned() == {"ann": "a1", "bob": None}


def test_a_tombstone_ends_a_users_model(table: RoutingTable, clock: Clock) -> None:
    table.apply(whole(1, row("ann", "a1")))
    _, gone = table.apply(changed(2, replace(row("ann", None), deleted=True)))
    assert gone == {"a1"}
    with pytest.raises(ModelNotAssigned):
        trusted(table, clock).peek("ann")
    assert len(table) == 0


def test_who_is_not_in_a_complete_read_is_gone(table: RoutingTable, clock: Clock) -> None:
    """The tombstone may have been swept while this server was away."""
    table.apply(whole(1, row("ann", "a1"), row("bob", "b1")))
    _, gone = table.apply(whole(9, row("bob", "b1")))
    assert gone == {"a1"}
    with pytest.raises(ModelNotAssigned):
        trusted(table, clock).peek("ann")
    assert table.peek("bob") == "b1"


def test_a_model_without_a_loaded_version_is_not_ready(table: RoutingTable, clock: Clock) -> None:
    table.apply(whole(1, row("ann", None, "a1")))
    with pytest.raises(ModelNotReady):
        trusted(table, clock).peek("ann")


def test_a_candidate_never_answers(table: RoutingTable, clock: Clock) -> None:
    table.apply(whole(1, row("ann", "a1", "a2")))
    assert trusted(table, clock).peek("ann") == "a1"


def test_replaced_models_are_gone_and_unchanged_ones_are_not(table: RoutingTable) -> None:
    table.apply(whole(1, row("ann", "a1"), row("bob", "b1"), row("cid", None, "c1")))
    _, gone = table.apply(changed(2, row("ann", "a2"), row("bob", "b1", "b2"), row("cid", "c1")))
    assert gone == {"a1"}
    _, gone = table.apply(changed(3, row("ann", None, "a3")))
    assert gone == {"a2"}


@pytest.mark.parametrize("leaving", [row("ann", "own"), replace(row("ann", None), deleted=True)])
def test_a_model_that_others_still_use_is_not_gone(table: RoutingTable, leaving: Assignment) -> None:
    """New users may share one model until they have their own."""
    table.apply(whole(1, row("ann", "shared"), row("bob", "shared")))
    assert table.apply(changed(2, leaving))[1] == set()
    assert table.apply(changed(3, replace(row("bob", None), deleted=True)))[1] == {"shared"}


def test_candidates_of_shards_that_changed_hands_are_looked_at(table: RoutingTable) -> None:
    """Their new owner has to load them, though their rows did not change."""
    ann, bob, cid = row("ann", "a1", "a2"), row("bob", "b1", "b2"), row("cid", "c1")
    everyone = dict.fromkeys(range(SHARDS), "server-1")
    table.apply(whole(1, ann, bob, cid, shards=everyone))
    touched, _ = table.apply(changed(2, shards={shard_of("ann"): "server-0", shard_of("cid"): "server-0"}))
    assert [(a.user_id, a.candidate_id) for a in touched] == [("ann", "a2")]
    assert [table.owner_of(user) for user in ("ann", "bob")] == ["server-0", "server-1"]


def test_a_complete_read_replaces_the_shard_map(table: RoutingTable) -> None:
    table.apply(whole(5, shards={shard_of("ann"): "server-0"}))
    table.apply(whole(1))
    assert table.owner_of("ann") is None


def test_memory_answers_while_the_lease_holds(
    table: RoutingTable, registry: Unsteady, clock: Clock
) -> None:
    table.apply(whole(1, row("ann", "a1")))
    trusted(table, clock, 10.0)
    clock.now_s += 9.99
    assert table.peek("ann") == "a1"
    assert (table.lease_held, table.contact.age_s, registry.asked) == (True, None, 0)


def test_memory_never_answers_after_the_lease(
    table: RoutingTable, operator: OperatorRegistry, clock: Clock
) -> None:
    """The operator may have told the world that a newer model answers."""
    table.apply(whole(1, row("ann", "a1")))
    trusted(table, clock, 10.0)
    operator.commit(Writes(assignments=[row("ann", "a2")]))
    clock.now_s += 10.0
    assert table.peek("ann") is None
    assert table.peek("nobody") is None
    assert table.get_model_id_by_user_id("ann") == "a2"
    assert (table.lease_held, table.contact.age_s) == (False, None), "what SQL says now has no age"


def test_sql_answers_as_it_stands_once_the_lease_is_lost(
    table: RoutingTable, operator: OperatorRegistry
) -> None:
    operator.commit(Writes(assignments=[row("ann", "a1"), row("bob", None, "b1")]))
    assert table.get_model_id_by_user_id("ann") == "a1"
    with pytest.raises(ModelNotReady):
        table.get_model_id_by_user_id("bob")
    operator.commit(Writes(assignments=[replace(row("ann", None), deleted=True)]))
    for unknown in ("ann", "nobody"):
        with pytest.raises(ModelNotAssigned):
            table.get_model_id_by_user_id(unknown)


def test_without_lease_and_registry_the_last_known_model_answers(
    table: RoutingTable, registry: Unsteady, clock: Clock
) -> None:
    table.apply(whole(1, row("ann", "a1")))
    trusted(table, clock, 10.0)
    registry.reachable = False
    clock.now_s += 25.0
    assert (table.get_model_id_by_user_id("ann"), table.contact.age_s) == ("a1", 25.0)
    with pytest.raises(ModelNotAssigned):
        table.get_model_id_by_user_id("nobody")


def test_a_lookup_whose_connection_broke_is_made_once_more(
    table: RoutingTable, operator: OperatorRegistry, registry: Unsteady, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server was stopped in the middle of one, say; what it last knew may be older than Ready."""
    table.apply(whole(1, row("ann", "a1")))
    operator.commit(Writes(assignments=[row("ann", "a2")]))
    lookup = registry.lookup

    def broken_once(user_id: str) -> Assignment | None:
        monkeypatch.setattr(registry, "lookup", lookup)
        raise RegistryUnavailable("server closed the connection")

    monkeypatch.setattr(registry, "lookup", broken_once)
    assert table.get_model_id_by_user_id("ann") == "a2"


def test_without_lease_and_registry_it_refuses_where_told_so(registry: Unsteady, clock: Clock) -> None:
    table = RoutingTable(registry, on_loss=OnRegistryLoss.REFUSE, clock_s=clock)
    table.apply(whole(1, row("ann", "a1")))
    registry.reachable = False
    with pytest.raises(RegistryUnavailable):
        table.get_model_id_by_user_id("ann")


def test_a_server_that_never_read_the_registry_does_not_guess(
    table: RoutingTable, registry: Unsteady
) -> None:
    """It would answer 404 for a user who has a model."""
    registry.reachable = False
    assert (table.was_read, table.lease_held, table.contact.age_s) == (False, False, None)
    with pytest.raises(RegistryUnavailable):
        table.get_model_id_by_user_id("ann")


def test_the_clock_goes_on() -> None:
    assert boot_clock_s() <= boot_clock_s()


def test_many_users_are_known_from_memory_while_the_lease_holds(registry: Unsteady, clock: Clock) -> None:
    """None where `peek` says why; once the lease is over, nothing is claimed of anybody."""
    table = RoutingTable(registry, clock_s=clock)
    rows = [Assignment("ann", "uid-1", 1, "file:///1"), Assignment("new", "uid-2", 1, None)]
    table.apply(Changes(1, complete=True, assignments=rows, shards={}))
    trusted(table, clock, 10.0)
    assert table.peek_many(["nobody", "ann", "new"]) == [None, "file:///1", None]
    clock.now_s += 10.0
    assert table.peek_many(["ann"]) is None
