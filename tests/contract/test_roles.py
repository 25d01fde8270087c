"""The roles of `tenantry registry grant`, on a real PostgreSQL: all that a server does, and no more."""

import inspect
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

from tenantry.errors import RegistryUnavailable, ServerIdTaken
from tenantry.registry import (
    Assignment,
    Claim,
    Cost,
    CostBook,
    Fault,
    FaultBook,
    Holding,
    KeyBook,
    LoadReport,
    LoadState,
    OperatorRegistry,
    Scope,
    ServerRegistry,
    ServerReport,
    StrikeReport,
    Writes,
    is_migrated,
    migrate,
    open_engine,
    schema,
)
from tenantry.registry.access import granting
from tenantry.registry.checking import check
from tenantry.registry.engine import reading, writing
from tenantry.registry.strikes import StrikeBook
from tenantry_cli.commands.registry import command
from tests.support.databases.patient import open_patient
from tests.support.databases.postgres import PostgresServer


class Roles:
    """A registry of which operator and servers know only their own roles."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = str(make_url(url).database)
        self._engines: list[Engine] = []
        migrate(self.open(url))
        self.passwords = self.grant()

    def open(self, url: str) -> Engine:
        self._engines.append(open_patient(url))
        return self._engines[-1]

    def grant(self, *options: str) -> dict[str, str]:
        arguments = ["grant", "--prefix", self.prefix, "--registry", self.url, *options]
        result = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return dict(line.split("\t") for line in result.output.splitlines())

    def engine(self, role: str, password: str | None = None) -> Engine:
        name = f"{self.prefix}_{role}"
        url = make_url(self.url).set(username=name, password=password or self.passwords[name])
        return self.open(url.render_as_string(hide_password=False))

    def close(self) -> None:
        for engine in self._engines:
            engine.dispose()


@pytest.fixture(scope="module")
def roles(postgres: PostgresServer) -> Iterator[Roles]:
    made = Roles(postgres.database())
    yield made
    made.close()


@pytest.fixture(scope="module")
def operator(roles: Roles) -> OperatorRegistry:
    """Leads under its own role, and has written a row of each kind."""
    registry = OperatorRegistry(roles.engine("operator"), "op")
    migrate(roles.engine("operator"))
    registry.lead("a test")
    claim = Claim("u1", "default", "ann", "ann", 1.0, 1, {"userId": "ann"})
    assignment = Assignment("ann", "u1", 1, "m1", "m2")
    registry.commit(Writes(claims=[claim], assignments=[assignment], bindings={"ann": "default"}))
    registry.assign_shards({0: Holding("s1")})
    registry.set_spread({"ann": 2})
    registry.sweep(forget_servers_s=600.0)
    return registry


@pytest.fixture(scope="module")
def server(roles: Roles, operator: OperatorRegistry) -> ServerRegistry:
    engine = roles.engine("server")
    assert is_migrated(engine)
    return ServerRegistry(engine, "s1", endpoint="http://s1", capacity_bytes=1)


REPORT = LoadReport("ann", "s1", "m2", LoadState.LOADED, 1000)
CALLS: dict[str, Callable[[ServerRegistry], Any]] = {
    "pieces": lambda server: list(server.pieces()),
    "changes_since": lambda server: server.changes_since(0),
    "lookup": lambda server: server.lookup("ann"),
    "status_of": lambda server: server.status_of("ann"),
    "servers": lambda server: server.servers(),
    "report": lambda server: server.report([REPORT]),
    "strikes.write": lambda server: server.strikes.write([StrikeReport("m1", "it crashed", 0.0)]),
    "strikes.within": lambda server: server.strikes.within(60.0),
    "remember_hot": lambda server: server.remember_hot({"ann": 1}),
    "hot": lambda server: server.hot(),
    "renew": lambda server: server.renew(lease_s=10.0, acked_revision=1, report=ServerReport()),
    "release": lambda server: server.release(),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_server_may_make_each_of_its_statements(server: ServerRegistry, name: str) -> None:
    for _ in range(2):  # to insert, and to replace
        CALLS[name](server)


def test_the_table_above_has_every_call_of_a_server() -> None:
    own, strikes = _public(ServerRegistry), {f"strikes.{name}" for name in _public(StrikeBook)}
    assert own | strikes == CALLS.keys()


def _public(view: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(view, inspect.isfunction) if name[0] != "_"}


def test_a_server_writes_and_removes_faults(server: ServerRegistry, roles: Roles) -> None:
    book = FaultBook(roles.engine("server"))
    fault = Fault("ann", "s1", "m1", "ArtifactNotFound", "gone")
    book.write([fault], [])
    assert [each.user_id for each in book.news() or []] == ["ann"]
    book.write([], [fault])
    assert book.news() == []


def test_a_server_adds_to_costs(server: ServerRegistry, roles: Roles) -> None:
    book, day = CostBook(roles.engine("server")), date(2026, 11, 30)
    for _ in range(2):
        book.add("s1", day, [Cost("ann", 1, 0, 0.5, 1.0)])
    assert book.between(day, day) == [Cost("ann", 2, 0, 1.0, 2.0)]


def _policies(roles: Roles) -> list[tuple[Any, ...]]:
    query = (
        "SELECT tablename, cmd, roles::text, qual, with_check FROM pg_policies "
        "WHERE schemaname = current_schema() ORDER BY 1, 2, 3"
    )
    with reading(roles.open(roles.url)) as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def _as_before_costs(roles: Roles) -> None:
    """Leave the table as a release does that brought it after the roles were made."""
    with writing(roles.open(roles.url)) as connection:
        for command in ("select", "insert", "update", "delete"):
            connection.exec_driver_sql(f'DROP POLICY "{roles.prefix}_server_{command}" ON costs')
        connection.exec_driver_sql("ALTER TABLE costs DISABLE ROW LEVEL SECURITY")


def _wrong(roles: Roles) -> list[str]:
    return [
        finding.text
        for finding in check(roles.open(roles.url))
        if "rows of other servers" in finding.text and not finding.sound
    ]


def test_a_table_that_came_after_the_roles_is_guarded_by_the_migration(
    operator: OperatorRegistry, roles: Roles
) -> None:
    """By the operator's own role, which owns the tables."""
    before = _policies(roles)
    assert _wrong(roles) == []
    _as_before_costs(roles)
    with writing(roles.engine("operator")) as connection:
        granting.refresh(connection)
    assert _policies(roles) == before
    assert _wrong(roles) == []


