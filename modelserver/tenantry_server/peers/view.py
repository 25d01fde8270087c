"""This server's view of the fleet: the routing table, the directory and the data plane in one.

And the part of it that clients are shown, so that they ask the owner of a user's shard themselves.
"""

from collections.abc import Mapping
from typing import Any

from tenantry import TenantryError
from tenantry.placement import SHARDS, shard_of
from tenantry.registry.rows import Holding
from tenantry_server.assignments.contact import Contact
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.peers import choice
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.peer import Peer
from tenantry_server.predicting.answer import Pace
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.quotas.quotas import ALL, Share


class FleetView:
    """What `choice` asks for, as it stands at each moment.

    Args:
        table: who holds which shard, and on how many servers a user's model is to be.
        directory: the other servers.
        plane: what this server has in its model cache.
    """

    def __init__(self, table: RoutingTable, directory: Directory, plane: DataPlane) -> None:
        self._table = table
        self._directory = directory
        self._plane = plane
        self.me = directory.server_id
        self.replicas_of = table.replicas_of
        self.quotas = plane.quotas
        self.left = plane.quotas.left
        self.holders = directory.holders
        self.order = directory.order

    @property
    def contact(self) -> Contact:
        """As `choice.View`."""
        return self._table.contact.state

    @property
    def lease_held(self) -> bool:
        """Whether the contact is fresh."""
        return self._table.contact.lease_held

    @property
    def own_load(self) -> float:
        """As `choice.View`."""
        return self._directory.own_load

    @property
    def peers(self) -> Mapping[str, Peer]:
        """As `choice.View`."""
        return self._directory.peers

    def holding(self, shard: int) -> Holding | None:
        """As `choice.View`."""
        return self._table.holdings.get(shard)

    def pace(self, user_id: str) -> Pace | None:
        """As `choice.View`."""
        try:
            return self._plane.models.pace(user_id)
        except TenantryError:
            return None  # nobody has a model for this user, and no other server knows more

    def share(self, user_id: str) -> Share | None:
        """Return which share of a user's limits is this server's; None: others hold the model."""
        shard = shard_of(user_id)
        holding = self._table.holdings.get(shard)
        if holding is None:  # no map yet
            return ALL
        count = self._table.replicas_of(user_id)
        if count == 1:
            return ALL if holding.server_id == self.me else None
        holders = self.holders(shard, holding.server_id, count)
        return Share(holders.index(self.me), len(holders)) if self.me in holders else None

    def keeps(self, user_id: str) -> bool:
        """Return whether this user's model belongs in this server's model cache, now or soon."""
        return choice.belongs_here(user_id, self)


class FleetMap:
    """Who answers for which shard, for clients: names and addresses of servers, and no user.

    Args:
        table: who owns which shard.
        directory: the other servers.
        endpoint: base URL under which this server is reached.
    """

    def __init__(self, table: RoutingTable, directory: Directory, endpoint: str) -> None:
        self._table = table
        self._directory = directory
        self.endpoint = endpoint

    @property
    def revision(self) -> int:
        """Of the newest change of the shard map; 0 before the first map."""
        return self._table.map_revision

    def document(self) -> dict[str, Any]:
        """Return the body of ``GET /shards``.

        A server whose lease is over is left out, and its shards have the owner null until they move.
        """
        directory = self._directory
        urls = {peer_id: peer.endpoint for peer_id, peer in directory.peers.items() if peer.live}
        urls[directory.server_id] = self.endpoint
        ids = sorted(urls)
        place = {server_id: number for number, server_id in enumerate(ids)}
        holdings = self._table.holdings
        owners = (holdings.get(shard) for shard in range(SHARDS))
        return {
            "revision": self.revision,
            "servers": [{"id": server_id, "url": urls[server_id]} for server_id in ids],
            "owners": [None if owner is None else place.get(owner.server_id) for owner in owners],
        }
