"""Counts the users that this server answers, and keeps the busiest in the registry for the next start."""

import asyncio
import contextlib
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from heapq import nsmallest

import structlog

from tenantry.errors import RegistryUnavailable
from tenantry.placement import shard_of
from tenantry.registry import ServerRegistry
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.kept import KeptModels

log = structlog.get_logger(__name__)


class HotUsers:
    """The users that were asked for most often lately; among equals, those whose models are evicted last.

    Requests count for the user, whichever version answers. Each write halves the earlier counts.

    Args:
        registry: this server's view.
        table: whose models these are.
        models: the model cache.
        limit: how many users are kept; 0: none are kept or read.
        every_s: between two writes; counts since the last write are lost with the process.
    """

    def __init__(
        self,
        registry: ServerRegistry,
        table: RoutingTable,
        models: KeptModels,
        *,
        limit: int,
        every_s: float,
    ) -> None:
        self._registry = registry
        self._table = table
        self._models = models
        self._limit = limit
        self._every_s = every_s
        self._lately: Mapping[str, int] = {}
        self._noted = False
        self._begun = False

    async def run(self, begun: asyncio.Event) -> None:
        """Write the counts now and then, until cancelled.

        Args:
            begun: nothing is written before, as the model cache does not hold the former hot users yet.
        """
        await begun.wait()
        self._begun = True
        while self._limit:
            await asyncio.sleep(self._every_s)
            await self.remember()

    async def remember(self) -> None:
        """Write the counts now, unless it is too early; don't wait for a registry that does not answer."""
        if not self._begun or not self._limit:
            return
        with contextlib.suppress(RegistryUnavailable):  # the follower logs it
            # Sorted in a thread, as there may be many.
            await asyncio.to_thread(self._remember, self._table.assigned())

    async def in_memory(self, shards: Collection[int]) -> list[str]:
        """Return the users of these shards whose models are in memory, the most important first."""
        return await asyncio.to_thread(self._in_memory, self._table.assigned(), shards)

    async def recall(self) -> Mapping[str, Mapping[str, int]]:
        """Return `ServerRegistry.hot`; empty where the registry does not answer."""
        if not self._limit:
            return {}
        try:
            hot = await asyncio.to_thread(self._registry.hot)
        except RegistryUnavailable as error:
            log.warning("the users that were answered last are unknown", error=str(error))
            return {}
        own = hot.get(self._registry.server_id)
        if own and not self._begun:  # counted by the process before this one
            self._lately, self._noted = own, True
        return hot

    def _in_memory(self, assigned: Mapping[str, str | None], shards: Collection[int]) -> list[str]:
        requests = _requests(self._models)
        asked = {user: model for user, model in _among(requests, assigned) if shard_of(user) in shards}
        counts = {user: requests[model] + self._lately.get(user, 0) for user, model in asked.items()}
        return _most(len(asked), asked, requests, counts)

    def _remember(self, assigned: Mapping[str, str | None]) -> None:
        requests = _requests(self._models, reset=True)
        if self._noted and not any(requests.values()):
            return  # a server that answered nothing knows nothing better
        asked = dict(_among(requests, assigned))
        counts = {user: requests[model] + self._lately.get(user, 0) // 2 for user, model in asked.items()}
        self._lately = {user_id: count for user_id, count in counts.items() if count}
        hot = _most(self._limit, asked, requests, counts)
        if hot:
            self._registry.remember_hot({user_id: counts[user_id] for user_id in hot})
            self._noted = True


def _requests(models: KeptModels, *, reset: bool = False) -> dict[str, int]:
    """Return the requests that each model in memory answered, what is given up last first.

    The models' lock is held to copy the order, and then briefly for each model.

    Args:
        models: those to ask.
        reset: count from 0 again.
    """
    found = {}
    for model_id in models.most_wanted(len(models)):
        resident = models.glance(model_id)
        if resident is not None:
            found[model_id] = resident.requests
            if reset:
                resident.requests = 0  # a request that is counted in between is lost
    return found


def _among(models: Container[str], assigned: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    """Return the users whose model is one of these, with it."""
    return ((user, model) for user, model in assigned.items() if model is not None and model in models)


def _most(
    limit: int, asked: Mapping[str, str], models: Iterable[str], counts: Mapping[str, int]
) -> list[str]:
    """Return the users with the highest counts; equals in the order of their `models`."""
    places = {model_id: place for place, model_id in enumerate(models)}
    found = ((-counts[user], places[model], user) for user, model in asked.items())
    # Not sorted: sorting a hundred thousand users holds the interpreter for a tenth of a second.
    return [user_id for *_, user_id in nsmallest(limit, found)]
