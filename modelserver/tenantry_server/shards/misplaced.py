"""Drops misplaced models, so that only the servers that should hold a model do."""

import asyncio
from collections.abc import Mapping

import structlog

from tenantry.processes.runtime import set_within
from tenantry.registry import Changes
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.peers.view import FleetView

log = structlog.get_logger(__name__)

_GRACE_S = 5.0  # peers pass requests on to this server until they have read who owns the shards now


class MisplacedModels:
    """Drops models that belong to other servers, some seconds after shards have moved.

    A model is also misplaced where its holder did not answer a request, and this server did.

    Args:
        table: every user's model.
        models: the model cache.
        view: knows which models belong here.
        every_s: between checks where no shard moves.
    """

    def __init__(
        self,
        table: RoutingTable,
        models: CachedModelRepository,
        view: FleetView,
        *,
        every_s: float = 60.0,
    ) -> None:
        self._table = table
        self._models = models
        self._view = view
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
                await asyncio.sleep(_GRACE_S)
            await self.drop_now()

    async def drop_now(self) -> None:
        """Drop misplaced models now."""
        if len(self._models) == 0:
            return
        gone = await asyncio.to_thread(self._drop, self._table.assigned())
        if gone:
            log.info("dropped misplaced models", models=gone)

    def _drop(self, assigned: Mapping[str, str | None]) -> int:
        inside = set(self._models.most_wanted(len(self._models)))
        wanted: set[str] = set()
        misplaced: set[str] = set()
        for user_id, model_id in assigned.items():
            if model_id in inside:
                (wanted if self._view.keeps(user_id) else misplaced).add(model_id)
        misplaced -= wanted  # several users may share one model
        for model_id in misplaced:
            self._models.discard(model_id)
        return len(misplaced)
