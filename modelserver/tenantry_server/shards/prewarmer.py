"""Decides which models to load before any request: at the start, and when shards come to this server.

`hot_users` keeps which users were answered last, and `warm_list` asks which models other servers have in
memory. New versions of models are loaded as candidates, and not here.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

import structlog

from tenantry.placement import owners, shard_of
from tenantry.registry import Changes, Holding
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.shards import regression
from tenantry_server.shards.warm_loader import SHARE, Tally, Warmer

log = structlog.get_logger(__name__)

HotLists = Callable[[], Awaitable[Mapping[str, Mapping[str, int]]]]
"""Return, by server id, the users that it answered lately with their requests, the busiest first."""

WarmUsers = Callable[[Collection[int]], Awaitable[Sequence[str]]]
"""From shards to their users whose models the owners have in memory, the most important first."""


class Prewarmer:
    """Loads pinned tenants (`spec.prewarm`) of this server's shards, and hot users of arriving shards.

    A shard arrives in one of two ways. Where its owner lives, this server is named the next owner, loads
    the models that are warm there, and reports `prepared_revision`; only then does the shard move. Where
    the owner is dead, the shard moves at once, and the users that the owner answered last are loaded
    afterwards. A model that is to be on several servers is loaded by each when it becomes a holder.

    Args:
        table: who has which model, and who owns which shard.
        warmer: loads the models.
        hot: returns the users that servers answered last, as they wrote down.
        warm: returns which models owners have in memory now.
        keeps: returns whether a user's model belongs here.
        server_id: this server's.
        wait_s: after this time it is `done` in any case, and goes on.

    Attributes:
        prepared: called when `prepared_revision` has grown.
    """

    prepared: Callable[[], None] = staticmethod(lambda: None)

    def __init__(
        self,
        table: RoutingTable,
        warmer: Warmer,
        *,
        hot: HotLists,
        warm: WarmUsers,
        keeps: Callable[[str], bool],
        server_id: str,
        wait_s: float,
    ) -> None:
        self._table = table
        self._warmer = warmer
        self._hot = hot
        self._warm = warm
        self._worse = False  # models that other servers have in memory can't be loaded here
        self._keeps = keeps
        self._server_id = server_id
        self._wait_s = wait_s
        self._pinned: defaultdict[int, set[str]] = defaultdict(set)  # by shard
        self._begun = asyncio.Event()
        self._due: dict[str, None] = {}
        self._held: set[int] = set()
        self._arriving: dict[int, int] = {}  # shard -> the revision that named this server the next owner
        self._orphans: set[int] = set()  # moved here without notice
        self._wake = asyncio.Event()
        self._waited = False
        self.first_round_over = asyncio.Event()
        self.prepared_revision = -1

    @property
    def done(self) -> bool:
        """Whether the server may call itself ready."""
        return self._waited or (self.first_round_over.is_set() and not self._worse)

    def changed(self, changes: Changes) -> None:
        """Changes were applied to the table; called on the event loop."""
        if changes.complete:
            self._pinned.clear()
            self._arriving.clear()
            self._held &= changes.shards.keys()
        for assignment in changes.assignments:
            pinned = assignment.prewarm and not assignment.deleted
            if pinned:
                self._pinned[shard_of(assignment.user_id)].add(assignment.user_id)
                if self._table.owner_of(assignment.user_id) == self._server_id:
                    self._due[assignment.user_id] = None
            elif not changes.complete:
                self._pinned[shard_of(assignment.user_id)].discard(assignment.user_id)
        self._take_shards(changes)
        if changes.shards:
            self._take_replicas(self._table.replicated)
        else:
            self._take_replicas((*(a.user_id for a in changes.assignments), *changes.spread))
        self._begun.set()
        if self._due or self._orphans or self._unprepared:
            self._wake.set()

    def servers_changed(self) -> None:
        """The set of servers changed, so this one may have become a holder of some users' models."""
        self._take_replicas(self._table.replicated)
        if self._due:
            self._wake.set()

    def _take_replicas(self, users: Iterable[str]) -> None:
        replicated = self._table.replicated
        self._due.update((user, None) for user in users if user in replicated and self._keeps(user))

    def _take_shards(self, changes: Changes) -> None:
        for shard, holding in changes.shards.items():
            if holding.server_id == self._server_id:
                self._due.update(dict.fromkeys(self._pinned.get(shard, ())))
                announced = self._arriving.get(shard)
                prepared = announced is not None and announced <= self.prepared_revision
                if shard not in self._held and not prepared:
                    self._orphans.add(shard)
                self._held.add(shard)
            else:
                self._held.discard(shard)
            if holding.next_id == self._server_id:
                self._arriving[shard] = holding.revision
            else:
                self._arriving.pop(shard, None)

    @property
    def _unprepared(self) -> bool:
        return any(revision > self.prepared_revision for revision in self._arriving.values())

    async def run(self) -> None:
        """Work until cancelled."""
        await self._begun.wait()
        timer = asyncio.get_running_loop().call_later(self._wait_s, self._stop_waiting)
        try:
            tally = await self._first_round()
            self._worse = await self._is_worse(tally)
        finally:
            if not self._worse:
                timer.cancel()
        self.first_round_over.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, {}
            await self._warmer.warm(due)
            orphans, self._orphans = self._orphans, set()
            if orphans:
                await self._warmer.warm(_hot_in(await self._hot(), orphans))
            if self._unprepared:
                await self._prepare()

    def _stop_waiting(self) -> None:
        if not self._worse:
            log.warning("ready before everything is prewarmed; that goes on", after_s=self._wait_s)
        self._waited = True

    async def _is_worse(self, tally: Tally) -> bool:
        """Return whether an upgrade should stop at this server: `done` is then late on purpose."""
        worse = await self._warmer.worse(tally)
        if not regression.is_one(tally.loaded + tally.failed, worse):
            return False
        user_id = min(worse)
        log.error(
            "not ready: models that other servers have in memory can't be loaded here",
            models=len(worse),
            user=user_id,
            error=str(tally.errors[user_id]),
            at_most_s=self._wait_s,
        )
        return True

    async def _first_round(self) -> Tally:
        began_s = time.monotonic()
        hot = await self._hot()
        self._due.clear()  # the table has all of it by now
        self._orphans.clear()
        users = self._wanted(hot)
        tally = await self._warmer.warm(users)
        self._warmer.rank(users)
        if users:
            seconds = round(time.monotonic() - began_s, 2)
            log.info("prewarmed", models=tally.loaded, bytes=tally.loaded_bytes, seconds=seconds)
        return tally

    async def _prepare(self) -> None:
        """Load what is warm at the owners of arriving shards, and report it."""
        began_s = time.monotonic()
        revision = self._table.revision
        shards = set(self._arriving)
        warm = await self._warm(shards)
        users = list(dict.fromkeys([*self._pinned_in(shards), *warm]))
        # Beside the shards owned already: each shard gets an equal part of the model cache.
        share = SHARE * len(shards) / (len(shards) + len(self._held))
        tally = await self._warmer.warm(users, share=share)
        self._warmer.rank(users)
        self.prepared_revision = revision
        self.prepared()
        seconds = round(time.monotonic() - began_s, 2)
        log.info("prepared shards", shards=len(shards), models=tally.loaded, seconds=seconds)

    def _wanted(self, hot: Mapping[str, Mapping[str, int]]) -> list[str]:
        """Return the users to load, the most important first; takes a millisecond per server.

        Pinned tenants of this server's shards; users of those shards that any server answered last, as it
        may have owned them; and users that this server answered last, whichever server owns them now.
        """
        mine = _owned_by(self._server_id, self._table.holdings)
        ranked = _hot_in(hot, mine)
        rank = {user_id: place for place, user_id in enumerate(ranked)}
        pinned = sorted(self._pinned_in(mine), key=lambda user_id: rank.get(user_id, len(rank)))
        return list(dict.fromkeys([*pinned, *ranked, *hot.get(self._server_id, ())]))

    def _pinned_in(self, shards: Collection[int]) -> list[str]:
        return [user_id for shard in shards for user_id in self._pinned.get(shard, ())]


def _owned_by(own_id: str, holdings: Mapping[int, Holding]) -> set[int]:
    """Return the shards that a server owns; before it is given any, those that it will be given."""
    holders = {shard: holding.server_id for shard, holding in holdings.items()}
    mine = {shard for shard, server_id in holders.items() if server_id == own_id}
    if mine:
        return mine
    soon = owners({*holders.values(), own_id})
    return {shard for shard, server_id in soon.items() if server_id == own_id}


def _hot_in(hot: Mapping[str, Mapping[str, int]], shards: Collection[int]) -> list[str]:
    """Return users of these shards, by their requests at all servers, then by their best place."""
    requests: Counter[str] = Counter()
    places: dict[str, int] = {}
    for users in hot.values():
        for place, (user_id, count) in enumerate(users.items()):
            if shard_of(user_id) in shards:
                requests[user_id] += count
                places[user_id] = min(place, places.get(user_id, place))
    return sorted(places, key=lambda user_id: (-requests[user_id], places[user_id]))
