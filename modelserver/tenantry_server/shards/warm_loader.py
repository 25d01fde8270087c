"""Loads the models of given users, a few at a time and only as many as fit; others decide which."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from tenantry import TenantryError
from tenantry.errors import ArtifactUnavailable
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.memory.resident import Resident
from tenantry_server.shards import regression

log = structlog.get_logger(__name__)

_TRIES = 4
_AGAIN_S = 1.0
_MOST_ERRORS = 1000
_THIRDS = 3
_PARALLEL = 3  # of the four threads that load: one is left for requests
SHARE = 0.9
"""Share of the model cache: models loaded beyond it would soon evict those loaded first."""


@dataclass(slots=True)
class Tally:
    """The counts of one round.

    Attributes:
        loaded_bytes: in memory, together.
        left: models that did not fit.
        errors: by user, of the first thousand that failed.
    """

    loaded: int = 0
    loaded_bytes: int = 0
    failed: int = 0
    left: int = 0
    errors: dict[str, Exception] = field(default_factory=dict)


class Warmer:
    """Loads models into the model cache before any request; there they are like any other.

    Args:
        table: who has which model.
        models: the model cache, whose bound is respected.
        load: loads a model into the cache.
        elsewhere: returns which of these users' models other servers have in memory.
    """

    def __init__(
        self,
        table: RoutingTable,
        models: CachedModelRepository,
        load: Callable[[str], Awaitable[Resident]],
        elsewhere: Callable[[Collection[str]], Awaitable[Collection[str]]],
    ) -> None:
        self._table = table
        self._models = models
        self._load = load
        self._elsewhere = elsewhere

    async def warm(self, users: Iterable[str], *, share: float = SHARE) -> Tally:
        """Load the models that are not in memory yet, in this order; count and log failures.

        Args:
            share: of the model cache, how much may be loaded now.
        """
        tally = Tally()
        left = iter(users)
        room_bytes = self._models.capacity_bytes * share
        async with asyncio.TaskGroup() as group:
            for _ in range(_PARALLEL):
                group.create_task(self._work(left, tally, room_bytes))
        if tally.failed or tally.left:
            log.warning("not everything could be prewarmed", failed=tally.failed, without_room=tally.left)
        return tally

    async def worse(self, tally: Tally) -> Collection[str]:
        """Return the users whose model this server can't read, and another one has in memory."""
        suspects = regression.unreadable(tally.errors)
        return await self._elsewhere(suspects) if suspects else ()

    def rank(self, users: Sequence[str]) -> None:
        """Count the models of these users as used, so that those that come last here are given up first.

        The last of all is touched first, which a policy goes by that knows when a model was used, and the
        first third three times, which one goes by that knows how often.
        """
        for thirds in range(_THIRDS, 0, -1):
            for user_id in reversed(users[: -(-len(users) * thirds // _THIRDS)]):
                model_id = self._table.model_of(user_id)
                if model_id is not None:
                    self._models.touch(model_id)

    async def _patiently(self, model_id: str) -> Resident:
        """Load a model; wait where the store can't be reached, as the next load would fail as well."""
        for _ in range(_TRIES - 1):
            try:
                return await self._load(model_id)
            except ArtifactUnavailable as error:
                if error.reached:
                    raise
            await asyncio.sleep(_AGAIN_S)
        return await self._load(model_id)

    async def _work(self, users: Iterator[str], tally: Tally, room_bytes: float) -> None:
        for user_id in users:
            assignment = self._table.get(user_id)  # the present one
            model_id = None if assignment is None else assignment.model_id
            if assignment is None or model_id is None or model_id in self._models:
                await asyncio.sleep(0)  # lets other tasks run, where there are many
                continue
            if tally.loaded_bytes + (assignment.size_bytes or 0) > room_bytes:
                tally.left += 1
                continue
            try:
                resident = await self._patiently(model_id)
            except Exception as error:
                # A loader is a stranger's code and may raise anything. The first failure is logged in full.
                reason = error.reason if isinstance(error, TenantryError) else type(error).__name__
                write_log = log.debug if tally.failed else log.warning
                write_log("prewarming failed", user=user_id, reason=reason, error=str(error))
                tally.failed += 1
                if len(tally.errors) < _MOST_ERRORS:
                    tally.errors[user_id] = error.with_traceback(None)
            else:
                tally.loaded += 1
                tally.loaded_bytes += resident.size_bytes
