"""The other servers of the registry: who they are, and in which order they should hold a shard.

Owns the list, as the registry had it when it was read last; it stays while the registry is out of reach,
and then only what a peer answers itself tells whether it lives. Refuses SQL: the follower reads.
"""

from collections.abc import Iterator, Sequence

import structlog

from tenantry import placement
from tenantry.registry import Server
from tenantry_server.peers.peer import Peer

log = structlog.get_logger(__name__)


class Peers:
    """Every other server that was seen in the registry.

    Args:
        server_id: this server, which is none of its own peers.
    """

    def __init__(self, server_id: str) -> None:
        self.server_id = server_id
        self.own_load = 0.0
        self._peers: dict[str, Peer] = {}
        self._members: frozenset[str] = frozenset({server_id})
        self._orders: dict[int, list[str]] = {}
        self._unusable: set[str] = set()

    def take(self, servers: Sequence[Server]) -> bool:
        """Take in what the registry says now; called on the event loop.

        Returns:
            whether others live and stay than before.
        """
        for gone in self._peers.keys() - {server.server_id for server in servers}:
            self._peers.pop(gone).close()
        for server in servers:
            if server.server_id == self.server_id:
                self.own_load = server.report.load
                continue
            peer = self._peers.get(server.server_id)
            if peer is None or peer.endpoint != server.endpoint:  # it was started anew, elsewhere
                peer = self._anew(server)
                if peer is None:
                    continue
            peer.live = server.live
            peer.load = server.report.load
            peer.leaving = server.report.leaving
            peer.prune()
        members = {peer.server_id for peer in self._peers.values() if peer.live and not peer.leaving}
        if members | {self.server_id} == self._members:
            return False
        self._members = frozenset(members | {self.server_id})
        self._orders.clear()
        return True

    def _anew(self, server: Server) -> Peer | None:
        """In place of whom it was before; None, where nobody can be asked at its address."""
        before = self._peers.pop(server.server_id, None)
        if before is not None:
            before.close()
        try:
            peer = self._peers[server.server_id] = Peer(server.server_id, server.endpoint)
        except ValueError as error:
            if server.endpoint not in self._unusable:  # once, not every second
                self._unusable.add(server.endpoint)
                log.warning(
                    "a server's address is no URL; check its TENANTRY_ADVERTISE_URL",
                    peer=server.server_id,
                    url=server.endpoint,
                    error=str(error),
                )
            return None
        return peer

    def get(self, server_id: str) -> Peer | None:
        """A peer that is worth asking."""
        peer = self._peers.get(server_id)
        return peer if peer is not None and peer.usable else None

    def order(self, shard: int) -> list[str]:
        """Who should hold `shard`, best first: this server and all that live and stay."""
        order = self._orders.get(shard)
        if order is None:
            order = self._orders[shard] = placement.rendezvous(shard, self._members)
        return order

    def holders(self, shard: int, owner_id: str, count: int) -> list[str]:
        """The servers that hold the model of a user of `shard`, the owner of the shard first.

        Args:
            count: on how many servers the model shall be.
        """
        return [owner_id] if count == 1 else placement.holders(owner_id, self.order(shard), count)

    def __iter__(self) -> Iterator[str]:
        return iter(self._peers)

    def __len__(self) -> int:
        return len(self._peers)

    @property
    def live(self) -> int:
        """How many others live by the registry."""
        return sum(peer.live for peer in self._peers.values())

    @property
    def down(self) -> int:
        """How many live by the registry, and do not answer this server."""
        return sum(peer.live and not peer.up for peer in self._peers.values())

    def close(self) -> None:
        """End every connection."""
        for peer in self._peers.values():
            peer.close()
        self._peers.clear()
