"""When a server reads the registry again."""

from typing import cast

import pytest

from tenantry.registry.following.stillness import Stillness
from tenantry_server.assignments import pace as module
from tenantry_server.assignments.pace import Pace
from tenantry_server.assignments.renewals import Renewals


class Surroundings:
    """The registry and the lease as a test wants them, and the pauses that a pace made between looks."""

    announced = True
    still = True
    is_news = False
    due_s = 101.0
    now_s = 100.25

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pauses: list[float] = []
        self.pace = Pace(
            cast("Stillness", self), cast("Renewals", self), poll_s=0.1, clock_s=lambda: self.now_s
        )
        self.pace.rests = True
        monkeypatch.setattr(module, "set_within", self._passed)

    async def _passed(self, _wake: object, pause_s: float) -> bool:
        self.pauses.append(round(pause_s, 3))
        self.now_s += pause_s
        return False

    def holds(self) -> bool:
        return self.still

    def due_in_s(self, now_s: float) -> float:
        return self.due_s - now_s

    def is_due(self, now_s: float) -> bool:
        return now_s >= self.due_s


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    return Surroundings(monkeypatch)


async def test_where_changes_are_announced_it_rests_until_the_lease_is_due(around: Surroundings) -> None:
    await around.pace.until_due()
    assert around.pauses == [0.75]


async def test_although_changes_are_announced_it_reads_once_a_second(around: Surroundings) -> None:
    around.due_s = 110.0
    await around.pace.until_due()
    assert around.pauses == [1.0]


async def test_where_nobody_announces_them_it_looks_whether_anybody_has_written(
    around: Surroundings,
) -> None:
    around.announced = False
    await around.pace.until_due()
    assert set(around.pauses) == {0.1}
    assert len(around.pauses) == 8, "until the lease is due"


@pytest.mark.parametrize("why", ["written", "news", "the last reading failed"])
async def test_it_reads_at_its_pace_where_there_is_something_to_read_or_to_say(
    around: Surroundings, why: str
) -> None:
    around.still = why != "written"
    around.is_news = why == "news"
    around.pace.rests = why != "the last reading failed"
    await around.pace.until_due()
    assert around.pauses == [0.1]


async def test_in_a_hurry_it_reads_often(around: Surroundings) -> None:
    around.still = False
    around.pace.hurry()
    await around.pace.until_due()
    assert around.pauses == [0.02]
