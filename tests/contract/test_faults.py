"""Faults are written and read alike on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tenantry.registry import Assignment, Fault, FaultBook, FaultState, RegistryReader, Writes
from tests.support.databases.migrated import migrate
from tests.support.databases.patient import open_patient
from tests.support.tenants.operator_side import leading

ANN = Fault("ann", "server-0", "file:///a", "ArtifactNotFound", "gone", state=FaultState.RETRYING)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/registry.db"
    else:
        url = str(request.getfixturevalue("postgres").registry())
    engine = open_patient(url)
    migrate(engine)
    yield engine
    engine.dispose()


def test_a_reader_hears_of_each_change_once(engine: Engine) -> None:
    server, reader = FaultBook(engine), FaultBook(engine)
    assert reader.news() == []
    assert reader.news() is None
    server.write([ANN], [])
    (seen,) = reader.news() or []
    assert replace(seen, at_s=0.0) == ANN
    assert seen.at_s > 1e9
    assert reader.news() is None
    server.write([replace(ANN, reason="ArtifactInvalid")], [])  # as many rows as before
    assert [fault.reason for fault in reader.news() or []] == ["ArtifactInvalid"]
    server.write([], [ANN])
    assert reader.news() == []
    assert reader.news() is None


def test_only_the_row_that_was_meant_is_removed(engine: Engine) -> None:
    book = FaultBook(engine)
    book.write([ANN, replace(ANN, server_id="server-1"), replace(ANN, user_id="bob")], [])
    book.write([], [ANN, replace(ANN, server_id="server-1", model_id="file:///older")])
    assert {(f.user_id, f.server_id) for f in book.news() or []} == {
        ("ann", "server-1"),
        ("bob", "server-0"),
    }


def test_many_are_written_and_removed_and_words_of_strangers_fit(engine: Engine) -> None:
    book = FaultBook(engine)
    many = [replace(ANN, user_id=f"user-{n}", message="NUL \0 and \ud800" * 1000) for n in range(450)]
    book.write(many, [])
    found = book.news() or []
    assert len(found) == 450
    assert found[0].message.startswith(r"NUL \0 and \ud800")
    book.write([ANN], many)
    assert [fault.user_id for fault in book.news() or []] == ["ann"]


def test_degraded_are_users_whose_model_in_force_is_broken(engine: Engine) -> None:
    operator = leading(engine)
    rows = [Assignment(user, f"uid-{user}", 1, "file:///a", deleted=user == "cid") for user in "ab"]
    operator.commit(Writes(assignments=[*rows, Assignment("cid", "uid-cid", 1, "file:///a", deleted=True)]))
    book = FaultBook(engine)
    faults = [replace(ANN, user_id=user) for user in ("a", "b", "cid", "nobody")]
    book.write([*faults, replace(faults[0], server_id="server-1")], [])
    assert RegistryReader(engine).count_degraded() == 2
    book.write([replace(faults[1], state=FaultState.DOUBTED)], [])
    assert RegistryReader(engine).count_degraded() == 1
