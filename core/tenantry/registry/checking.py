"""Whether a registry is sound: what a person asks after a restore, a failover or an upgrade.

Owns the questions and their words. Refuses to write anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, select

from tenantry.errors import RegistryMismatch
from tenantry.registry import schema as t
from tenantry.registry.access.granting import unguarded
from tenantry.registry.engine import is_migrated, known_migrations, reading
from tenantry.registry.sql import servers_on

_NAMED = 5  # of what is wrong; the rest is counted


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    Attributes:
        text: what was seen; where that is wrong, what to do.
    """

    sound: bool
    text: str


def check(engine: Engine) -> list[Finding]:
    """Return what was found, the tables first; nothing more where these are of another version.

    Raises:
        RegistryUnavailable: the database did not answer.
    """
    try:
        migrated = is_migrated(engine)
    except RegistryMismatch as error:
        return [Finding(False, str(error))]
    if not migrated:
        return [
            Finding(False, "the tables are missing or of an older release; start an operator, it migrates")
        ]
    with reading(engine) as connection:
        return [
            Finding(True, f"the tables are at migration {known_migrations()[-1]}, as this version expects"),
            _session(connection),
            *_roles(connection),
            _leader(connection),
            _history(connection),
            *_rows(connection),
            *_servers(connection),
        ]


def _session(connection: Connection) -> Finding:
    if connection.dialect.name != "postgresql":
        return Finding(
            True, "the database is SQLite, so this machine can write it where the file allows that"
        )
    in_recovery = connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one()
    read_only = connection.exec_driver_sql("SHOW transaction_read_only").scalar_one() == "on"
    if in_recovery:
        return Finding(False, "this is a standby; let the URL name the primary")
    if read_only:
        return Finding(False, "the database takes no writes; nothing changes until it does")
    return Finding(True, "the database takes writes")


def _roles(connection: Connection) -> Iterator[Finding]:
    if connection.dialect.name != "postgresql":
        return
    tables = unguarded(connection)
    if tables:
        words = "run `tenantry registry grant` again, as the user who ran it before"
        yield Finding(
            False, f"each server's role may write rows of other servers in {_named(tables)}: {words}"
        )


def _leader(connection: Connection) -> Finding:
    row = connection.execute(select(t.leader)).one()
    if row.epoch == 0:
        return Finding(False, "no operator has led yet; start one")
    return Finding(True, f"{row.holder} leads since epoch {row.epoch} and follows {row.source}")


def _history(connection: Connection) -> Finding:
    newest = connection.execute(select(t.leader.c.revision)).scalar_one()
    ahead = 0
    for table in (t.assignments, t.shard_map, t.spread, t.history):
        ahead = max(ahead, connection.execute(select(func.max(table.c.revision))).scalar_one() or 0)
    if ahead > newest:
        words = "so servers would miss later changes; restore the database whole, from one backup"
        return Finding(False, f"rows are at revision {ahead}, beyond the newest, {newest}; {words}")
    token = connection.execute(select(t.history.c.token).where(t.history.c.revision == newest)).scalar()
    if newest > 0 and token is None:
        words = "an operator of an older release wrote it; its next change has one"
        return Finding(True, f"the newest revision is {newest}, without a token: {words}")
    return Finding(True, f"the newest revision is {newest}")


def _rows(connection: Connection) -> Iterator[Finding]:
    declared = connection.execute(select(func.count()).select_from(t.claims)).scalar_one()
    ours = t.assignments.c
    joined = t.assignments.outerjoin(t.claims, t.claims.c.uid == ours.uid)
    query = (
        select(ours.user_id).select_from(joined).where(ours.deleted.is_(False), t.claims.c.uid.is_(None))
    )
    orphans = list(connection.execute(query.order_by(ours.user_id)).scalars())
    if orphans:
        words = "the operator ends these within TENANTRY_RESYNC_S; restart it to have that now"
        yield Finding(False, f"users without a TenantModel: {_named(orphans)}; {words}")
    yield Finding(True, f"{declared} TenantModels")


def _servers(connection: Connection) -> Iterator[Finding]:
    newest = connection.execute(select(t.leader.c.revision)).scalar_one()
    servers = servers_on(connection)
    behind = []
    for server in servers:
        if not server.live:
            yield Finding(True, f"{server.server_id}: its lease ended {-server.lease_left_s:.0f} s ago")
        elif server.acked_revision > newest:
            words = "of another history; it should notice within a second"
            yield Finding(
                False, f"{server.server_id} acknowledged revision {server.acked_revision}, {words}"
            )
        elif server.acked_revision < newest:
            behind.append(f"{server.server_id} (revision {server.acked_revision})")
        else:
            yield Finding(True, f"{server.server_id} has put the newest revision in force")
    if behind:
        words = "check again; a server that stays behind holds up Ready, and its log says why"
        yield Finding(False, f"not at the newest revision: {_named(behind)}; {words}")
    if not servers:
        yield Finding(True, "no model server has registered")


def _named(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
