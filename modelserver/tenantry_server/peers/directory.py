"""The other servers by the registry: who they are, and in which order they should hold a shard.

Owns the list, as the registry had it when it was read last. It stays while the registry is out of reach;
then only what a peer answers tells whether it lives. Refuses SQL: the follower reads.
"""

from collections.abc import Mapping, Sequence

import structlog

from tenantry import placement
from tenantry.registry.rows import Server
from tenantry.trust.tls import Tls
from tenantry_server.peers.peer import Peer

log = structlog.get_logger(__name__)


class Directory:
    """Every other server that was seen in the registry.

    Args:
        server_id: this server, which is not one of its own peers.
        tls: how it connects to them; None: by their addresses, trusting whom the system trusts.
        member: whether this server holds shards too; a sidecar does not.

    Attributes:
        own_load: busy share of this server's core, as the registry has it.
    """

    def __init__(self, server_id: str, tls: Tls | None = None, *, member: bool = True) -> None:
        self.server_id = server_id
        self._tls = tls
        self.own_load = 0.0
        self._peers: dict[str, Peer] = {}
        self._itself = frozenset({server_id} if member else ())
        self._members = self._itself
        self._orders: dict[int, list[str]] = {}
        self._unusable: set[str] = set()

    def update(self, servers: Sequence[Server]) -> bool:
        """Apply what the registry says now; call it on the event loop.

        Returns:
            whether the set of servers that live and stay has changed.
        """
        for gone in self._peers.keys() - {server.server_id for server in servers}:
            self._peers.pop(gone).close()
        for server in servers:
            if server.server_id == self.server_id:
                self.own_load = server.report.load
            else:
                self._update_one(server)
        members = {peer.server_id for peer in self._peers.values() if peer.live and not peer.leaving}
        members |= self._itself
        if members == self._members:
            return False
        self._members = frozenset(members)
        self._orders.clear()
        return True

    @property
    def peers(self) -> Mapping[str, Peer]:
        """Every peer by its id, whether it lives or not."""
        return self._peers

    def order(self, shard: int) -> list[str]:
        """Return who should hold `shard`, best first: all that live and stay, this server among them."""
        order = self._orders.get(shard)
        if order is None:
            order = self._orders[shard] = placement.rendezvous(shard, self._members)
        return order

    def holders(self, shard: int, owner_id: str, count: int) -> list[str]:
        """Return the servers that hold the model of a user of `shard`, the owner of the shard first.

        Args:
            count: on how many servers the model is to be.
        """
        return [owner_id] if count == 1 else placement.holders(owner_id, self.order(shard), count)

    @property
    def live(self) -> int:
        """How many peers live by the registry."""
        return sum(peer.live for peer in self._peers.values())

    @property
    def down(self) -> int:
        """How many peers live by the registry, and do not answer this server."""
        return sum(peer.live and not peer.up for peer in self._peers.values())

    def close(self) -> None:
        """End every connection."""
        for peer in self._peers.values():
            peer.close()
        self._peers.clear()

    def _update_one(self, server: Server) -> None:
        peer = self._peers.get(server.server_id)
        if peer is None or peer.endpoint != server.endpoint:  # it was started again, elsewhere
            peer = self._replaced(server)
        if peer is not None:
            peer.live = server.live
            peer.load = server.report.load
            peer.leaving = server.report.leaving
            peer.prune()

    def _replaced(self, server: Server) -> Peer | None:
        """Put a new peer in the place of a former one; None where its address can't be used."""
        former = self._peers.pop(server.server_id, None)
        if former is not None:
            former.close()
        try:
            peer = self._peers[server.server_id] = Peer(server.server_id, server.endpoint, self._tls)
        except ValueError as error:
            if server.endpoint not in self._unusable:  # once, not every second
                self._unusable.add(server.endpoint)
                log.warning(
                    "a server's address is not a URL; check its TENANTRY_ADVERTISE_URL",
                    peer=server.server_id,
                    url=server.endpoint,
                    error=str(error),
                )
            return None
        return peer