def test_where_none_guards_it_the_check_says_what_to_do(operator: OperatorRegistry, roles: Roles) -> None:
    before = _policies(roles)
    _as_before_costs(roles)
    (found,) = _wrong(roles)
    assert "in costs: run `tenantry registry grant` again" in found
    roles.grant()
    assert _wrong(roles) == []
    assert _policies(roles) == before


def test_a_server_reads_keys_and_makes_none(server: ServerRegistry, roles: Roles) -> None:
    KeyBook(roles.engine("operator")).create(["ann"], Scope.PREDICT, None)
    book = KeyBook(roles.engine("server"))
    assert [key.users for key in book.all()] == [("ann",)]
    assert book.mark() != 0
    with pytest.raises(RegistryUnavailable, match="permission denied"):
        book.create(["*"], Scope.ADMIN, None)


FORBIDDEN = [
    table
    for table in schema.metadata.tables.values()
    if table.name not in ("servers", "loads", "faults", "strikes", "hot", "costs")
]


@pytest.mark.parametrize("table", FORBIDDEN, ids=lambda table: table.name)
def test_a_server_can_not_change_what_others_are_answered_with(
    server: ServerRegistry, roles: Roles, table: Any
) -> None:
    engine = roles.engine("server")
    first = next(iter(table.columns))
    for statement in (
        update(table).values({first.name: first}),
        delete(table),
        insert(table).from_select([column.name for column in table.columns], select(table)),
    ):
        with pytest.raises(RegistryUnavailable, match="permission denied"), writing(engine) as connection:
            connection.execute(statement)


def test_a_server_with_a_role_of_its_own_writes_no_row_of_another(
    server: ServerRegistry, roles: Roles
) -> None:
    passwords = roles.grant("--server-id", "mine")
    name = f"{roles.prefix}_server_mine"
    engine = roles.engine("server_mine", passwords[name])
    mine = ServerRegistry(engine, "mine", endpoint="http://mine", capacity_bytes=1)
    for call in CALLS.values():
        call(mine)
    server.renew(lease_s=10.0, acked_revision=1, report=ServerReport())
    other = ServerRegistry(engine, "s1", endpoint="http://robber", capacity_bytes=1)
    for name in ("report", "remember_hot"):
        with pytest.raises(RegistryUnavailable, match="row-level security"):
            CALLS[name](other)
    with pytest.raises(RegistryUnavailable, match="row-level security"):
        CostBook(engine).add("s1", date(2026, 11, 30), [Cost("ann", 1, 0, 0.0, 0.0)])
    with pytest.raises(ServerIdTaken):  # it sees the row, and can't change it
        CALLS["renew"](other)
    with writing(engine) as connection:  # to act as the role that servers share is of no use
        connection.exec_driver_sql(f'SET ROLE "{roles.prefix}_server"')
        with pytest.raises(ProgrammingError, match="row-level security"), connection.begin_nested():
            connection.execute(insert(schema.hot).values(server_id="s2", user_ids=[], seen_at=0))
    other.release()
    with reading(engine) as connection:
        endpoints = connection.execute(select(schema.servers.c.endpoint)).scalars().all()
    assert endpoints == ["http://s1"]


def test_granting_again_keeps_the_passwords(roles: Roles) -> None:
    assert set(roles.grant().values()) == {"(as before)"}


def test_an_upgrade_gives_servers_the_rights_on_new_tables(
    roles: Roles, operator: OperatorRegistry
) -> None:
    engine = roles.engine("operator")
    role = f"{roles.prefix}_server"
    with writing(engine) as connection:  # as if the table had come with this upgrade
        connection.exec_driver_sql(f'REVOKE ALL ON faults FROM "{role}"')
    migrate(engine)
    assert FaultBook(roles.engine("server")).news() == []


def test_sqlite_has_no_roles(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/registry.db"
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    result = CliRunner().invoke(command, ["grant", "--registry", url])
    assert "only PostgreSQL has roles" in str(result.exception)
