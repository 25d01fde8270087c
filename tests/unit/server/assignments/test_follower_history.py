"""The follower over a registry that loses commits: nothing of another history is trusted."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tenantry.registry import OperatorRegistry, Writes, open_engine
from tests.support.databases.backup import Backup
from tests.support.databases.migrated import migrate
from tests.support.tenants.following import Rig, row
from tests.support.waiting import until_soon


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = open_engine(f"sqlite:///{tmp_path}/registry.db")
    migrate(engine)
    return engine


@pytest.fixture
def rig(engine: Engine) -> Rig:
    return Rig(engine)


def other(engine: Engine) -> OperatorRegistry:
    """An operator that leads what was restored."""
    operator = OperatorRegistry(engine, "other")
    operator.lead("a test")
    return operator


def give(operator: OperatorRegistry, model_id: str, user_id: str = "ann") -> int:
    (revision,) = operator.commit(Writes(assignments=[row(user_id, model_id)])).values()
    return revision


async def test_revisions_that_are_given_out_again_are_read_again(rig: Rig, engine: Engine) -> None:
    """While this server is paused: when it goes on, the numbers look as if it had missed nothing."""
    give(rig.operator, "m1")
    backup = Backup(engine)
    lost = give(rig.operator, "m2")
    goes_on = threading.Event()
    async with rig.running():
        await until_soon(lambda: rig.table.peek("ann") == "m2")
        rig.registry.after_reading = lambda: goes_on.wait(30)
        backup.restore(engine)
        assert give(other(engine), "m3") == lost
        goes_on.set()
        await until_soon(lambda: rig.table.peek("ann") == "m3")


async def test_nothing_is_answered_from_memory_until_everything_was_read(rig: Rig, engine: Engine) -> None:
    """SQL answers meanwhile; and the server acknowledges nothing of what it knew."""
    give(rig.operator, "m1")
    backup = Backup(engine)
    lost = give(rig.operator, "m2")
    seen: list[tuple[str | None, str, list[int]]] = []
    async with rig.running():
        await until_soon(lambda: rig.acked(lost))

        def look() -> None:
            acked = [server.acked_revision for server in now.servers()]
            seen.append((rig.table.peek("ann"), rig.table.get_model_id_by_user_id("ann"), acked))

        backup.restore(engine)
        now = other(engine)
        assert give(now, "m3") == lost
        rig.registry.before_renewal = look
        await until_soon(lambda: rig.table.peek("ann") == "m3")
        await until_soon(lambda: [server.acked_revision for server in now.servers()] == [lost])
    assert seen[0] in ((None, "m3", []), (None, "m3", [-1]))
    assert {model for _, model, _ in seen} == {"m3"}


async def test_a_user_that_was_declared_in_lost_commits_is_unknown_again(rig: Rig, engine: Engine) -> None:
    give(rig.operator, "m1")
    backup = Backup(engine)
    give(rig.operator, "e1", "eve")
    async with rig.running():
        await until_soon(lambda: rig.table.peek("eve") == "e1" if rig.table.get("eve") else False)
        backup.restore(engine)
        await until_soon(lambda: rig.table.get("eve") is None)
        assert rig.table.peek("ann") == "m1"


async def test_a_candidate_is_reported_again_where_the_report_was_lost(rig: Rig, engine: Engine) -> None:
    """Its row may have the very revision that it had before."""
    rig.own_all()
    backup = Backup(engine)
    candidate = Writes(assignments=[row("ann", None, "c1")])
    async with rig.running():
        rig.operator.commit(candidate)
        await until_soon(lambda: bool(rig.operator.reports()))
        backup.restore(engine)
        now = other(engine)
        assert now.reports() == []
        now.commit(candidate)
        await until_soon(lambda: [report.model_id for report in now.reports()] == ["c1"])


async def test_a_registry_that_is_silent_after_the_loss_does_not_end_answers(
    rig: Rig, engine: Engine
) -> None:
    """What was known last is served, as `TENANTRY_ON_REGISTRY_LOSS` says."""
    give(rig.operator, "m1")
    backup = Backup(engine)
    lost = give(rig.operator, "m2")
    async with rig.running():
        await until_soon(lambda: rig.acked(lost))  # the plug is for the renewal after the loss

        def pull_the_plug() -> None:
            rig.registry.reachable = False
            rig.registry._check()

        rig.registry.before_renewal = pull_the_plug
        backup.restore(engine)
        await until_soon(lambda: not rig.table.contact.registry_answers)
        assert not rig.table.lease_held
        assert rig.table.was_read
        assert rig.table.get_model_id_by_user_id("ann") == "m2"
