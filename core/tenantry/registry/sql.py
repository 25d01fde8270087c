"""Statements and conversions that more than one view of the registry needs."""

import sys
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from tenantry.manifest import status
from tenantry.registry import schema as t
from tenantry.registry.engine import now_s, reading
from tenantry.registry.rows import Assignment, Claim, Holding, LoadReport, LoadState, Server, ServerReport


def upsert(engine: Engine, table: Table) -> Insert:
    """Make an INSERT that replaces the row with the same primary key."""
    if engine.dialect.name == "postgresql":
        insert: postgresql.Insert | sqlite.Insert = postgresql.insert(table)
    else:
        insert = sqlite.insert(table)
    keys = [column.name for column in table.primary_key]
    others = {c.name: insert.excluded[c.name] for c in table.columns if c.name not in keys}
    return insert.on_conflict_do_update(index_elements=keys, set_=others)


def values_of(row: Assignment | Claim | Holding) -> dict[str, Any]:
    """Return the value of each column; not by `dataclasses.asdict`, which copies documents deeply."""
    return {name: getattr(row, name) for name in _COLUMNS[type(row)]}


_COLUMNS: dict[type, list[str]] = {
    Assignment: [column.name for column in fields(Assignment)],
    Holding: [column.name for column in fields(Holding)],
    Claim: [column.name for column in t.claims.columns],
}


def assignment_from(row: Row[Any]) -> Assignment:
    """Read a row of `assignments`."""
    return Assignment(
        user_id=row.user_id,
        uid=row.uid,
        generation=row.generation,
        model_id=row.model_id,
        candidate_id=row.candidate_id,
        revision=row.revision,
        deleted=row.deleted,
        size_bytes=row.size_bytes,
        prewarm=row.prewarm,
        replicas=row.replicas,
        limits=sys.intern(row.limits),  # thousands of users have the same
    )


def servers_in(engine: Engine) -> list[Server]:
    """Return every server that has not been forgotten, live or not, by name.

    Leases are judged by the database's clock: enough to show them to people.
    """
    with reading(engine) as connection:
        return servers_on(connection)


def servers_on(connection: Connection) -> list[Server]:
    """As `servers_in`, within a transaction."""
    rows = connection.execute(_servers_query(connection.engine)).all()
    return [
        Server(
            row.server_id,
            row.endpoint,
            row.acked_revision,
            row.left,
            row.capacity_bytes,
            ServerReport(row.used_bytes, row.prepared_revision, row.leaving, row.load, row.busiest),
            renewal=row.lease_until,
            lease_s=row.lease_s,
        )
        for row in rows
    ]


_servers_queries: dict[str, Select[Any]] = {}  # by the dialect's name


def _servers_query(engine: Engine) -> Select[Any]:
    """Build it once: servers ask every second, and to build it costs more than to run it."""
    query = _servers_queries.get(engine.dialect.name)
    if query is None:
        left = (t.servers.c.lease_until - now_s(engine)).label("left")
        query = select(t.servers, left).order_by(t.servers.c.server_id)
        _servers_queries[engine.dialect.name] = query
    return query


def shard_map(connection: Connection) -> dict[int, Holding]:
    """Read the whole shard map."""
    return {row.shard: holding_from(row) for row in connection.execute(select(t.shard_map))}


def holding_from(row: Row[Any]) -> Holding:
    """Read a row of `shard_map`."""
    return Holding(row.server_id, row.next_id, row.revision)


def report_from(row: Row[Any]) -> LoadReport:
    """Return the report that a row of `loads` is."""
    return LoadReport(
        row.user_id,
        row.server_id,
        row.model_id,
        LoadState(row.state),
        row.size_bytes,
        row.reason,
        row.message,
    )


def claim_from(row: Row[Any]) -> Claim:
    """Read a row of `claims`."""
    said, since = status.read(
        row.conditions,
        observed_generation=row.observed_generation,
        model_id=row.model_id,
        size_bytes=row.size_bytes,
    )
    return Claim(
        uid=row.uid,
        namespace=row.namespace,
        name=row.name,
        user_id=row.user_id,
        created_at=row.created_at,
        generation=row.generation,
        spec=row.spec,
        status=said,
        since=since,
        origin=row.origin,
    )


def storable(text: str, limit: int) -> str:
    """Make a stranger's text fit any database: no NUL, no half of a character, not endless."""
    return text.replace("\0", "\\0").encode(errors="backslashreplace").decode()[:limit]
