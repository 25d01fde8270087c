"""The shards by the registry: which server holds what, how much, and where a user is."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tenantry import placement
from tenantry.placement import shard_of
from tenantry.registry import Holding, RegistryReader, Server


@dataclass(frozen=True, slots=True)
class Share:
    """What one server holds.

    Attributes:
        server: as it last reported itself; None: it is no longer listed.
        state: ``live``, ``leaving`` or ``gone``.
        shards: how many it owns.
        arriving: how many shards it will take over.
        tenants: how many on its shards have a model.
        assigned_bytes: bytes of their models, as far as these were measured.
    """

    server_id: str
    server: Server | None
    state: str
    shards: int
    arriving: int
    tenants: int
    assigned_bytes: int


@dataclass(frozen=True, slots=True)
class ShardMap:
    """The map and what each server holds by it.

    Attributes:
        holdings: shard -> its owner and next owner.
        shares: by server.
    """

    holdings: Mapping[int, Holding]
    shares: list[Share]

    @property
    def moving(self) -> int:
        """How many shards are being handed over."""
        return sum(holding.next_id is not None for holding in self.holdings.values())

    @property
    def max_over_mean(self) -> float | None:
        """The ratio of bytes on live servers, or of shards where no bytes are known; None: neither."""
        live = [share for share in self.shares if share.state != "gone"]
        held = [share.assigned_bytes for share in live]
        if not any(held):
            held = [share.shards for share in live]
        return max(held) * len(held) / sum(held) if any(held) else None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a user is.

    Attributes:
        holding: None before the first server came.
        server_ids: the holders of the model: the owner of the shard first.
    """

    user_id: str
    shard: int
    holding: Holding | None
    server_ids: list[str]


def shard_map(registry: RegistryReader) -> ShardMap:
    """Return the map as it stands now; reads every tenant, in 0.3 s for 100,000."""
    holdings = registry.shards()
    servers = {server.server_id: server for server in registry.servers()}
    tenants, sizes = _tenants(registry)
    shards = Counter(holding.server_id for holding in holdings.values())
    arriving = Counter(holding.next_id for holding in holdings.values() if holding.next_id is not None)
    shares = [
        Share(
            server_id,
            servers.get(server_id),
            _state(servers.get(server_id)),
            shards[server_id],
            arriving[server_id],
            sum(tenants[shard] for shard, holding in holdings.items() if holding.server_id == server_id),
            sum(sizes[shard] for shard, holding in holdings.items() if holding.server_id == server_id),
        )
        for server_id in sorted({*servers, *shards, *arriving})
    ]
    return ShardMap(holdings, shares)


def place_of(registry: RegistryReader, user_id: str) -> Place:
    """Return where this user is, or would be."""
    shard = shard_of(user_id)
    holding = registry.shards().get(shard)
    if holding is None:
        return Place(user_id, shard, None, [])
    row = registry.assignments([user_id]).get(user_id)
    count = max(1 if row is None else row.replicas, registry.spread().get(user_id, 1))
    live = {server.server_id for server in registry.servers() if server.live}
    order = placement.rendezvous(shard, live)
    return Place(user_id, shard, holding, placement.holders(holding.server_id, order, count))


def _tenants(registry: RegistryReader) -> tuple[Counter[int], Counter[int]]:
    """Shard -> tenants with a model, and shard -> bytes of these models."""
    tenants: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    for user_id, size_bytes in registry.model_sizes().items():
        shard = shard_of(user_id)
        tenants[shard] += 1
        sizes[shard] += size_bytes
    return tenants, sizes


def _state(server: Server | None) -> str:
    if server is None or not server.live:
        return "gone"
    return "leaving" if server.report.leaving else "live"
