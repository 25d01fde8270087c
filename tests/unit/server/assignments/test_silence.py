"""What says that the registry is silent, and what only says that this server did not run."""

import asyncio

import pytest

from tenantry_server.assignments import silence
from tenantry_server.assignments.silence import Silence


class Watch:
    """A silence, a clock that goes on when told, and what was said."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.said: list[float] = []
        self.silence = Silence(lambda: self.said.append(self.now_s), clock_s=lambda: self.now_s)

    def ticks(self, tick_s: float = silence._TICK_S) -> None:
        """One tick, that long after the last one."""
        self.now_s += tick_s
        self.silence._tick()


@pytest.fixture
def watch() -> Watch:
    return Watch()


async def test_a_question_that_fails_says_that_the_registry_is_silent(watch: Watch) -> None:
    with watch.silence.watched():
        watch.now_s += 0.1
        assert watch.silence.lost()
    assert watch.said == [pytest.approx(100.1)]


async def test_a_question_that_a_sleep_broke_says_nothing(watch: Watch) -> None:
    with watch.silence.watched():
        watch.now_s += 5.0
        assert not watch.silence.lost()
    assert watch.said == []


async def test_the_error_may_come_after_the_sleep_was_noticed(watch: Watch) -> None:
    with watch.silence.watched():
        watch.ticks(5.0)
        watch.ticks()
        assert not watch.silence.lost()
    with watch.silence.watched():
        assert watch.silence.lost(), "another round is judged by itself"


async def test_an_answer_that_stays_away_is_told_again_and_again(watch: Watch) -> None:
    """What was heard once is believed for a moment only."""
    with watch.silence.watched(), watch.silence.quick():
        for _ in range(6):
            watch.ticks()
    assert watch.said == [101.0, 101.25, 101.5]


async def test_time_that_was_slept_is_no_silence(watch: Watch) -> None:
    with watch.silence.watched(), watch.silence.quick():
        watch.ticks(60.0)
        for _ in range(3):
            watch.ticks()
        assert watch.said == []
        watch.ticks()
        assert watch.said == [161.0]


async def test_a_reading_that_takes_its_time_is_no_silence(watch: Watch) -> None:
    with watch.silence.watched():
        for _ in range(100):
            watch.ticks()
    assert watch.said == []


async def test_it_ticks_by_itself_for_as_long_as_a_round_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "_TICK_S", 0.001)
    monkeypatch.setattr(silence, "_SILENT_S", 0.0)
    said = asyncio.Event()
    watching = Silence(said.set)
    with watching.watched(), watching.quick():
        for _ in range(3):
            said.clear()
            await said.wait()
    said.clear()
    await asyncio.sleep(0.02)
    assert not said.is_set()
