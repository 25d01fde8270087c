"""A registry that lost its last commits is told apart from the one that was known, on both databases."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine, func, select, text, update

from tenantry.errors import HistoryChanged, LeadershipLost, RegistryUnavailable
from tenantry.registry import (
    Assignment,
    Changes,
    Claim,
    OperatorRegistry,
    ServerRegistry,
    ServerReport,
    Writes,
    schema,
)
from tenantry.registry.engine import reading, writing
from tenantry.registry.history import KEPT_REVISIONS
from tenantry.registry.views import operating
from tests.support.databases.backup import Backup
from tests.support.databases.postgres import PostgresServer
from tests.support.databases.whole import whole
from tests.support.tenants.shards import held


def _row(user_id: str, model_id: str | None = "file:///m") -> Assignment:
    return Assignment(user_id, f"uid-{user_id}", 1, model_id)


def _assign(operator: OperatorRegistry, *users: str, model_id: str = "file:///m") -> None:
    operator.commit(Writes(assignments=[_row(user, model_id) for user in users]))


def _since(server: ServerRegistry, seen: Changes) -> Changes:
    return server.changes_since(seen.revision, seen.token)


def _renew(server: ServerRegistry, seen: Changes) -> None:
    server.renew(lease_s=10, acked_revision=seen.revision, report=ServerReport(), token=seen.token)


def test_a_cursor_goes_on_where_nothing_was_lost(
    operator: OperatorRegistry, server: ServerRegistry
) -> None:
    seen = whole(server)
    for users in (["ann"], ["bob", "eve"], ["ann"]):
        _assign(operator, *users)
        seen = _since(server, seen)
        assert [row.user_id for row in seen.assignments] == users
        assert _since(server, seen).assignments == []
    operator.assign_shards(held({0: "a"}))
    operator.set_spread({"ann": 2})
    seen = _since(server, seen)
    assert (seen.shards, seen.spread) == (held({0: "a"}), {"ann": 2})
    _renew(server, seen)


@pytest.mark.parametrize("again", [0, 1, 2, 3])
def test_lost_commits_are_noticed_whatever_was_given_out_since(
    engine: Engine, operator: OperatorRegistry, server: ServerRegistry, again: int
) -> None:
    """Two commits are lost; then none, one, two or three others take their revisions."""
    _assign(operator, "ann", model_id="m1")
    backup = Backup(engine)
    for version in ("m2", "m3"):
        _assign(operator, "ann", model_id=version)
    seen = whole(server)
    backup.restore(engine)
    other = OperatorRegistry(engine, "other")
    other.lead("tests")
    for number in range(again):
        _assign(other, "bob", model_id=f"b{number}")
    with pytest.raises(HistoryChanged):
        _since(server, seen)
    with pytest.raises(HistoryChanged):
        _renew(server, seen)
    assert other.servers() == []
    now = whole(server)
    assert {row.user_id: row.model_id for row in now.assignments}["ann"] == "m1"
    _renew(server, now)


def test_a_commit_that_is_kept_is_no_other_history(
    engine: Engine, operator: OperatorRegistry, server: ServerRegistry
) -> None:
    """A failover loses what came after this cursor: the server has nothing to take back."""
    _assign(operator, "ann")
    seen = whole(server)
    backup = Backup(engine)
    _assign(operator, "ann", model_id="m2")
    backup.restore(engine)
    assert _since(server, seen).assignments == []
    _renew(server, seen)


def test_a_server_whose_start_was_lost_keeps_its_name(
    engine: Engine, operator: OperatorRegistry, server: ServerRegistry
) -> None:
    server.renew(lease_s=10, acked_revision=0, report=ServerReport())
    backup = Backup(engine)
    again = ServerRegistry(engine, "server-0", endpoint="http://127.0.0.1:2", capacity_bytes=1)
    _assign(operator, "ann")
    seen = whole(again)
    _renew(again, seen)
    backup.restore(engine)
    with pytest.raises(HistoryChanged):
        _renew(again, seen)
    _renew(again, whole(again))
    assert [each.endpoint for each in operator.servers()] == ["http://127.0.0.1:2"]


def test_only_the_last_revisions_have_tokens(
    engine: Engine, operator: OperatorRegistry, server: ServerRegistry
) -> None:
    """A cursor of before them reads everything: whether it is of this history can't be told."""
    _assign(operator, "ann")
    seen = whole(server)
    with writing(engine) as connection:
        connection.execute(update(schema.leader).values(revision=KEPT_REVISIONS))
    _assign(operator, "ann")
    with reading(engine) as connection:
        kept = connection.execute(select(func.count()).select_from(schema.history)).scalar_one()
    assert kept == 1
    with pytest.raises(HistoryChanged):
        _since(server, seen)


