"""A request for a model that never loaded is answered with the operator's verdict, where that is final."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tenantry.errors import ModelNotReady, ModelStalled, RegistryUnavailable
from tenantry.manifest.status import State, Status
from tenantry.registry import Assignment, Claim, ServerRegistry, Writes, open_engine
from tenantry_server.assignments.verdicts import Verdicts
from tests.support.databases.migrated import migrate
from tests.support.operator.rig import statements
from tests.support.tenants.operator_side import leading

STALLED = Status(State.STALLED, "ArtifactInvalid", "s3://b/x is a dict; publish an estimator", 1)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path}/registry.db")
    migrate(engine)
    yield engine
    engine.dispose()


def said(engine: Engine, status: Status | None) -> Verdicts:
    operator = leading(engine)
    claim = Claim("uid-ann", "default", "ann", "ann", 1.0, 1, {}, status)
    operator.commit(Writes(claims=[claim], assignments=[Assignment("ann", "uid-ann", 1, None)]))
    return Verdicts(ServerRegistry(engine, "server-0", endpoint="", capacity_bytes=1))


async def test_a_person_must_act(engine: Engine) -> None:
    verdicts = said(engine, STALLED)
    explained = await verdicts.explained(ModelNotReady("ann"))
    assert isinstance(explained, ModelStalled)
    assert not explained.retryable
    assert "ArtifactInvalid: s3://b/x is a dict; publish an estimator" in str(explained)


@pytest.mark.parametrize(
    "status", [None, Status(State.RECONCILING, "Loading", "a server is loading it", 1)]
)
async def test_time_may_mend_it(engine: Engine, status: Status | None) -> None:
    verdicts, error = said(engine, status), ModelNotReady("ann")
    assert await verdicts.explained(error) is error
    nobody = ModelNotReady("nobody")
    assert await verdicts.explained(nobody) is nobody


async def test_many_requests_ask_once(engine: Engine) -> None:
    verdicts = said(engine, STALLED)
    seen = statements(engine)
    errors = await asyncio.gather(*(verdicts.explained(ModelNotReady("ann")) for _ in range(50)))
    assert {type(error) for error in errors} == {ModelStalled}
    assert sum(statement.startswith("SELECT") for statement in seen) == 1


async def test_a_registry_out_of_reach_explains_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_registry: ServerRegistry, _user_id: str) -> Status | None:
        raise RegistryUnavailable("pulled plug")

    monkeypatch.setattr(ServerRegistry, "status_of", away)
    error = ModelNotReady("ann")
    assert await said(engine, STALLED).explained(error) is error
