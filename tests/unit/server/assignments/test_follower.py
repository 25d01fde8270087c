"""The follower over a real registry: in force first, then acknowledged, and never trusted too long."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tenantry.errors import ModelNotAssigned
from tenantry.registry import LoadState, ServerRegistry, Writes, open_engine
from tenantry_server.assignments import silence
from tests.support.databases.migrated import migrate
from tests.support.tenants.following import LEASE_S, Rig, nothing, row, tombstone
from tests.support.waiting import until_soon


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
def rig(path: Path) -> Rig:
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    return Rig(engine)


async def test_a_change_is_in_force_and_then_acknowledged(rig: Rig) -> None:
    acked: list[tuple[int, str | None]] = []
    rig.registry.before_renewal = lambda: acked.append((rig.table.revision, rig.table.peek("ann")))
    first = rig.assign(row("ann", "a1"))
    async with rig.running():
        await until_soon(lambda: rig.acked(first))
        assert rig.table.peek("ann") == "a1"
        second = rig.assign(row("ann", "a2"))
        await until_soon(lambda: rig.acked(second))
    assert acked[-1] == (second, "a2")


async def test_the_lease_is_renewed_once_a_second_and_not_at_every_look(rig: Rig) -> None:
    renewals: list[float] = []
    rig.registry.before_renewal = lambda: renewals.append(rig.clock.now_s)
    looks: list[float] = []
    rig.registry.after_reading = lambda: looks.append(rig.clock.now_s)
    async with rig.running():
        await until_soon(lambda: rig.acked(0))
        began, looked = len(renewals), len(looks)
        await until_soon(lambda: len(looks) > looked + 10)
        assert len(renewals) == began
        rig.clock.now_s += 1.0
        await until_soon(lambda: len(renewals) == began + 1)
        assert rig.seen.lease_left_s > LEASE_S - 5


async def test_a_server_to_which_nothing_happens_renews_its_lease_less_often(rig: Rig) -> None:
    renewals: list[float] = []
    rig.registry.before_renewal = lambda: renewals.append(rig.clock.now_s)
    looks: list[float] = []
    rig.registry.after_reading = lambda: looks.append(rig.clock.now_s)

    async def looked_at(now_s: float) -> int:
        rig.clock.now_s, before = now_s, len(looks)
        await until_soon(lambda: len(looks) > before + 2)
        return len(renewals)

    async with rig.running():
        await until_soon(lambda: rig.acked(0))
        began_s = renewals[-1]
        rests = await looked_at(began_s + 1.0)
        assert renewals[-1] == began_s + 1.0, "the first one after news"
        assert await looked_at(began_s + 3.4) == rests
        assert await looked_at(began_s + 3.5) == rests + 1
        rig.assign(row("ann", "a1"))
        await until_soon(lambda: len(renewals) == rests + 2)
        assert await looked_at(began_s + 4.5) == rests + 3, "the first one after news"


async def test_a_file_that_nobody_wrote_to_is_not_read_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten readings a second, each by another thread, took most of what an idle server used."""
    rig.registry.stillness.rests = True
    looks: list[float] = []
    rig.registry.after_reading = lambda: looks.append(rig.clock.now_s)
    asked: list[bool] = []
    untouched = rig.registry.stillness.holds

    def noted() -> bool:
        asked.append(untouched())
        return asked[-1]

    monkeypatch.setattr(rig.registry.stillness, "holds", noted)
    async with rig.running():
        await until_soon(lambda: rig.acked(0) and asked[-3:] == [True] * 3)
        looked, before = len(looks), len(asked)
        await until_soon(lambda: len(asked) > before + 10)
        assert len(looks) == looked
        first = rig.assign(row("ann", "a1"))
        await until_soon(lambda: rig.acked(first))
        rig.clock.now_s += 1.0  # once a second, whatever the files say
        looked = len(looks)
        await until_soon(lambda: len(looks) > looked)


