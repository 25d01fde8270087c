"""`tenantry registry check`: what a person sees of a registry that is sound, and of one that is not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, update

from tenantry.registry import (
    Assignment,
    Claim,
    OperatorRegistry,
    ServerRegistry,
    ServerReport,
    Writes,
    migrate,
    schema,
)
from tenantry.registry.engine import writing
from tenantry_cli.commands.registry import command
from tests.support.databases.patient import open_patient
from tests.support.databases.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.db"
    return str(request.getfixturevalue("postgres").database())


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_patient(url)
    migrate(engine)
    yield engine
    engine.dispose()


def check(url: str) -> Result:
    return CliRunner().invoke(command, ["check", "--registry", url], standalone_mode=False)


def populate(engine: Engine) -> ServerRegistry:
    """A leader, one tenant, and a server that has put it in force."""
    operator = OperatorRegistry(engine, "operator-0")
    operator.lead("a test")
    claim = Claim("uid-ann", "default", "ann", "ann", 1.0, 1, None)
    operator.commit(Writes(claims=[claim], assignments=[Assignment("ann", "uid-ann", 1, "m")]))
    server = ServerRegistry(engine, "server-0", endpoint="http://a", capacity_bytes=1)
    server.renew(lease_s=60, acked_revision=1, report=ServerReport())
    return server


def test_a_sound_registry(engine: Engine, url: str) -> None:
    populate(engine)
    done = check(url)
    assert done.return_value == 0
    assert "WRONG" not in done.output
    for words in ("operator-0 leads since epoch 1", "newest revision is 1", "server-0 has put the newest"):
        assert words in done.output


def test_what_is_wrong_is_named(engine: Engine, url: str) -> None:
    server = populate(engine)
    server.renew(lease_s=60, acked_revision=0, report=ServerReport())
    with writing(engine) as connection:
        connection.execute(schema.claims.delete())
        connection.execute(update(schema.history).values(revision=7))
    done = check(url)
    assert done.return_value == 1
    for words in (
        "WRONG users without a TenantModel: ann;",
        "WRONG rows are at revision 7, beyond the newest, 1;",
        "WRONG not at the newest revision: server-0 (revision 0);",
    ):
        assert words in done.output


def test_a_registry_that_nobody_has_led_or_migrated(engine: Engine, url: str) -> None:
    assert "WRONG no operator has led yet" in check(url).output
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0005'")
    done = check(url)
    assert (done.return_value, done.output[:5]) == (1, "WRONG")
    assert "of an older release" in done.output


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_database_that_takes_no_writes(engine: Engine, url: str, postgres: PostgresServer) -> None:
    populate(engine)
    with postgres.read_only(url):
        done = check(url)
    assert done.return_value == 1
    assert "WRONG the database takes no writes" in done.output
