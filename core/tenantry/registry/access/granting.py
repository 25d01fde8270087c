"""Two PostgreSQL roles: the operator's owns the tables, and a server's can't say who has which model.

A server's role reads what servers follow, and writes only what servers report. Servers may share one role,
or each have a role of its own, which writes no row of another server.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from secrets import token_hex

from sqlalchemy import Connection, Engine

from tenantry.errors import RegistryMismatch
from tenantry.registry import schema as t
from tenantry.registry.engine import writing

_READ = (
    t.leader,
    t.history,
    t.assignments,
    t.claims,
    t.shard_map,
    t.spread,
    t.api_keys,
    t.key_marks,
)
_WRITTEN = (t.servers, t.loads, t.faults, t.strikes, t.hot, t.costs)
# Each row is of one server; but it removes faults of servers that are gone.
_OWN = (t.servers, t.loads, t.hot, t.costs)
_MIGRATIONS = "alembic_version"
_NAME_BYTES = 63  # PostgreSQL cuts longer ones


@dataclass(frozen=True, slots=True)
class Role:
    """A role that may log in.

    Attributes:
        password: new, and stored nowhere else; None: the role was there before.
    """

    name: str
    password: str | None


def grant(engine: Engine, *, prefix: str, server_ids: Collection[str] = ()) -> list[Role]:
    """Make the roles of the operator and of servers, or bring their rights up to date.

    Args:
        engine: a registry whose tables exist, as a user that may make roles and owns the tables.
        prefix: of the roles' names: PREFIX_operator and PREFIX_server.
        server_ids: servers that get a role of their own, PREFIX_server_ID.

    Raises:
        RegistryMismatch: it is not on PostgreSQL, or a name is too long.
        RegistryUnavailable: the database did not answer, or refused.
    """
    if engine.dialect.name != "postgresql":
        raise RegistryMismatch("only PostgreSQL has roles; on one machine, file permissions guard SQLite")
    operator, servers = f"{prefix}_operator", f"{prefix}_server"
    own = [f"{servers}_{server_id}" for server_id in sorted(server_ids)]
    for name in (operator, servers, *own):
        if len(name.encode()) > _NAME_BYTES:
            raise RegistryMismatch(f"a role's name has at most {_NAME_BYTES} bytes, {name!r} has more")
    with writing(engine) as connection:
        roles = [_role(connection, name) for name in (operator, servers, *own)]
        for statement in (*_operators(connection, operator), *_servers(connection, servers)):
            connection.exec_driver_sql(statement)
        for name in own:
            connection.exec_driver_sql(f"GRANT {_quoted(servers)} TO {_quoted(name)}")
    return roles


def refresh(connection: Connection) -> None:
    """After a migration, give each role of servers its rights on the tables that came, and no others."""
    found = connection.exec_driver_sql(
        "SELECT rolname FROM pg_roles WHERE NOT rolsuper AND rolname <> current_user "
        "AND has_table_privilege(oid, 'servers', 'UPDATE') "
        "AND NOT has_table_privilege(oid, 'assignments', 'UPDATE')"
    )
    for name in found.scalars().all():
        for statement in _rights(name):
            connection.exec_driver_sql(statement)
    tables = [name for name in unguarded(connection) if _is_owned(connection, name)]
    if tables:
        for name in _guarded_roles(connection):
            for statement in _policies(name, tables):
                connection.exec_driver_sql(statement)


def unguarded(connection: Connection) -> list[str]:
    """Return the tables in which a server's role may write rows of other servers; none without roles.

    A release that adds such a table to a registry whose roles were made before leaves it so, where another
    user than the tables' owner migrates.
    """
    found = connection.exec_driver_sql(
        "SELECT relname FROM pg_class "
        "WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relrowsecurity"
    )
    guarded = set(found.scalars())
    own = [table.name for table in _OWN]
    return [name for name in own if name not in guarded] if guarded.intersection(own) else []


def _is_owned(connection: Connection, table: str) -> bool:
    """Return whether the connection's user may change who writes what in a table."""
    return bool(
        connection.exec_driver_sql(
            "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class "
            "WHERE relnamespace = current_schema()::regnamespace AND relname = %s",
            (table,),
        ).scalar_one()
    )


def _guarded_roles(connection: Connection) -> list[str]:
    """Return the roles that servers share, as `grant` named them in its policies."""
    found = connection.exec_driver_sql(
        "SELECT DISTINCT unnest(roles)::text FROM pg_policies "
        "WHERE schemaname = current_schema() AND tablename = 'servers' AND cmd = 'INSERT'"
    )
    return [str(name) for name in found.scalars()]


def _role(connection: Connection, name: str) -> Role:
    known = connection.exec_driver_sql("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).scalar()
    if known:
        return Role(name, None)
    password = token_hex(24)  # of digits and letters: it needs no quoting, here or in a URL
    connection.exec_driver_sql(f"CREATE ROLE {_quoted(name)} LOGIN PASSWORD '{password}'")
    return Role(name, password)


def _operators(connection: Connection, name: str) -> Iterator[str]:
    """It migrates, so it owns."""
    role = _quoted(name)
    schema = _quoted(str(connection.exec_driver_sql("SELECT current_schema()").scalar_one()))
    yield f"GRANT {role} TO CURRENT_USER"
    yield f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}"
    for table in (*t.metadata.tables, _MIGRATIONS):
        yield f"ALTER TABLE {_quoted(table)} OWNER TO {role}"


def _servers(connection: Connection, name: str) -> Iterator[str]:
    schema = _quoted(str(connection.exec_driver_sql("SELECT current_schema()").scalar_one()))
    yield f"GRANT USAGE ON SCHEMA {schema} TO {_quoted(name)}"
    yield from _rights(name)
    yield from _policies(name, [table.name for table in _OWN])


def _policies(name: str, tables: Collection[str]) -> Iterator[str]:
    """In these tables, servers with a role of their own write their own rows alone."""
    prefix = f"{name}_".replace("'", "''")
    own = f"(session_user = '{prefix[:-1]}' OR server_id = substr(session_user, {len(name) + 2}))"
    for table in tables:
        yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
        for command, rule in (
            ("SELECT", "USING (true)"),
            ("INSERT", f"WITH CHECK {own}"),
            ("UPDATE", f"USING {own} WITH CHECK {own}"),
            ("DELETE", f"USING {own}"),
        ):
            policy = _quoted(f"{name}_{command.lower()}"[:_NAME_BYTES])
            whom = "PUBLIC" if command == "SELECT" else _quoted(name)
            yield f"DROP POLICY IF EXISTS {policy} ON {table}"
            yield f"CREATE POLICY {policy} ON {table} FOR {command} TO {whom} {rule}"


def _rights(name: str) -> Iterator[str]:
    role = _quoted(name)
    read = ", ".join([*(table.name for table in (*_READ, *_WRITTEN)), _MIGRATIONS])
    yield f"GRANT SELECT ON {read} TO {role}"
    yield f"GRANT INSERT, UPDATE, DELETE ON {', '.join(table.name for table in _WRITTEN)} TO {role}"
    yield f"GRANT USAGE ON SEQUENCE strikes_id_seq TO {role}"


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""').replace("%", "%%")  # the driver reads % as a placeholder
    return f'"{doubled}"'
