"""Keeps in the registry whom this server answered last, for the time after a restart."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

import structlog

from tenantry.errors import RegistryUnavailable
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

    async def recall(self) -> Mapping[str, Sequence[str]]:
        """Server id -> the users that it answered last; empty where the registry does not answer."""
        if not self._limit:
            return {}
        try:
            return await asyncio.to_thread(self._registry.hot)
        except RegistryUnavailable as error:
            log.warning("nobody knows what was used last", error=str(error))
            return {}

    def _remember(self, assignments: Sequence[Assignment]) -> None:
        wanted = self._models.most_wanted(self._limit)
        place = {model_id: number for number, model_id in enumerate(wanted)}
        users = sorted((place[a.model_id], a.user_id) for a in assignments if a.model_id in place)
        hot = [user_id for _, user_id in users[: self._limit]]
        if hot and hot != self._kept:  # a server that was asked nothing knows nothing better
            self._registry.remember_hot(hot)
            self._kept = hot
