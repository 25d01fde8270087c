"""Costs by the hour: nothing is lost or charged twice, whatever the registry does."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tenantry.errors import RegistryUnavailable
from tenantry.registry import Cost, CostBook, open_engine
from tenantry.registry.costs import GROUP, OTHERS
from tenantry_server.accounts import ledger as module
from tenantry_server.accounts.accounts import Accounts
from tenantry_server.accounts.ledger import Ledger
from tests.support.databases.migrated import migrate

DAY, NEXT_DAY = date(2026, 11, 30), date(2026, 12, 1)
LATE_S = 1_796_079_600.0  # 2026-11-30, 23:00 UTC
HOUR_S = 3600.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path}/registry.db")
    migrate(engine)
    yield engine
    engine.dispose()


class Book(CostBook):
    """Answers as long as `left` allows."""

    left = 10**6

    def add(self, server_id: str, day: date, costs: Sequence[Cost]) -> None:
        if not self.left:
            raise RegistryUnavailable("the database is away")
        self.left -= 1
        super().add(server_id, day, costs)


class Rig:
    """A ledger whose clock stands still until it is moved."""

    def __init__(self, engine: Engine, most: int = 100_000) -> None:
        self.now_s = LATE_S
        self.held: dict[str, float] = {}
        self.book = Book(engine)
        self.accounts = Accounts(most, clock_s=lambda: self.now_s)
        self.ledger = Ledger(
            self.accounts,
            lambda: dict(self.held),
            self.book,
            server_id="server-0",
            clock_s=lambda: self.now_s,
        )

    def asked(self, *users: str) -> None:
        for user_id in users:
            self.accounts.ended(user_id, 200, 0.001)
            self.accounts.spent(user_id, 0.5)

    async def passed(self, seconds: float = HOUR_S) -> None:
        self.now_s += seconds
        await self.ledger.measure()

    def of(self, first: date, last: date) -> dict[str, Cost]:
        return {cost.user_id: cost for cost in self.book.between(first, last)}


async def test_an_hour_is_written_to_the_day_that_it_began_in(engine: Engine) -> None:
    rig = Rig(engine)
    rig.asked("ann", "ann")
    rig.accounts.ended("bob", 500, 0.001)
    await rig.passed()  # midnight
    await rig.ledger.turn()
    rig.asked("ann")
    await rig.passed()
    await rig.ledger.turn()
    assert rig.of(DAY, DAY) == {"ann": Cost("ann", 2, 0, 1.0, 0.0), "bob": Cost("bob", 1, 1, 0.0, 0.0)}
    assert rig.of(NEXT_DAY, NEXT_DAY) == {"ann": Cost("ann", 1, 0, 0.5, 0.0)}


async def test_bytes_in_memory_cost_by_the_time_that_they_were_there(engine: Engine) -> None:
    """Also of a tenant whom nobody asks for."""
    rig = Rig(engine)
    rig.held = {"pinned": 1000.0}
    await rig.ledger.measure()
    await rig.passed(HOUR_S / 2)
    rig.held = {"pinned": 1000.0, "ann": 8.0}
    await rig.passed(HOUR_S / 4)
    await rig.passed(HOUR_S / 4)
    await rig.ledger.turn()
    found = rig.of(DAY, DAY)
    assert found["pinned"] == Cost("pinned", 0, 0, 0.0, 1000.0)
    assert found["ann"].byte_hours == pytest.approx(2.0)


async def test_what_can_not_be_written_is_written_later_and_once(engine: Engine) -> None:
    """The database goes away between two transactions of one hour."""
    rig = Rig(engine)
    users = [f"user-{number:04}" for number in range(3 * GROUP)]
    rig.asked(*users)
    rig.book.left = 1
    await rig.passed(60.0)
    await rig.ledger.turn()
    assert len(rig.of(DAY, DAY)) == GROUP
    rig.asked(users[0], users[-1])
    await rig.passed(60.0)
    await rig.ledger.turn()
    rig.book.left = 100
    await rig.ledger.close()
    found = rig.of(DAY, DAY)
    assert {user_id: cost.requests for user_id, cost in found.items()} == dict.fromkeys(users, 1) | {
        users[0]: 2,
        users[-1]: 2,
    }
    await rig.ledger.close()
    assert rig.of(DAY, DAY) == found


async def test_tenants_beyond_every_bound_are_written_together(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 10)
    rig = Rig(engine, most=40)
    rig.held = {f"user-{number}": 3600.0 for number in range(30)}
    await rig.ledger.measure()
    rig.asked(*(f"user-{number}" for number in range(100)))
    await rig.passed()
    await rig.ledger.turn()
    found = rig.of(DAY, DAY)
    assert len(found) <= 11
    assert sum(cost.requests for cost in found.values()) == 100
    assert sum(cost.cpu_s for cost in found.values()) == pytest.approx(50.0)
    assert sum(cost.byte_hours for cost in found.values()) == pytest.approx(30 * 3600.0)
    assert found[OTHERS].requests > 0
