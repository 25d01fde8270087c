"""The registry behaves alike on SQLite and on PostgreSQL."""

import gc
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, MetaData, Table, insert, inspect, select, text, update

from tenantry.errors import LeadershipLost, RegistryMismatch, RegistryUnavailable, ServerIdTaken
from tenantry.manifest.status import State, Status
from tenantry.registry import (
    Assignment,
    Claim,
    LoadReport,
    LoadState,
    OperatorRegistry,
    RegistryReader,
    ServerRegistry,
    ServerReport,
    StrikeReport,
    Writes,
    is_migrated,
    migrate,
    open_engine,
    schema,
)
from tenantry.registry.engine import _alembic_config, reading, writing
from tenantry.registry.following.pieces import pieces
from tenantry.registry.schema import leader
from tenantry_server import SQLAlchemyModelInfoRepository
from tests.support.databases.postgres import PostgresServer
from tests.support.databases.whole import whole
from tests.support.tenants.shards import held
from tests.support.waiting import until


def _row(user_id: str, model_id: str | None = "file:///m", **over: object) -> Assignment:
    return Assignment(user_id, f"uid-{user_id}", 1, model_id, **over)  # type: ignore[arg-type]


def _claim(name: str) -> Claim:
    return Claim(f"uid-{name}", "default", name, name, 12.5, 1, {"userId": name})


def test_migrations_build_the_declared_tables(engine: Engine) -> None:
    for table in schema.metadata.tables.values():
        columns = {c["name"]: c for c in inspect(engine).get_columns(table.name)}
        assert list(columns) == [c.name for c in table.columns]
        for column in table.columns:
            built = columns[column.name]
            assert built["nullable"] == column.nullable, (table.name, column.name)
            assert built["type"].python_type is column.type.python_type, (table.name, column.name)
        indexes = {i["name"] for i in inspect(engine).get_indexes(table.name)}
        assert indexes == {index.name for index in table.indexes}


