"""What a registry need not keep: removed by the operator, in a transaction of its own."""

import time
from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, delete

from tenantry.registry import costs
from tenantry.registry import schema as t
from tenantry.registry.rows import Server


def sweep(
    connection: Connection,
    servers: Iterable[Server],
    *,
    newest: int,
    forget_servers_s: float,
    hot_until: ColumnElement[float],
) -> int:
    """Remove servers, hot users and costs of long ago, and tombstones that live servers have passed.

    A server whose lease ran out reads everything again, so only live ones hold tombstones back.

    Args:
        servers: all of them, with their leases judged.
        newest: the last revision.
        forget_servers_s: how long ago a lease has to have ended.
        hot_until: users that a server answered last before that time are forgotten.

    Returns:
        how many tombstones went.
    """
    servers = list(servers)
    for silent in servers:
        if silent.lease_left_s < -forget_servers_s:
            its = (t.servers.c.server_id == silent.server_id) & (t.servers.c.lease_until == silent.renewal)
            connection.execute(delete(t.servers).where(its))
    connection.execute(delete(t.hot).where(t.hot.c.seen_at < hot_until))
    oldest = costs.oldest_kept(time.time()).isoformat()
    connection.execute(delete(t.costs).where(t.costs.c.day < oldest))
    seen = min((server.acked_revision for server in servers if server.live), default=newest)
    connection.execute(delete(t.spread).where(t.spread.c.replicas <= 1, t.spread.c.revision <= seen))
    passed = delete(t.assignments).where(
        t.assignments.c.deleted.is_(True), t.assignments.c.revision <= seen
    )
    return connection.execute(passed).rowcount
