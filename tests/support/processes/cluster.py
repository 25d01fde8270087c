"""Several servers in this process and on this event loop, over real sockets, without a registry's SQL.

Owns what a follower would do: who holds what, whose lease holds, who the others are. A test says it.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tenantry import Model, TenantryError
from tenantry.errors import RegistryUnavailable
from tenantry.manifest.limits import NO_LIMITS, Limits
from tenantry.placement import rendezvous, shard_of
from tenantry.processes.runtime import boot_clock_s
from tenantry.registry import (
    Assignment,
    Changes,
    Holding,
    Server,
    ServerRegistry,
    ServerReport,
    open_engine,
)
from tenantry_server import CachedModelRepository, bounded_cache, make_app
from tenantry_server.access.gate import Gate
from tenantry_server.access.hops import Hops
from tenantry_server.app import FAST_PATH
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.contact import RegistryContact
from tenantry_server.assignments.routing_table import OnRegistryLoss, RoutingTable
from tenantry_server.memory.near_cache import NearCache
from tenantry_server.memory.resident import Resident
from tenantry_server.peers import near_copies
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.forwarder import Forwarder
from tenantry_server.peers.near_copies import NearCopies
from tenantry_server.peers.view import FleetMap, FleetView
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.quotas.quotas import Quotas
from tenantry_server.wire.log.access_log import AccessLog, for_aiohttp


class Silent(ServerRegistry):
    """A registry that never answers, and counts how often it was asked."""

    asked = 0

    def lookup(self, user_id: str) -> Assignment | None:
        self.asked += 1
        raise RegistryUnavailable(f"nobody knows {user_id!r}: there is no registry")


class Models(ModelRepository):
    """Models by their ids, each a new object; counts the loads, and fails where a test says how."""

    failure: TenantryError | None = None

    def __init__(self, models: Mapping[str, Any]) -> None:
        self._models = models
        self.loads: list[str] = []

    def get_model(self, model_id: str) -> Model:
        self.loads.append(model_id)
        if self.failure is not None:
            raise self.failure
        made: Model = self._models[model_id]()
        return made


OPEN = Gate(open_lists=True, open_repository=True)


class Node:
    """One server.

    Attributes:
        port: that it listens on.
        models: where it loads from.
    """

    def __init__(self, server_id: str, models: Mapping[str, Any], **settings: Any) -> None:
        self.server_id = server_id
        engine = open_engine("sqlite://")
        self.registry = Silent(engine, server_id, endpoint="", capacity_bytes=1 << 20)
        on_loss = settings.pop("on_loss", OnRegistryLoss.SERVE)
        self.table = RoutingTable(self.registry, on_loss=on_loss)
        self.models = Models(models)
        near_bytes: int = settings.get("near_cache_bytes", 0)
        near: NearCache[Resident] | None = NearCache(near_bytes) if near_bytes else None
        self.cache = CachedModelRepository(self.models, bounded_cache(1 << 20), near)
        self.quotas = Quotas(self.table.limits)
        self.plane = DataPlane(self.table, self.cache, quotas=self.quotas)
        self.peers = Directory(server_id)
        secret = settings.get("secret")
        self.hops = None if secret is None else Hops(secret, "")  # knows its host once it listens
        self.copies = NearCopies(self.cache, self.table, self.peers, self.hops)
        self.timeout_s: float = settings.get("predict_timeout_s", 10.0)
        self.max_body_bytes: int = settings.get("max_body_bytes", 8 << 20)
        self.table.contact = RegistryContact(believed_s=3600)  # there is no follower that would repeat it
        view = FleetView(self.table, self.peers, self.plane)
        self.quotas.share = view.share
        self.access_log: AccessLog | None = settings.get("access_log", lambda _: None)(server_id)
        self.forwarder = Forwarder(
            view,
            self.peers,
            timeout_s=self.timeout_s,
            max_body_bytes=self.max_body_bytes,
            passed_on=self.copies.passed_on,
            models_here=settings.get("models_here", True),
            hops=self.hops,
        )
        self.fleet_map = FleetMap(self.table, self.peers, endpoint="")
        self.app = make_app(
            self.table,
            self.cache,
            server_id=server_id,
            predict_timeout_s=self.timeout_s,
            max_body_bytes=self.max_body_bytes,
            data_plane=self.plane,
            registry_age_s=lambda: self.table.contact.age_s,
            forwarder=self.forwarder,
            fleet_map=self.fleet_map,
            gate=settings["gate"](self.hops) if "gate" in settings else OPEN,
        )
        self.app.add_routes(near_copies.routes(self.cache))
        self.port = 0
        self._copying: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def server(self) -> web.Server:
        """What makes its end of a connection."""
        assert self._runner is not None
        assert self._runner.server is not None
        return self._runner.server

    @property
    def counts(self) -> dict[str, int]:
        """What became of the requests that it passed on."""
        return {str(result): count for result, count in self.forwarder.counts.items() if count}

    async def start(self) -> None:
        """Listen; on the same port again where it was stopped before."""
        runner = web.AppRunner(
            self.app, **for_aiohttp(self.access_log), handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        assert runner.server is not None
        self.app[FAST_PATH].install(runner.server, self.access_log)
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        self.port = runner.addresses[0][1]
        self.fleet_map.endpoint = self.url
        if self.hops is not None:
            self.hops._host = f"127.0.0.1:{self.port}".encode()
        self._runner = runner
        self._copying = asyncio.create_task(self.copies.run())

    async def stop(self) -> None:
        """Listen no more, and close every connection."""
        self.peers.close()
        if self._copying is not None:
            self._copying.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    def lease(self, *, held: bool) -> None:
        """Whether its lease holds; where not, its follower has seen that SQL does not answer."""
        contact = self.table.contact
        contact.renewed(until_s=boot_clock_s() + 3600 if held else 0.0)
        if held:
            contact.answered()
        else:
            contact.fell_silent()


class Cluster:
    """Servers that know one another.

    Args:
        nodes: the servers.
        holders: user id -> who holds the user's shard; the user's model has the same name.
        replicas: user id -> on how many servers it is to be.
        limits: user id -> what all servers together allow.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        holders: Mapping[str, str],
        replicas: Mapping[str, int],
        limits: Mapping[str, Limits],
    ) -> None:
        self.nodes = dict(nodes)
        shards = {shard_of(user_id): Holding(server_id) for user_id, server_id in holders.items()}
        assert len(shards) == len(holders), "two users of one shard: give one another name"
        rows = [
            Assignment(
                user_id,
                f"uid-{user_id}",
                1,
                user_id,
                replicas=replicas.get(user_id, 1),
                limits=limits.get(user_id, NO_LIMITS).to_text(),
            )
            for user_id in holders
        ]
        for node in self.nodes.values():
            node.table.apply(Changes(1, complete=True, assignments=rows, shards=shards))
            node.lease(held=True)

    def introduce(self, others: Mapping[str, str] | None = None, **reports: ServerReport) -> None:
        """Tell every server about every other.

        Args:
            others: addresses of further ones, which are none of ours.
            reports: what they say of themselves.
        """
        urls = {name: node.url for name, node in self.nodes.items()} | dict(others or {})
        servers = [
            Server(name, url, 1, 10.0, 1 << 20, reports.get(name, ServerReport()))
            for name, url in urls.items()
        ]
        for node in self.nodes.values():
            node.peers.update(servers)

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]


def user_for(*order: str) -> str:
    """A user of whose shard these servers are the best holders in this order."""
    names = (f"user-{number}" for number in range(10_000))
    return next(name for name in names if rendezvous(shard_of(name), order) == list(order))


@asynccontextmanager
async def running(
    models: Mapping[str, Any],
    holders: Mapping[str, str],
    *,
    names: str = "abc",
    replicas: Mapping[str, int] | None = None,
    limits: Mapping[str, Limits] | None = None,
    **settings: Any,
) -> AsyncIterator[Cluster]:
    """Servers named by the letters of `names`, that listen until the block ends."""
    nodes = {name: Node(name, models, **settings) for name in names}
    cluster = Cluster(nodes, holders, replicas or {}, limits or {})
    try:
        for node in nodes.values():
            await node.start()
        cluster.introduce()
        yield cluster
    finally:
        for node in nodes.values():
            await node.stop()
