"""Knows whom this server answers, how often, and keeps it in the registry for the time after a restart."""

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import nsmallest

import structlog

from tenantry.errors import RegistryUnavailable
from tenantry.placement import shard_of
from tenantry.registry import Assignment, ServerRegistry
from tenantry_server.cache import CachedModelRepository
from tenantry_server.routes import RoutingTable

log = structlog.get_logger(__name__)


class HotUsers:
    """Those who were asked for most often lately; among equals, whose models would be given up last.

    Requests are counted where models are measured anyway, and halved with each note: at least half of what
    counts is of the time since the one before.

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
        self._asked = -1
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
        """The users of these shards whose models are in memory, the most important first."""
        return await asyncio.to_thread(self._in_memory, list(self._table), shards)

    async def recall(self) -> Mapping[str, Mapping[str, int]]:
        """As `ServerRegistry.hot`; empty where the registry does not answer."""
        if not self._limit:
            return {}
        try:
            return await asyncio.to_thread(self._registry.hot)
        except RegistryUnavailable as error:
            log.warning("nobody knows what was used last", error=str(error))
            return {}

    def _in_memory(self, assignments: Sequence[Assignment], shards: Collection[int]) -> list[str]:
        return list(
            _by_users(self._models.requests(), [a for a in assignments if shard_of(a.user_id) in shards])
        )

    def _remember(self, assignments: Sequence[Assignment]) -> None:
        asked = self._models.counts.hits + self._models.counts.misses
        if asked == self._asked:
            return  # a server that was asked nothing knows nothing better
        hot = _by_users(self._models.requests(halve=True), assignments, self._limit)
        if hot and list(hot) != self._kept:
            self._registry.remember_hot(hot)
            self._kept = list(hot)
        self._asked = asked


def _by_users(
    requests: Mapping[str, int], assignments: Iterable[Assignment], limit: int | None = None
) -> dict[str, int]:
    """Users by the requests of their models, most first; among equals, in the order of the models."""
    places = {model_id: place for place, model_id in enumerate(requests)}
    found = ((-requests[m], places[m], a.user_id) for a in assignments if (m := a.model_id) in places)
    ranked = sorted(found) if limit is None else nsmallest(limit, found)
    return {user_id: -negative for negative, _, user_id in ranked}
