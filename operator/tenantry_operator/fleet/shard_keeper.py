"""Keeps the shard map in SQL: the owner of each shard, and the next owner.

A move between live servers is announced first: the new owner loads the hot users while the old one answers,
and takes over when it reports that it is prepared. The shards of a server that is gone move at once.
`placement` decides which server is best, and `membership` which are there.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from tenantry import placement
from tenantry.placement import SHARDS
from tenantry.registry import Holding, OperatorRegistry, Server
from tenantry_operator.fleet.membership import Membership, Standing
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.settings import OperatorSettings

log = structlog.get_logger(__name__)

_WEIGH_EVERY_S = 60.0  # tenants grow, and a server may come to hold far too much


class ShardKeeper:
    """Writes the map under the operator's epoch, and only what changes.

    This process holds no state of its own: another operator goes on from the stored map.

    Args:
        registry: led by this operator.
        settings: of the operator.
        metrics: of the operator.
        weigh: bytes of each shard's tenants.
        is_leaving: whether a server is about to go that does not know it yet.
    """

    def __init__(
        self,
        registry: OperatorRegistry,
        settings: OperatorSettings,
        metrics: OperatorMetrics,
        weigh: Callable[[], Sequence[int]],
        is_leaving: Callable[[str], bool],
    ) -> None:
        now_s = time.monotonic()
        self._registry = registry
        self._metrics = metrics
        self._weigh = weigh
        self._handover_s = settings.handover_s
        self._map = {shard: row for shard, row in registry.shards().items() if shard in range(SHARDS)}
        self._owners = _owners(self._map)
        self._members = Membership(
            self._owners,
            rebalance_after_s=settings.rebalance_after_s,
            is_leaving=is_leaving,
            now_s=now_s,
        )
        self._standing: Standing | None = None
        self._moving = sum(row.next_id is not None for row in self._map.values())
        self._announced_s: dict[int, float] = {}  # revision -> when rows of it were first seen here
        self._weights: Sequence[int] = ()
        self._weigh_at_s = now_s + _WEIGH_EVERY_S

    def observe(self, servers: Sequence[Server], now_s: float) -> None:
        """Bring the map in step with the servers.

        Args:
            servers: every one that has not been forgotten, live or not.
            now_s: by the monotonic clock.

        Raises:
            LeadershipLost, RegistryUnavailable: nothing was written; call again.
        """
        standing = self._members.observe(servers, self._owners, now_s)
        due = self._members.due(now_s)
        weighing = now_s >= self._weigh_at_s and not self._members.pending
        if not standing.staying:
            # Leaving servers go on answering, and returning ones find what they owned.
            self._standing = None
        elif standing != self._standing or due or weighing or self._moving:
            held = self._held_by(standing.staying)
            wanted = self._wanted(held, standing, level=due or weighing)
            prepared = {server.server_id: server.report.prepared_revision for server in servers}
            self._write(self._rows(wanted, standing, prepared, now_s), now_s)
            self._standing = standing
            if due or not (held or standing.awaited):  # the very first servers need not wait for each other
                self._members.settle()
            if weighing:
                self._weigh_at_s = now_s + _WEIGH_EVERY_S
            self._show({server.server_id for server in servers})
        self._metrics.rebalance_pending.set(self._members.pending)

    @property
    def unsettled(self) -> bool:
        """Whether shards may have to move although no server says anything new."""
        awaits = self._standing is not None and bool(self._standing.awaited)
        return awaits or self._moving > 0 or self._members.pending

    def restore(self) -> None:
        """Put back rows that were edited by hand.

        Raises:
            LeadershipLost, RegistryUnavailable: as for every write.
        """
        if self._map and (edited := self._registry.assign_shards(self._map)):
            log.warning("restoring shards that were edited", count=len(edited))
            self._map |= edited

    def _held_by(self, staying: frozenset[str]) -> dict[int, str]:
        """Return which of these servers owns each shard, or will."""
        held = {}
        for shard, row in self._map.items():
            for server_id in (row.server_id, row.next_id):  # the next owner wins
                if server_id is not None and server_id in staying:
                    held[shard] = server_id
        return held

    def _wanted(self, held: dict[int, str], standing: Standing, *, level: bool) -> dict[int, str]:
        """Return which server is to hold each shard."""
        if len(held) == SHARDS and not level:
            return held
        self._weights = self._weigh()
        filled = placement.fill(self._weights, standing.staying, held)
        if not level:
            return filled
        return placement.level(self._weights, standing.staying, filled, self._members.newcomers)

    def _rows(
        self, wanted: Mapping[int, str], standing: Standing, prepared: Mapping[str, int], now_s: float
    ) -> dict[int, Holding]:
        """Return the rows to change now; an announced move is made once the next owner is prepared."""
        rows = {}
        for shard, server_id in wanted.items():
            now = self._map.get(shard)
            if now is not None and now.server_id in standing.awaited:
                continue
            row = Holding(server_id)
            if now is not None and now.server_id in standing.live and now.server_id != server_id:
                is_next = now.next_id == server_id
                waited_s = now_s - self._announced_s.setdefault(now.revision, now_s)
                if not is_next or (prepared[server_id] < now.revision and waited_s < self._handover_s):
                    row = Holding(now.server_id, server_id)
            if row != now:
                rows[shard] = row
        return rows

    def _write(self, rows: Mapping[int, Holding], now_s: float) -> None:
        if not rows:
            return
        before = self._map
        self._map = before | self._registry.assign_shards(rows)
        self._owners = _owners(self._map)
        moving = [row.revision for row in self._map.values() if row.next_id is not None]
        self._announced_s = {revision: self._announced_s.get(revision, now_s) for revision in moving}
        self._moving = len(moving)
        moved = sum(shard in before and before[shard].server_id != rows[shard].server_id for shard in rows)
        announced = sum(row.next_id is not None for row in rows.values())
        self._metrics.shard_moves.inc(moved)
        log.info("shards", given=len(rows) - announced, announced=announced, moving=self._moving)

    def _show(self, server_ids: Collection[str]) -> None:
        holders = {shard: row.server_id for shard, row in self._map.items()}
        if not self._weights:
            self._weights = self._weigh()
        assigned = placement.loads_of(self._weights, {*server_ids, *holders.values()}, holders)
        self._metrics.held(Counter(holders.values()), assigned)
        self._metrics.shards_moving.set(self._moving)


def _owners(holdings: Mapping[int, Holding]) -> frozenset[str]:
    """Every server that the map names."""
    return frozenset(name for row in holdings.values() for name in (row.server_id, row.next_id) if name)
