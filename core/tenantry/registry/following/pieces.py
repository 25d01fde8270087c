"""Reads the whole registry in pieces, so that no process holds a million rows of SQL at once.

Each piece is a statement of its own, after the last user of the piece before. Rows may be newer than the
revision that the first piece names, never older: what changed meanwhile comes with `changes_since`.
"""

from collections.abc import Iterator
from dataclasses import fields

from sqlalchemy import Connection, Engine, select

from tenantry.registry import history
from tenantry.registry import schema as t
from tenantry.registry.engine import reading
from tenantry.registry.rows import Assignment, Changes
from tenantry.registry.sql import shard_map

ROWS = 10_000
"""Of a piece: some ten milliseconds of either database, and 6 MB until the next one."""

_COLUMNS = [t.assignments.c[column.name] for column in fields(Assignment)]


def pieces(engine: Engine, *, rows: int = ROWS) -> Iterator[Changes]:
    """Read everything; tombstones are left out.

    Returns:
        the first piece, which is complete and has the shard map; then more rows of the same revision.

    Raises:
        HistoryChanged: the registry is another one by the end.
        RegistryUnavailable: the database did not answer; begin again.
    """
    with reading(engine) as connection:
        # The counter first: revisions are committed in order, so whatever it covers is visible
        # to the statements that follow.
        revision, token = history.newest(connection, -1, None)
        spread = {row.user_id: row.replicas for row in connection.execute(select(t.spread))}
        shards = shard_map(connection)
        found = _after(connection, None, rows)
    yield Changes(revision, True, found, shards, spread, token)
    if len(found) < rows:
        return
    while len(found) == rows:
        last = found[-1].user_id
        with reading(engine) as connection:
            found = _after(connection, last, rows)
        yield Changes(revision, False, found, {}, token=token)
    with reading(engine) as connection:
        history.newest(connection, revision, token)


def _after(connection: Connection, user_id: str | None, rows: int) -> list[Assignment]:
    query = select(*_COLUMNS).where(t.assignments.c.deleted.is_(False))
    if user_id is not None:
        query = query.where(t.assignments.c.user_id > user_id)
    found = connection.execute(query.order_by(t.assignments.c.user_id).limit(rows))
    return [Assignment(*row) for row in found]  # by place: names take three times as long
