"""How a server that was told to stop waits until its shards are in other hands."""

import asyncio
import time
from collections.abc import Callable

import structlog

from tenantry.errors import RegistryUnavailable
from tenantry.processes.logs import OnChange
from tenantry.registry import ServerRegistry
from tenantry_server.assignments.routing_table import RoutingTable

log = structlog.get_logger(__name__)

_CHECK_EVERY_S = 0.1


async def until_forgotten(at_least_s: float, hurried: Callable[[], bool] = lambda: False) -> None:
    """Return after `at_least_s`, or when `hurried`: clients may be sent here by what has not seen the stop.

    Kubernetes takes a pod out of its Services when it tells the pod to stop, and nodes follow a moment
    later. A server that had closed its port by then would refuse the connections of that moment.
    """
    until_s = time.monotonic() + at_least_s
    while not hurried():
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return
        await asyncio.sleep(min(_CHECK_EVERY_S, left_s))


async def until_handed_over(
    registry: ServerRegistry,
    table: RoutingTable,
    *,
    server_id: str,
    limit_s: float,
    hurried: Callable[[], bool] = lambda: False,
) -> None:
    """Return once this server owns no shard; it has reported before that it is leaving.

    Return at once where no other server could own them, or the registry does not answer; after `limit_s`
    in any case, as there may be no operator; and when `hurried`.
    """
    began_s = time.monotonic()
    waiting = OnChange(log)
    while time.monotonic() - began_s < limit_s and not hurried():
        held = sum(holding.server_id == server_id for holding in table.holdings.values())
        if held == 0:
            break
        if not await _another_server_stays(registry, server_id):
            log.info("there is no server to hand shards over to", shards=held)
            return
        waiting.info("answering until others have taken over", shards=held, at_most_s=limit_s)
        await asyncio.sleep(_CHECK_EVERY_S)
    else:
        if limit_s > 0:
            log.warning(
                "stopping with shards that were not handed over",
                after_s=round(time.monotonic() - began_s, 1),
            )
        return
    log.info("handed over", seconds=round(time.monotonic() - began_s, 2))


async def _another_server_stays(registry: ServerRegistry, server_id: str) -> bool:
    try:
        servers = await asyncio.to_thread(registry.servers)
    except RegistryUnavailable:
        return False
    return any(s.live and not s.report.leaving and s.server_id != server_id for s in servers)