def test_migrating_at_once_from_many_processes_works(opened: Callable[[], Engine]) -> None:
    engines = [opened() for _ in range(4)]
    threads = [threading.Thread(target=migrate, args=(each,)) for each in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(is_migrated(each) for each in engines)


def test_an_empty_database_is_not_migrated(opened: Callable[[], Engine]) -> None:
    engine = opened()
    if engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    assert not is_migrated(engine)


def test_looking_for_a_registry_makes_none(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/missing/registry.db")
    with pytest.raises(RegistryUnavailable):
        is_migrated(engine)
    engine.dispose()
    assert list(tmp_path.iterdir()) == []


def test_a_registry_of_a_newer_version_is_refused(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(RegistryMismatch, match="9999"):
        migrate(engine)
    with pytest.raises(RegistryMismatch, match="upgrade Tenantry"):
        is_migrated(engine)


@pytest.fixture
def of_before(opened: Callable[[], Engine]) -> Table:
    """The assignments of a registry of 0.1.0 with a row in it, as that release knows the table."""
    engine = opened()
    if engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    config = _alembic_config()
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        known = Table("assignments", MetaData(), autoload_with=connection)
        connection.execute(insert(known).values(_of_before("ann")))
    assert not is_migrated(engine)
    return known


def _of_before(user_id: str) -> dict[str, object]:
    return {
        "user_id": user_id,
        "uid": f"uid-{user_id}",
        "generation": 1,
        "model_id": "file:///m",
        "revision": 0,
        "deleted": False,
    }


def test_a_registry_with_tenants_is_brought_up_to_date(
    opened: Callable[[], Engine], of_before: Table
) -> None:
    engine = opened()
    migrate(engine)
    operator = OperatorRegistry(engine, "operator")
    operator.lead("tests")
    assert operator.assigned() == {"ann": _row("ann")}
    operator.commit(Writes(assignments=[_row("ann", prewarm=True)]))
    assert operator.assigned() == {"ann": _row("ann", revision=1, prewarm=True)}


def test_who_knows_the_tables_of_before_goes_on(opened: Callable[[], Engine], of_before: Table) -> None:
    """Operator and servers are not replaced at the same moment."""
    engine = opened()
    migrate(engine)
    with writing(opened()) as connection:
        connection.execute(insert(of_before).values(_of_before("bob")))
        connection.execute(update(of_before).values(revision=7))
        assert connection.execute(select(of_before.c.user_id, of_before.c.revision)).all() == [
            ("ann", 7),
            ("bob", 7),
        ]
    assert not any(row.prewarm for row in OperatorRegistry(engine, "new").assigned().values())


def test_a_server_reads_what_changed_since(operator: OperatorRegistry, server: ServerRegistry) -> None:
    assert operator.commit(Writes(assignments=[_row("a"), _row("b")])) == {"a": 1, "b": 2}
    operator.commit(Writes(assignments=[_row("a", "file:///m2", candidate_id="c", size_bytes=7)]))
    changes = server.changes_since(2)
    assert (changes.revision, changes.complete) == (3, False)
    assert changes.assignments == [_row("a", "file:///m2", candidate_id="c", size_bytes=7, revision=3)]
    assert server.changes_since(3).assignments == []


def test_a_complete_read_leaves_tombstones_out(operator: OperatorRegistry, server: ServerRegistry) -> None:
    operator.commit(Writes(assignments=[_row("a"), _row("b", None, deleted=True)]))
    everything = whole(server)
    assert [a.user_id for a in everything.assignments] == ["a"]
    assert everything.complete
    assert [a.user_id for a in server.changes_since(0).assignments if a.deleted] == ["b"]
    assert server.lookup("b") is None
    assert server.lookup("a") == _row("a", revision=1)


def test_everything_is_read_in_pieces(
    engine: Engine, operator: OperatorRegistry, server: ServerRegistry
) -> None:
    """In an order of the database's own; what is committed between two pieces comes with the next look."""
    users = ["ann", "Ann", "\u00c5nn", "b-1", "b1", "zo\u00e9"]
    operator.commit(Writes(assignments=[_row(user) for user in users]))
    operator.assign_shards(held({0: "a"}))
    first, *others = found = list(pieces(engine, rows=2))
    assert [len(piece.assignments) for piece in found] == [2, 2, 2, 0]
    assert sorted(row.user_id for piece in found for row in piece.assignments) == sorted(users)
    assert (first.complete, first.shards) == (True, held({0: "a"}))
    assert {(piece.complete, piece.revision, piece.token) for piece in others} == {
        (False, first.revision, first.token)
    }
    reading = pieces(engine, rows=2)
    seen = next(reading)
    operator.commit(Writes(assignments=[_row("b1", None, deleted=True), _row("a")]))
    list(reading)
    assert {row.user_id for row in server.changes_since(seen.revision, seen.token).assignments} == {
        "a",
        "b1",
    }


def test_a_leader_that_was_replaced_writes_nothing(engine: Engine, operator: OperatorRegistry) -> None:
    newer = OperatorRegistry(engine, "newer")
    assert newer.lead("tests") == 2
    with pytest.raises(LeadershipLost):
        operator.commit(Writes(claims=[_claim("a")], assignments=[_row("a")]))
    with pytest.raises(LeadershipLost):
        operator.assign_shards(held({0: "server-0"}))
    with pytest.raises(LeadershipLost):
        operator.sweep(forget_servers_s=0)
    assert newer.claims() == []
    assert newer.assigned() == {}


def test_a_registry_follows_one_source(engine: Engine, operator: OperatorRegistry) -> None:
    with pytest.raises(RegistryMismatch, match="follows tests, not other"):
        OperatorRegistry(engine, "other").lead("other")
    operator.commit(Writes(claims=[_claim("a")]))  # the refused one has not taken over


def test_a_source_may_be_renamed_once_and_then_belongs_to_one(engine: Engine) -> None:
    """The first of two clusters that shared a name takes it; the other is refused, and removes nothing."""
    every = "cluster (all namespaces)"
    one, other = "cluster a (all namespaces)", "cluster b (all namespaces)"
    OperatorRegistry(engine, "before").lead("tests", formerly="")
    with writing(engine) as connection:
        connection.execute(update(leader).values(source=every))
    OperatorRegistry(engine, "one").lead(one, formerly=every)
    with pytest.raises(RegistryMismatch, match=r"follows cluster a \(all namespaces\), not cluster b"):
        OperatorRegistry(engine, "other").lead(other, formerly=every)


def test_claims_come_back_as_they_were(operator: OperatorRegistry) -> None:
    said = Status(State.STALLED, "InvalidManifest", "é\n'", 2, "m#sha256=1", 5, keeps=True)
    since = {"Ready": "2026-11-27T00:00:00Z", "Stalled": "2026-11-27T01:00:00Z"}
    claim = Claim("u", "ns", "n", None, 1732282800.123456, 3, None, said, since, "a/b.yaml")
    operator.commit(Writes(claims=[claim]))
    assert operator.claims() == [claim]
    operator.commit(Writes(forgotten=["u", "unknown"]))
    assert operator.claims() == []


def test_a_commit_is_all_or_nothing(operator: OperatorRegistry) -> None:
    broken = Claim("u", "ns", "n", None, None, 1, None)  # type: ignore[arg-type]
    with pytest.raises(RegistryUnavailable):
        operator.commit(Writes(assignments=[_row("a")], claims=[broken]))
    assert operator.assigned() == {}


def test_a_server_lives_while_its_lease_holds(operator: OperatorRegistry, server: ServerRegistry) -> None:
    server.renew(lease_s=10, acked_revision=5, report=ServerReport(3))
    (seen,) = operator.servers()
    assert seen.live
    assert 0 < seen.lease_left_s <= 10
    assert (seen.server_id, seen.acked_revision, seen.report.used_bytes) == ("server-0", 5, 3)
    server.renew(lease_s=-1, acked_revision=6, report=ServerReport(3))
    assert not operator.servers()[0].live
    server.release()
    assert operator.servers() == []


def test_the_newest_word_on_a_candidate_stands(operator: OperatorRegistry, server: ServerRegistry) -> None:
    first = LoadReport("a", "server-0", "m", LoadState.RETRYING, None, "ArtifactNotFound", "no")
    then = LoadReport("a", "server-0", "m", LoadState.LOADED, 9)
    server.report([first])
    (heard,) = operator.reports()
    assert heard == first
    server.report([then])
    operator.commit(Writes(answered=[first]))  # answered too late: it is not the newest any more
    assert operator.reports() == [then]
    operator.commit(Writes(answered=[then]))
    assert operator.reports() == []


def test_any_words_of_a_failed_load_can_be_reported(
    operator: OperatorRegistry, server: ServerRegistry
) -> None:
    """They come from a stranger's code, and must not cost the server its registry."""
    words = "nul \0, half \ud800, " + "long " * 1000
    server.report([LoadReport("a", "server-0", "m", LoadState.FAILED, None, "R" * 100, words)])
    (heard,) = operator.reports()
    assert heard.message.startswith("nul \\0, half \\ud800, long")
    assert (len(heard.reason), len(heard.message)) == (64, 4000)


def test_only_shards_that_changed_hands_are_written(
    operator: OperatorRegistry, server: ServerRegistry
) -> None:
    assert len(operator.assign_shards(held({0: "a", 1: "a"}))) == 2
    assert len(operator.assign_shards(held({0: "a", 1: "b"}))) == 1
    assert len(operator.assign_shards(held({0: "a", 1: "b"}))) == 0
    assert server.changes_since(1).shards == held({1: "b"})
    assert whole(server).shards == held({0: "a", 1: "b"})


def test_tombstones_stay_until_every_live_server_has_passed_them(
    engine: Engine, operator: OperatorRegistry, server: ServerRegistry
) -> None:
    slow = ServerRegistry(engine, "slow", endpoint="http://127.0.0.1:2", capacity_bytes=1)
    operator.commit(Writes(assignments=[_row("a", None, deleted=True)]))
    server.renew(lease_s=10, acked_revision=1, report=ServerReport())
    slow.renew(lease_s=10, acked_revision=0, report=ServerReport())
    assert operator.sweep(forget_servers_s=600) == 0
    slow.renew(
        lease_s=-1, acked_revision=0, report=ServerReport()
    )  # expired: it will read everything again
    assert operator.sweep(forget_servers_s=600) == 1
    assert [s.server_id for s in operator.servers()] == ["server-0", "slow"]
    assert operator.sweep(forget_servers_s=0) == 0
    assert [s.server_id for s in operator.servers()] == ["server-0"]


def test_strikes_are_read_by_all_servers_for_a_while(server: ServerRegistry, engine: Engine) -> None:
    other = ServerRegistry(engine, "other", endpoint="", capacity_bytes=1)
    assert server.strikes.within(600) == []
    server.strikes.write([StrikeReport("a", "signal SIGSEGV", writer="server-0 1")])
    other.strikes.write([StrikeReport("b", "NUL \0 and \ud800", 100.0, writer="other 2")])
    first, second = server.strikes.within(600)
    assert (first.model_id, first.how, first.writer) == ("a", "signal SIGSEGV", "server-0 1")
    assert 0 <= first.age_s < 60
    assert second.model_id == "b"
    assert 99 <= second.age_s < 160
    assert first.number != second.number
    assert [row.model_id for row in other.strikes.within(90)] == ["a"]
    with engine.begin() as connection:
        connection.execute(update(schema.strikes).values(at=schema.strikes.c.at - 4000))
    server.strikes.write([StrikeReport("c", "", writer="server-0 1")])
    assert [row.model_id for row in server.strikes.within(10_000)] == ["c"]


def test_thousands_of_rows_in_one_question(operator: OperatorRegistry) -> None:
    users = [f"user-{n}" for n in range(1200)]
    operator.commit(Writes(assignments=[_row(user) for user in users]))
    assert operator.assignments(users).keys() == set(users)


def test_a_reader_without_a_role_reads_what_both_sides_wrote(
    url: str, operator: OperatorRegistry, server: ServerRegistry
) -> None:
    ready = Status(State.READY, "Loaded", "", 1, "file:///m", 5)
    claims = [_claim("bob"), replace(_claim("ann"), user_id="a", status=ready)]
    rows = [_row("a", size_bytes=5), _row("b"), _row("c", None), _row("d", deleted=True)]
    operator.commit(Writes(claims=claims, assignments=rows))
    operator.assign_shards(held({7: "server-0"}))
    operator.set_spread({"a": 2})
    server.renew(lease_s=10, acked_revision=4, report=ServerReport())
    with RegistryReader.of_existing(url) as reader:
        assert [claim.name for claim in reader.claims()] == ["ann", "bob"]
        assert [c.name for named in ("a", "ann") for c in reader.claims(named=named)] == ["ann", "ann"]
        assert reader.count_claims() == (1, 2)
        assert [*sorted(reader.assigned()), *reader.assignments(["d", "unknown"])] == ["a", "b", "c", "d"]
        assert reader.model_sizes() == {"a": 5, "b": 0}
        assert (reader.shards(), reader.spread()) == (held({7: "server-0"}), {"a": 2})
        assert [each.server_id for each in reader.servers()] == ["server-0"]


def test_a_reader_sets_up_no_registry(url: str) -> None:
    """Nor does it leave a connection behind: pytest makes an unclosed one an error."""
    with pytest.raises(RegistryMismatch, match=r"no registry at|start an operator"):
        RegistryReader.of_existing(url)
    gc.collect()


def test_many_writers_wait_for_each_other(engine: Engine, operator: OperatorRegistry) -> None:
    """Servers renew their leases while the operator commits; nobody may fail because of the other."""
    failures: list[Exception] = []

    def renew(name: str) -> None:
        registry = ServerRegistry(engine, name, endpoint="http://127.0.0.1:3", capacity_bytes=1)
        try:
            for revision in range(30):
                registry.renew(lease_s=10, acked_revision=revision, report=ServerReport())
        except RegistryUnavailable as error:
            failures.append(error)

    threads = [threading.Thread(target=renew, args=(f"server-{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for n in range(30):
        operator.commit(Writes(assignments=[_row(f"user-{n}")]))
    for thread in threads:
        thread.join()
    assert failures == []
    assert {s.acked_revision for s in operator.servers()} == {29}
    assert sorted(a.revision for a in operator.assigned().values()) == list(range(1, 31))


def test_the_seeds_repository_reads_the_same_rows(engine: Engine, operator: OperatorRegistry) -> None:
    operator.commit(Writes(assignments=[_row("a"), _row("b", None), _row("c", None, deleted=True)]))
    repository = SQLAlchemyModelInfoRepository(engine)
    assert repository.get_model_id_by_user_id("a") == "file:///m"
    for user, reason in {"b": "ModelNotReady", "c": "ModelNotAssigned", "d\0": "ModelNotAssigned"}.items():
        with pytest.raises(Exception, match=user[0]) as raised:
            repository.get_model_id_by_user_id(user)
        assert type(raised.value).__name__ == reason


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://x/y", "unsupported database 'mysql'"),
        ("nonsense", "sqlite:///PATH"),
        ("oracle+nothing://x", "sqlite:///PATH or postgresql"),
    ],
)
def test_an_unusable_url_says_what_is_usable(url: str, words: str) -> None:
    with pytest.raises(RegistryMismatch, match=words):
        open_engine(url)


def test_a_database_that_does_not_answer_says_so() -> None:
    engine = open_engine("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(RegistryUnavailable, match="did not answer"):
        migrate(engine)


def test_two_servers_cannot_share_a_name(operator: OperatorRegistry, opened: Callable[[], Engine]) -> None:
    """One would acknowledge for the other; the newer one stands in for one that was killed, so it stays."""
    older = ServerRegistry(opened(), "s0", endpoint="http://a", capacity_bytes=1)
    newer = ServerRegistry(opened(), "s0", endpoint="http://b", capacity_bytes=1)
    older.renew(lease_s=5, acked_revision=1, report=ServerReport())
    newer.renew(lease_s=5, acked_revision=0, report=ServerReport())
    with pytest.raises(ServerIdTaken, match="http://b has taken the name 's0'"):
        older.renew(lease_s=5, acked_revision=2, report=ServerReport())
    older.release()
    newer.renew(lease_s=5, acked_revision=1, report=ServerReport())
    assert [(s.endpoint, s.acked_revision) for s in operator.servers()] == [("http://b", 1)]


def test_each_side_wakes_the_other(
    engine: Engine, operator: OperatorRegistry, opened: Callable[[], Engine]
) -> None:
    """Where the database can: SQLite can't, and there nobody may rely on it."""
    can = engine.dialect.name == "postgresql"
    server = ServerRegistry(opened(), "s0", endpoint="", capacity_bytes=1)
    rung: dict[str, int] = {"operator": 0, "server": 0}
    stop = threading.Event()

    def heard(who: str) -> None:
        rung[who] += 1

    operator.stillness.listen(lambda: heard("operator"), stop)
    server.stillness.listen(lambda: heard("server"), stop)
    if can:
        until(lambda: min(rung.values()) >= 2, "both listen, and have heard what proves that")
    acts: list[tuple[str, Callable[[], object]]] = [
        ("server", lambda: operator.commit(Writes(assignments=[Assignment("ann", "u", 1, None, "m")]))),
        ("server", lambda: operator.assign_shards(held({0: "s0"}))),
        ("operator", lambda: server.renew(lease_s=5, acked_revision=2, report=ServerReport())),
        ("operator", lambda: server.report([LoadReport("ann", "s0", "m", LoadState.LOADED)])),
    ]
    for who, act in acts:
        before = rung[who]
        act()
        if can:
            until(partial(_above, rung, who, before), f"{who} hears")
    last = dict(rung)
    server.renew(
        lease_s=5, acked_revision=2, report=ServerReport()
    )  # nothing changed: a call a second makes no noise
    operator.commit(Writes(claims=[]))
    operator.assign_shards(held({1: "s0"}))
    if can:
        until(lambda: rung["server"] > last["server"], "the next one is heard")
    assert rung["operator"] == last["operator"]
    stop.set()


def _above(counts: dict[str, int], who: str, before: int) -> bool:
    return counts[who] > before


def test_who_takes_long_over_what_it_read_has_no_transaction_open(postgres: PostgresServer) -> None:
    """PostgreSQL ends those after four seconds; 100,000 tenants take that long on a busy machine."""
    engine, other = open_engine(postgres.database()), open_engine(postgres.database())
    try:
        with reading(engine) as connection, reading(other) as beside:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            state = text("SELECT state FROM pg_stat_activity WHERE pid = :pid")
            assert beside.execute(state, {"pid": pid}).scalar_one() == "idle"
    finally:
        engine.dispose()
        other.dispose()
