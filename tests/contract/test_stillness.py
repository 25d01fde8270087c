"""Whether anybody has written, without asking the database: never said where it is not known."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from tenantry.registry import (
    Assignment,
    OperatorRegistry,
    ServerRegistry,
    ServerReport,
    Writes,
    open_engine,
)
from tenantry.registry.engine import writing
from tests.support.databases.pooler import pooled
from tests.support.waiting import until

ROW = Assignment("ann", "uid", 1, None, "m")


class Reader:
    """A server that reads the registry, and listens."""

    def __init__(self, engine: Engine, stop: threading.Event) -> None:
        self.registry = ServerRegistry(engine, "s0", endpoint="http://a", capacity_bytes=1)
        self.revision = 0
        self.heard = 0
        self.registry.stillness.listen(self._hear, stop)

    def _hear(self) -> None:
        self.heard += 1

    def read(self) -> bool:
        """Read what is new; return whether the registry may then be left alone."""
        self.revision = self.registry.changes_since(self.revision).revision
        return self.registry.stillness.holds()


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def reader(opened: Callable[[], Engine], operator: OperatorRegistry, stop: threading.Event) -> Reader:
    assert operator
    return Reader(opened(), stop)


def _assign(operator: OperatorRegistry) -> int:
    return operator.commit(Writes(assignments=[ROW]))["ann"]


def test_a_write_ends_the_rest_and_a_reading_begins_it_again(
    reader: Reader, operator: OperatorRegistry
) -> None:
    until(reader.read, "a reader that hears may rest")
    revision = _assign(operator)
    until(lambda: not reader.registry.stillness.holds(), "it is told")
    until(lambda: reader.read() and reader.revision == revision, "it has read")


def test_what_servers_say_ends_the_rest_of_the_operator(
    operator: OperatorRegistry, opened: Callable[[], Engine], stop: threading.Event
) -> None:
    server = ServerRegistry(opened(), "s0", endpoint="http://a", capacity_bytes=1)
    operator.stillness.listen(lambda: None, stop)

    def may_rest() -> bool:
        operator.check()
        operator.servers()
        return operator.stillness.holds()

    acts: list[Callable[[], object]] = [
        lambda: server.renew(lease_s=5, acked_revision=0, report=ServerReport()),
        lambda: server.renew(lease_s=5, acked_revision=1, report=ServerReport()),
        lambda: server.renew(lease_s=5, acked_revision=1, report=ServerReport(leaving=True)),
        server.release,
    ]
    for act in acts:
        until(may_rest, "nobody has said anything")
        act()
        until(lambda: not operator.stillness.holds(), "it is told")


def test_a_new_leader_ends_the_rest_of_the_old_one(
    operator: OperatorRegistry, opened: Callable[[], Engine], stop: threading.Event
) -> None:
    operator.stillness.listen(lambda: None, stop)

    def may_rest() -> bool:
        operator.check()
        return operator.stillness.holds()

    until(may_rest, "it leads alone")
    OperatorRegistry(opened(), "another").lead("tests")
    until(lambda: not operator.stillness.holds(), "it is told")


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_change_that_nobody_announced_ends_all_rest_until_the_next_wake_up(
    reader: Reader, operator: OperatorRegistry, engine: Engine
) -> None:
    until(reader.read, "a reader that hears may rest")
    with writing(engine) as connection:  # as if a pooler had swallowed the wake-up
        connection.execute(text("UPDATE leader SET revision = revision + 1"))
    assert reader.registry.stillness.holds()
    assert not reader.read()
    assert not reader.read(), "what was missed once may be missed again"
    _assign(operator)
    until(reader.read, "wake-ups arrive again")


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_connection_that_is_cut_ends_the_rest_until_it_is_made_again(
    reader: Reader, engine: Engine
) -> None:
    until(reader.read, "a reader that hears may rest")
    heard = reader.heard
    with writing(engine) as connection:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE :listening"
        connection.execute(text(cut), {"listening": "LISTEN %"})
    until(lambda: reader.heard > heard, "it is told to look for itself")
    assert not reader.registry.stillness.holds()
    until(reader.read, "it listens again")


def _unprepared(_dialect: Any, _record: Any, _args: Any, options: dict[str, Any]) -> None:
    """Debian's PgBouncer does not follow prepared statements from one connection to another."""
    options["prepare_threshold"] = None


@pytest.mark.parametrize("mode", ["session", "transaction"])
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_behind_a_pooler_nobody_rests_unless_wake_ups_pass(
    url: str, operator: OperatorRegistry, mode: str, stop: threading.Event, tmp_path: Path
) -> None:
    """PgBouncer gives a connection to others between two transactions, and drops what it is sent."""
    passes = mode == "session"
    with pooled(url, tmp_path / mode, mode=mode) as through:
        engine = open_engine(through)
        event.listen(engine, "do_connect", _unprepared)
        reader = Reader(engine, stop)
        until(lambda: reader.heard, "it listens")
        if passes:
            until(reader.read, "a reader that hears may rest")
        else:
            assert not reader.read(), "nothing has proved that wake-ups arrive"
        for _ in range(3):
            revision = _assign(operator)
            if passes:
                until(lambda: not reader.registry.stillness.holds(), "it is told")
                until(reader.read, "it has read")
            else:
                assert not reader.read()
                assert not reader.read()
            assert reader.revision == revision
        stop.set()
        engine.dispose()