async def test_a_registry_that_is_silent_is_not_asked_by_requests_until_it_speaks(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host vanished, say: the driver gives up after seconds, for which each request would wait too."""
    monkeypatch.setattr(silence, "_SILENT_S", 0.05)
    rig.assign(row("ann", "a1"))
    speaks = threading.Event()
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
        rig.registry.after_reading = lambda: speaks.wait(30)
        try:
            await until_soon(lambda: not rig.table.contact.registry_answers)
            rig.clock.now_s += LEASE_S
            await until_soon(lambda: not rig.table.contact.registry_answers)
            assert rig.table.get_model_id_by_user_id("ann") == "a1"
            assert rig.table.contact.age_s is not None
        finally:
            speaks.set()
        await until_soon(lambda: rig.table.contact.registry_answers and rig.table.lease_held)


async def test_the_lease_is_given_up_before_the_registry_gives_it_up(rig: Rig) -> None:
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
        rig.registry.reachable = False
        rig.clock.now_s += LEASE_S - 0.99
        assert not rig.table.lease_held
        assert rig.seen.live


async def test_a_candidate_of_its_own_shard_is_loaded_and_reported(rig: Rig) -> None:
    rig.own_all()
    rig.assign(row("ann", "a1", "a2"), row("bob", None, "bad"))
    async with rig.running():
        await until_soon(lambda: len(rig.operator.reports()) == 2)
        reports = {report.user_id: report for report in rig.operator.reports()}
        assert (reports["ann"].state, reports["ann"].model_id) == (LoadState.LOADED, "a2")
        assert (reports["ann"].size_bytes or 0) > 0
        assert (reports["bob"].state, reports["bob"].reason) == (LoadState.FAILED, "ArtifactInvalid")
        assert rig.models.peek("a2") is not None
        assert rig.table.peek("ann") == "a1"


async def test_a_candidate_of_anothers_shard_is_left_to_it_until_it_changes_hands(rig: Rig) -> None:
    revision = rig.assign(row("ann", "a1", "a2"))
    async with rig.running():
        await until_soon(lambda: rig.acked(revision))
        assert rig.models.peek("a2") is None
        rig.own_all()
        await until_soon(rig.operator.reports)
        assert rig.models.peek("a2") is not None


async def test_a_model_that_no_longer_answers_leaves_memory(rig: Rig) -> None:
    rig.assign(row("ann", "a1"))
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
        rig.models.get_model("a1")
        revision = rig.assign(row("ann", "a2"))
        await until_soon(lambda: rig.acked(revision))
        assert rig.models.peek("a1") is None


async def test_a_wake_up_is_heard_long_before_the_next_look(rig: Rig) -> None:
    rig.follower.pace.poll_s = 600.0
    rig.own_all()
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
        rig.assign(row("ann", None, "a1"))
        rig.follower.wake()
        await until_soon(rig.operator.reports)  # the loader's own wake-up carried the report


async def test_reports_wait_while_the_registry_is_lost(rig: Rig) -> None:
    rig.own_all()
    rig.assign(row("ann", None, "a1"))
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
        await until_soon(rig.operator.reports)
        rig.operator.commit(Writes(answered=rig.operator.reports()))
        changes = rig.assign(row("bob", None, "b1"))
        await until_soon(lambda: rig.table.revision == changes)
        rig.registry.reachable = False
        rig.candidates.request(row("cid", None, "c1"))
        await until_soon(lambda: rig.models.peek("c1") is not None)
        await until_soon(lambda: not rig.table.contact.registry_answers)
        rig.registry.reachable = True
        await until_soon(lambda: {"cid"} <= {report.user_id for report in rig.operator.reports()})


async def test_a_lost_registry_is_found_again_and_everything_is_read(rig: Rig) -> None:
    """A tombstone may be swept while nobody holds it back: only a complete read shows the gap."""
    rig.assign(row("ann", "a1"), row("bob", "b1"))
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
        reads = rig.registry.complete_reads
        rig.registry.reachable = False
        await until_soon(lambda: not rig.table.contact.registry_answers)
        rig.clock.now_s += LEASE_S
        ServerRegistry.release(rig.registry)  # as its lease ends at the registry
        rig.assign(tombstone("ann"), row("bob", "b2"))
        assert rig.operator.sweep(forget_servers_s=60) == 1
        assert rig.table.peek("ann") is None
        rig.registry.reachable = True
        await until_soon(lambda: rig.table.lease_held)
        assert rig.registry.complete_reads == reads + 1
        assert rig.table.peek("bob") == "b2"
        with pytest.raises(ModelNotAssigned):
            rig.table.peek("ann")


async def test_a_short_loss_within_the_lease_changes_nothing(rig: Rig) -> None:
    rig.assign(row("ann", "a1"))
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
        reads = rig.registry.complete_reads
        rig.registry.reachable = False
        await until_soon(lambda: not rig.table.contact.registry_answers)
        assert rig.table.peek("ann") == "a1"
        rig.registry.reachable = True
        await until_soon(lambda: rig.table.contact.registry_answers)
        assert rig.registry.complete_reads == reads


async def test_a_registry_restored_from_a_backup_is_read_whole(rig: Rig, path: Path) -> None:
    """Its revisions begin again below those that were seen, and a difference would show nothing."""
    rig.assign(row("ann", "a1"))
    backup = sqlite3.connect(":memory:")
    with closing(sqlite3.connect(path)) as live:
        live.backup(backup)
    rig.assign(row("ann", "a2"), row("bob", "b1"))
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held and rig.table.peek("ann") == "a2")
        with closing(sqlite3.connect(path)) as live:
            backup.backup(live)
        await until_soon(lambda: rig.table.peek("ann") == "a1")
        with pytest.raises(ModelNotAssigned):
            rig.table.peek("bob")
    backup.close()


class Hasty:
    """An operator that commits at every chance, and says Ready as soon as nobody holds it back."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.version = 0
        self.ready = 0

    def step(self) -> None:
        """Commit; the wait for acknowledgements ends at once where no lease holder is behind."""
        self.version += 1
        revision = self.rig.assign(row("ann", str(self.version)))
        behind = [s for s in self.rig.operator.servers() if s.live and s.acked_revision < revision]
        if not behind:
            self.ready = self.version
        self.check()

    def check(self) -> None:
        answer = self.rig.table.peek("ann")
        assert answer is None or int(answer) >= self.ready, f"{answer} answers after Ready for {self.ready}"


async def test_what_became_ready_before_the_lease_began_is_read_first(rig: Rig) -> None:
    """The operator waits for lease holders only; a server that joins was not one of them."""
    hasty = Hasty(rig)
    hasty.step()

    def meanwhile() -> None:
        rig.registry.after_reading = nothing
        hasty.step()

    rig.registry.after_reading = meanwhile
    rig.follower.pace.poll_s = 600.0
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
        hasty.check()
        rig.follower.wake()
        await until_soon(lambda: rig.table.peek("ann") == "2")


async def test_a_lease_that_ended_while_it_was_renewed_is_not_trusted(rig: Rig) -> None:
    """A renewal that waits behind a lock may come to the registry after the old lease is over."""
    hasty = Hasty(rig)
    hasty.step()
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held and rig.acked(1))

        def late() -> None:
            rig.registry.before_renewal = nothing
            rig.clock.now_s += 2.0
            ServerRegistry.release(rig.registry)  # as its lease ends at the registry
            hasty.step()
            assert hasty.ready == 2

        rig.registry.before_renewal = late
        rig.clock.now_s += LEASE_S - 1.5
        await until_soon(lambda: rig.registry.before_renewal is nothing)
        await until_soon(lambda: hasty.ready == 2)
        while rig.table.revision < 2:
            hasty.check()
            await asyncio.sleep(0)
        await until_soon(lambda: rig.table.peek("ann") == "2")


