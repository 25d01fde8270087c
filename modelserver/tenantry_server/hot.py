"""Knows whom this server answered last, and keeps it in the registry for the time after a restart."""

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence

import structlog

from tenantry.errors import RegistryUnavailable
from tenantry.placement import shard_of
from tenantry.registry import Assignment, ServerRegistry
from tenantry_server.cache import CachedModelRepository
from tenantry_server.routes import RoutingTable

log = structlog.get_logger(__name__)


class HotUsers:
    """Takes them from the order that the memory keeps anyway: a request costs nothing more.

    Args:
        registry: this server's view.
        table: whose models these are.
        models: the memory.
        limit: how many users are kept; 0: none, and none are read.
        every_s: between two writes; what was used since the last one is lost with the process.
    """

    def __init__(
        self,
        registry: ServerRegistry,
        table: RoutingTable,
        models: CachedModelRepository,
        *,
        limit: int,
        every_s: float,
    ) -> None:
        self._registry = registry
        self._table = table
        self._models = models
        self._limit = limit
        self._every_s = every_s
        self._kept: list[str] = []
        self._begun = False

    async def run(self, begun: asyncio.Event) -> None:
        """Keep them every now and then, until cancelled.

        Args:
            begun: nothing is kept before, as the memory does not hold yet what was kept last.
        """
        await begun.wait()
        self._begun = True
        while self._limit:
            await asyncio.sleep(self._every_s)
            await self.remember()

    async def remember(self) -> None:
        """Keep them now, unless it is too early; a registry that does not answer is not waited for."""
        if not self._begun or not self._limit:
            return
        # Copied here, where nothing changes it meanwhile; sorted in a thread, as there may be many.
        assignments = list(self._table)
        with contextlib.suppress(RegistryUnavailable):  # the follower says so
            await asyncio.to_thread(self._remember, assignments)

    async def in_memory(self, shards: Collection[int]) -> list[str]:
        """The users of these shards whose models are in memory, the most recently used first."""
        return await asyncio.to_thread(self._in_memory, list(self._table), shards)

    async def recall(self) -> Mapping[str, Sequence[str]]:
        """Server id -> the users that it answered last; empty where the registry does not answer."""
        if not self._limit:
            return {}
        try:
            return await asyncio.to_thread(self._registry.hot)
        except RegistryUnavailable as error:
            log.warning("nobody knows what was used last", error=str(error))
            return {}

    def _in_memory(self, assignments: Sequence[Assignment], shards: Collection[int]) -> list[str]:
        users = self._most_wanted(assignments, len(self._models))
        return [user_id for user_id in users if shard_of(user_id) in shards]

    def _most_wanted(self, assignments: Sequence[Assignment], limit: int) -> list[str]:
        place = {model_id: number for number, model_id in enumerate(self._models.most_wanted(limit))}
        users = sorted((place[a.model_id], a.user_id) for a in assignments if a.model_id in place)
        return [user_id for _, user_id in users]

    def _remember(self, assignments: Sequence[Assignment]) -> None:
        hot = self._most_wanted(assignments, self._limit)[: self._limit]
        if hot and hot != self._kept:  # a server that was asked nothing knows nothing better
            self._registry.remember_hot(hot)
            self._kept = hot
