"""Drops misplaced models, so that each model is in the memory of its holders only."""

import asyncio
from collections.abc import Sequence

import structlog

from tenantry.registry import Assignment, Changes
from tenantry.runtime import set_within
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.peers.view import FleetView

log = structlog.get_logger(__name__)

_LET_GO_S = 5.0  # peers pass requests on to this server until they have read who owns the shards now


class Strays:
    """Drops models that belong to other servers, some seconds after shards have moved.

    A model is also misplaced where its holder did not answer a request, and this server did.

    Args:
        table: every user's model.
        models: the memory.
        view: knows which models belong here.
        every_s: between checks where no shard moves.
    """

    def __init__(
        self,
        table: RoutingTable,
        models: CachedModelRepository,
        holders: FleetView,
        *,
        every_s: float = 60.0,
    ) -> None:
        self._table = table
        self._models = models
        self._holders = holders
        self._every_s = every_s
        self._moved = asyncio.Event()

    def changed(self, changes: Changes) -> None:
        """Changes were applied to the table; called on the event loop."""
        if changes.shards:
            self._moved.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            if await set_within(self._moved, self._every_s):
                self._moved.clear()
                await asyncio.sleep(_LET_GO_S)
            await self.let_go()

    async def let_go(self) -> None:
        """Drop misplaced models now."""
        if len(self._models) == 0:
            return
        assignments = list(self._table)  # copied here, where nothing changes it meanwhile
        gone = await asyncio.to_thread(self._let_go, assignments)
        if gone:
            log.info("dropped misplaced models", models=gone)

    def _let_go(self, assignments: Sequence[Assignment]) -> int:
        inside = set(self._models.most_wanted(len(self._models)))
        wanted: set[str] = set()
        strays: set[str] = set()
        for assignment in assignments:
            if assignment.model_id in inside:
                kept = self._holders.keeps(assignment.user_id)
                (wanted if kept else strays).add(assignment.model_id)
        strays -= wanted  # several users may share one model
        for model_id in strays:
            self._models.discard(model_id)
        return len(strays)