def test_an_operator_of_an_older_release_writes_no_tokens_and_is_followed(
    engine: Engine, operator: OperatorRegistry, server: ServerRegistry
) -> None:
    _assign(operator, "ann", "bob")
    seen = whole(server)
    for revision, model_id in ((3, "m3"), (4, "m4")):
        with writing(engine) as connection:
            connection.execute(update(schema.leader).values(epoch=9, revision=revision))
            row = {"model_id": model_id, "revision": revision}
            connection.execute(update(schema.assignments).values(row).where(text("user_id = 'ann'")))
        seen = _since(server, seen)
        assert [row.model_id for row in seen.assignments] == [model_id]
        assert _since(server, seen).assignments == []
        _renew(server, seen)
    operator.lead("tests")
    assert _since(server, seen).assignments == []


def test_a_leader_notices_that_its_writes_are_gone(engine: Engine, operator: OperatorRegistry) -> None:
    """Statuses too, which give out no revision."""
    operator.check()
    backup = Backup(engine)
    operator.commit(Writes(claims=[Claim("uid", "default", "ann", "ann", 1.0, 1, None)]))
    operator.check()
    backup.restore(engine)
    with pytest.raises(HistoryChanged):
        operator.check()
    with pytest.raises(HistoryChanged):
        _assign(operator, "ann")
    assert operator.lead("tests") == 2
    operator.check()
    _assign(operator, "ann")


def test_an_epoch_never_goes_back(engine: Engine, operator: OperatorRegistry) -> None:
    backup = Backup(engine)
    for _ in range(3):
        operator.lead("tests")
    backup.restore(engine)
    with pytest.raises(HistoryChanged):
        operator.check()
    assert operator.lead("tests") == 5


def test_a_leader_of_another_history_is_fenced_although_its_number_is_back(engine: Engine) -> None:
    backup = Backup(engine)
    paused, present = OperatorRegistry(engine, "paused"), OperatorRegistry(engine, "present")
    assert paused.lead("tests") == 1
    backup.restore(engine)
    assert present.lead("tests") == 1
    for write in (paused.check, lambda: _assign(paused, "ann")):
        with pytest.raises(LeadershipLost):
            write()
    _assign(present, "ann")


