"""Who should answer for a user: this server, or which others in which order.

Holders come first, the less busy of two that chance picked before the rest (Mitzenmacher, "The Power of
Two Choices in Randomized Load Balancing", 2001); then whoever would hold the shard if they were gone, so
that every server turns to the same one. Refuses to ask anybody.
"""

import random
from collections.abc import Iterator, Sequence

from tenantry import TenantryError
from tenantry.placement import shard_of
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.peers.directory import Peers
from tenantry_server.peers.peer import Peer
from tenantry_server.predicting.dataplane import DataPlane, Pace

_BUSY_LOAD = 0.8


class Holders:
    """The choice of a server, by what this one knows.

    Args:
        table: who holds which shard, and on how many servers a user's model shall be.
        peers: the others, and how they are.
        plane: what this server has in memory.
    """

    def __init__(self, table: RoutingTable, peers: Peers, plane: DataPlane) -> None:
        self._table = table
        self._peers = peers
        self._plane = plane

    def keeps(self, user_id: str) -> bool:
        """Whether this user's model belongs in this server's memory, now or soon."""
        shard = shard_of(user_id)
        holding = self._table.holdings.get(shard)
        me = self._peers.server_id
        if holding is None or me in (holding.server_id, holding.next_id):
            return True
        count = self._table.replicas_of(user_id)
        return count > 1 and me in self._peers.holders(shard, holding.server_id, count)

    def elsewhere(
        self, user_id: str, *, held_only: bool = False, leased: bool = True
    ) -> Iterator[Peer] | None:
        """The others to ask, best first, up to where this server would be next; None: answer here.

        Args:
            held_only: only a holder may answer; else also this server, where it has the model in memory
                and is quick.
            leased: only such as did not say lately that their lease is over.
        """
        shard = shard_of(user_id)
        holding = self._table.holdings.get(shard)
        if holding is None:
            return None
        count = self._table.replicas_of(user_id)
        me = self._peers.server_id
        if count == 1 and holding.server_id == me:
            return None
        try:
            pace = self._plane.pace(user_id)
        except TenantryError:
            return None  # nobody has a model for this user, and no other server knows more
        if pace is Pace.QUICK and not held_only:
            return None
        holders = self._peers.holders(shard, holding.server_id, count)
        if me in holders:
            return self._relief(holders, pace)
        return self._in_order(shard, holders, leased=leased)

    def everybody(self, user_id: str) -> Iterator[Peer]:
        """All others that may know more than this server, the holders first."""
        shard = shard_of(user_id)
        holding = self._table.holdings.get(shard)
        first: Sequence[str] = ()
        if holding is not None:
            first = self._peers.holders(shard, holding.server_id, self._table.replicas_of(user_id))
        for server_id in dict.fromkeys((*first, *self._peers.order(shard), *self._peers)):
            peer = self._peers.get(server_id)
            if peer is not None and peer.leased:
                yield peer

    def _relief(self, holders: Sequence[str], pace: Pace) -> Iterator[Peer] | None:
        """Another holder, for a slow model of a server that has much to do."""
        if pace is not Pace.SLOW or self._peers.own_load <= _BUSY_LOAD:
            return None
        other = self._less_busy(self._usable(holders, leased=True))
        if other is None or other.busyness >= self._peers.own_load:
            return None
        return iter((other,))

    def _in_order(self, shard: int, holders: Sequence[str], *, leased: bool) -> Iterator[Peer]:
        usable = self._usable(holders, leased=leased)
        first = usable[0] if len(usable) == 1 else self._less_busy(usable)
        if first is not None:
            yield first
        yield from (peer for peer in usable if peer is not first and peer.usable)
        for server_id in self._peers.order(shard):
            if server_id == self._peers.server_id:
                return
            if server_id not in holders:
                yield from self._usable([server_id], leased=leased)

    def _usable(self, server_ids: Sequence[str], *, leased: bool) -> list[Peer]:
        found = []
        for server_id in server_ids:
            peer = self._peers.get(server_id)
            if peer is not None and (peer.leased or not leased):
                found.append(peer)
        return found

    def _less_busy(self, peers: Sequence[Peer]) -> Peer | None:
        if len(peers) > 1:
            peers = random.sample(peers, 2)  # in an order of chance, which decides between equals
        return min(peers, key=lambda peer: peer.busyness, default=None)
