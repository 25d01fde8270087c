"""Loads models before anybody asks: at the start, and when a shard comes to this server.

Decides what, in which order and how much. What was used last is kept by `hot`; a new version of a model
is the candidates' business and no concern of this.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from tenantry import TenantryError
from tenantry.placement import owners, shard_of
from tenantry.registry import Changes
from tenantry_server.cache import CachedModelRepository, Resident
from tenantry_server.routes import RoutingTable

log = structlog.get_logger(__name__)

_PARALLEL = 3  # of the four threads that load: one is left for whoever asks meanwhile
_SHARE = 0.9  # of the memory: what is loaded beyond would soon push out what was loaded first

HotLists = Callable[[], Awaitable[Mapping[str, Sequence[str]]]]
"""Server id -> the users that it answered last, the most recent first."""


@dataclass(slots=True)
class _Tally:
    """What became of one round.

    Attributes:
        loaded_bytes: in memory, together.
        left: did not fit.
    """

    loaded: int = 0
    loaded_bytes: int = 0
    failed: int = 0
    left: int = 0


class Prewarmer:
    """Loads pinned tenants (`spec.prewarm`) of this server's shards, and at the start hot ones too.

    What it loads is in the cache as any other model, and leaves it as any other.

    Args:
        table: who has which model, and who holds which shard.
        models: the memory, whose bound is respected.
        load: gets a model into the memory.
        hot: asked once.
        server_id: this server's.
        wait_s: after so long it is `done` in any case, and goes on.
    """

    def __init__(
        self,
        table: RoutingTable,
        models: CachedModelRepository,
        load: Callable[[str], Awaitable[Resident]],
        hot: HotLists,
        *,
        server_id: str,
        wait_s: float,
    ) -> None:
        self._table = table
        self._models = models
        self._load = load
        self._hot = hot
        self._server_id = server_id
        self._wait_s = wait_s
        self._pinned: defaultdict[int, set[str]] = defaultdict(set)  # by shard
        self._begun = asyncio.Event()
        self._due: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._waited = False
        self.first_round_over = asyncio.Event()

    @property
    def done(self) -> bool:
        """Whether the server may call itself ready."""
        return self._waited or self.first_round_over.is_set()

    def changed(self, changes: Changes) -> None:
        """The table has taken these in; on the event loop."""
        if changes.complete:
            self._pinned.clear()
        for assignment in changes.assignments:
            pinned = assignment.prewarm and not assignment.deleted
            if pinned:
                self._pinned[shard_of(assignment.user_id)].add(assignment.user_id)
                if self._table.owner_of(assignment.user_id) == self._server_id:
                    self._due[assignment.user_id] = None
            elif not changes.complete:
                self._pinned[shard_of(assignment.user_id)].discard(assignment.user_id)
        for shard, holding in changes.shards.items():
            if holding.server_id == self._server_id:
                self._due.update(dict.fromkeys(self._pinned.get(shard, ())))
        self._begun.set()
        if self._due:
            self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        await self._begun.wait()
        timer = asyncio.get_running_loop().call_later(self._wait_s, self._stop_waiting)
        try:
            await self._first_round()
        finally:
            timer.cancel()
        self.first_round_over.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, {}
            await self._round(due)

    def _stop_waiting(self) -> None:
        log.warning("ready before everything is prewarmed; that goes on", after_s=self._wait_s)
        self._waited = True

    async def _first_round(self) -> None:
        began_s = time.monotonic()
        hot = await self._hot()
        self._due.clear()  # up to here all of it is in the table
        users = self._wanted(hot)
        tally = await self._round(users)
        for user_id in reversed(users):  # what matters most was used last: it goes last
            assignment = self._table.get(user_id)
            if assignment is not None and assignment.model_id is not None:
                self._models.touch(assignment.model_id)
        if users:
            seconds = round(time.monotonic() - began_s, 2)
            log.info("prewarmed", models=tally.loaded, bytes=tally.loaded_bytes, seconds=seconds)

    def _wanted(self, hot: Mapping[str, Sequence[str]]) -> list[str]:
        """Whom to load for, the most important first; the event loop is held for a millisecond per server.

        Pinned tenants of this server's shards; of those shards what any server answered last, as it may
        have held them; and what this server answered last, whoever holds it: it may be asked again.
        """
        mine = self._shards()
        rank: dict[str, int] = {}
        for users in hot.values():
            for place, user_id in enumerate(users):
                rank[user_id] = min(place, rank.get(user_id, place))
        pinned = [user_id for shard in mine for user_id in self._pinned.get(shard, ())]
        pinned.sort(key=lambda user_id: rank.get(user_id, len(rank)))
        owned = [user_id for user_id in sorted(rank, key=rank.__getitem__) if shard_of(user_id) in mine]
        return list(dict.fromkeys([*pinned, *owned, *hot.get(self._server_id, ())]))

    def _shards(self) -> set[int]:
        """Those that this server holds; before it is given any, those that it will be given."""
        holders = {shard: holding.server_id for shard, holding in self._table.holdings.items()}
        mine = {shard for shard, server_id in holders.items() if server_id == self._server_id}
        if mine:
            return mine
        soon = owners({*holders.values(), self._server_id})
        return {shard for shard, server_id in soon.items() if server_id == self._server_id}

    async def _round(self, users: Iterable[str]) -> _Tally:
        tally = _Tally()
        left = iter(users)
        async with asyncio.TaskGroup() as group:
            for _ in range(_PARALLEL):
                group.create_task(self._work(left, tally))
        if tally.failed or tally.left:
            log.warning("not everything could be prewarmed", failed=tally.failed, without_room=tally.left)
        return tally

    async def _work(self, users: Iterator[str], tally: _Tally) -> None:
        for user_id in users:
            assignment = self._table.get(user_id)  # as it is by now
            model_id = None if assignment is None else assignment.model_id
            if assignment is None or model_id is None or model_id in self._models:
                await asyncio.sleep(0)  # of many, each lets others have their turn
                continue
            expected_bytes = tally.loaded_bytes + (assignment.size_bytes or 0)
            if expected_bytes > self._models.capacity_bytes * _SHARE:
                tally.left += 1
                continue
            try:
                resident = await self._load(model_id)
            except Exception as error:
                # A loader is a stranger's code, so whatever it raises. The first one is told of in full.
                reason = error.reason if isinstance(error, TenantryError) else type(error).__name__
                tell = log.debug if tally.failed else log.warning
                tell("prewarming failed", user=user_id, reason=reason, error=str(error))
                tally.failed += 1
            else:
                tally.loaded += 1
                tally.loaded_bytes += resident.size_bytes