async def test_a_released_server_is_waited_for_by_nobody(rig: Rig) -> None:
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
    assert rig.operator.servers() == []


async def test_a_reading_that_takes_longer_than_a_lease_ends_with_one(rig: Rig) -> None:
    """The lease is renewed between pieces: a million rows would never be trusted else."""
    rig.assign(row("ann", "a1"), row("bob", "b1"))
    rig.registry.piece_rows = 1
    left = [1, 2, 3]  # ann, bob, and nobody after them

    def take_long() -> None:
        rig.clock.now_s += LEASE_S * 0.6
        left.pop()
        if not left:
            rig.registry.after_reading = nothing

    rig.registry.after_reading = take_long
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
        assert (rig.table.peek("ann"), rig.table.peek("bob")) == ("a1", "b1")
    assert rig.registry.complete_reads == 1


async def test_a_reading_within_which_the_lease_ended_is_not_trusted(rig: Rig) -> None:
    """The operator may have said Ready for a newer model than a piece that was read before."""
    rig.assign(row("ann", "a1"), row("bob", "b1"))
    rig.registry.piece_rows = 1

    def stall() -> None:
        rig.registry.after_reading = nothing
        rig.clock.now_s += LEASE_S

    rig.registry.after_reading = stall
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
    assert rig.registry.complete_reads == 2