def test_a_commit_whose_answer_was_lost_is_no_other_history(
    operator: OperatorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = writing

    @contextmanager
    def cut(engine: Engine) -> Iterator[Connection]:
        with whole(engine) as connection:
            yield connection
        raise RegistryUnavailable("the connection ended during COMMIT")

    @contextmanager
    def broken(engine: Engine) -> Iterator[Connection]:
        with whole(engine) as connection:
            yield connection
            raise RegistryUnavailable("the connection ended before COMMIT")

    for failing in (cut, broken):
        with monkeypatch.context() as patched:
            patched.setattr(operating, "writing", failing)
            with pytest.raises(RegistryUnavailable):
                _assign(operator, "ann")
        operator.check()
        _assign(operator, "ann")
        operator.check()


def test_what_was_acknowledged_before_counts_for_nothing(
    engine: Engine, operator: OperatorRegistry, server: ServerRegistry
) -> None:
    """The row of a server that is paused is of before the loss, and its revision has been reached again."""
    _assign(operator, "ann")
    seen = whole(server)
    _renew(server, seen)
    assert [each.acked_revision for each in operator.servers()] == [1]
    backup = Backup(engine)
    operator.commit(Writes(claims=[Claim("uid", "default", "ann", "ann", 1.0, 1, None)]))
    backup.restore(engine)
    operator.lead("tests")
    assert [(each.live, each.acked_revision) for each in operator.servers()] == [(True, -1)]
    seen = _since(server, seen)
    _renew(server, seen)
    assert [each.acked_revision for each in operator.servers()] == [2]


def test_a_server_that_was_seen_is_waited_for_although_its_row_is_lost(
    engine: Engine, server: ServerRegistry
) -> None:
    now_s = 100.0
    operator = OperatorRegistry(engine, "operator", clock_s=lambda: now_s)
    operator.lead("tests")
    backup = Backup(engine)
    _renew(server, whole(server))
    assert [each.live for each in operator.servers()] == [True]
    backup.restore(engine)
    operator.lead("tests")
    assert [(each.server_id, each.acked_revision) for each in operator.servers()] == [("server-0", -1)]
    now_s += 10
    assert operator.servers() == []


def test_who_held_a_lease_when_the_registry_went_has_a_lease_s_time_once_it_is_back(
    engine: Engine, server: ServerRegistry
) -> None:
    """No server could renew, and one may believe for a moment that the registry is still away."""
    now_s = 100.0
    operator = OperatorRegistry(engine, "operator", clock_s=lambda: now_s)
    operator.lead("tests")
    server.renew(lease_s=10, acked_revision=0, report=ServerReport())
    assert operator.servers()[0].live
    now_s += 60
    operator.leases.lost_sight()
    assert [each.live for each in operator.servers()] == [True]
    now_s += 9.9
    assert [each.live for each in operator.servers()] == [True]
    now_s += 0.2
    assert [each.live for each in operator.servers()] == [False]
    operator.leases.lost_sight()
    assert [each.live for each in operator.servers()] == [False], "it held none when the registry went"


@pytest.mark.parametrize("jump_s", [-3600.0, 60.0, 3600.0])
def test_a_database_clock_that_jumps_ends_no_lease_and_keeps_none(
    engine: Engine, server: ServerRegistry, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    now_s = 100.0
    operator = OperatorRegistry(engine, "operator", clock_s=lambda: now_s)
    operator.lead("tests")
    server.renew(lease_s=10, acked_revision=0, report=ServerReport())
    assert operator.servers()[0].live
    _move_clock(monkeypatch, jump_s)
    now_s += 9.9
    operator.sweep(forget_servers_s=5)
    assert [each.live for each in operator.servers()] == [True]
    now_s += 0.2
    assert [each.live for each in operator.servers()] == [False]
    server.renew(lease_s=10, acked_revision=0, report=ServerReport())
    assert [each.live for each in operator.servers()] == [True]


def _move_clock(monkeypatch: pytest.MonkeyPatch, jump_s: float) -> None:
    """Let the database's clock jump, as far as this process sees it."""
    from tenantry.registry import engine as engines  # noqa: PLC0415 - to patch what others imported
    from tenantry.registry import sql  # noqa: PLC0415
    from tenantry.registry.views import serving  # noqa: PLC0415

    real = engines.now_s
    for module in (serving, sql, operating):
        monkeypatch.setattr(module, "now_s", lambda engine: real(engine) + jump_s)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_sessions_that_take_no_writes_are_given_up(
    engine: Engine, url: str, postgres: PostgresServer
) -> None:
    """They would stay read-only for good, when the database takes writes again."""
    operator = OperatorRegistry(engine, "operator")
    operator.lead("tests")
    server = ServerRegistry(engine, "server-0", endpoint="http://127.0.0.1:1", capacity_bytes=1)
    seen = whole(server)
    with postgres.read_only(url):
        engine.dispose()
        assert _since(server, seen) == replace(seen, complete=False)
        for _ in range(3):
            with pytest.raises(RegistryUnavailable, match="read-only"):
                _assign(operator, "ann")
            with pytest.raises(RegistryUnavailable, match="read-only"):
                _renew(server, seen)
    _assign(operator, "ann")
    _renew(server, _since(server, seen))
