"""An operator at rest: it asks the database nothing that nobody has written to, and wakes where one has."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tenantry_operator.control import controller as module
from tests.support.operator.rig import Rig, Server, statements
from tests.support.waiting import until


class Resting:
    """A controller that runs, and how often it might have asked."""

    def __init__(self, rig: Rig) -> None:
        self.turns: list[bool] = []
        self._holds = rig.registry.stillness.holds
        rig.registry.stillness.holds = self._noted  # type: ignore[method-assign]

    def _noted(self) -> bool:
        self.turns.append(self._holds())
        return self.turns[-1]

    def until_it_rests(self, turns: int = 3) -> None:
        """Wait until it has left the database alone so many times in a row."""
        before = len(self.turns)
        until(lambda: self.turns[before:][-turns:] == [True] * turns, "it rests")


@pytest.fixture
def server(engine: Engine) -> Server:
    return Server(engine, "s1")


@pytest.fixture
def resting(rig: Rig, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Resting]:
    monkeypatch.setattr(module, "REST_S", 600.0)
    rig.restart(poll_s=0.005, rebalance_after_s=0.01)
    rig.declare("ann")
    rig.until_ready(server)
    resting = Resting(rig)
    stop = threading.Event()
    thread = threading.Thread(target=rig.controller.run, args=[stop])
    thread.start()
    yield resting
    stop.set()
    thread.join()


def test_it_asks_nothing_while_nobody_writes(rig: Rig, resting: Resting) -> None:
    resting.until_it_rests()
    seen = statements(rig.engine)
    resting.until_it_rests(20)
    assert seen == []


def test_what_is_declared_and_what_servers_say_ends_the_rest(
    rig: Rig, server: Server, resting: Resting
) -> None:
    resting.until_it_rests()
    before = rig.row("ann").model_id
    rig.declare("ann", "2")
    rig.controller.submit(rig.listing())

    def is_answered() -> bool:
        server.follow()
        server.load()
        return rig.row("ann").model_id != before

    until(is_answered, "the new version is in force")


def test_a_lease_that_ends_is_seen_although_nobody_writes(
    rig: Rig, server: Server, resting: Resting
) -> None:
    server.renew(lease_s=0.5)
    until(lambda: rig.gauge("servers") == 0, "its end is seen")
