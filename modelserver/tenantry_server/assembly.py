"""Wires the parts of a model server by its settings. Starts nothing and listens nowhere."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog
from aiohttp import web
from sqlalchemy import Engine

from tenantry.registry import Changes, CostBook, FaultBook, Server, ServerRegistry, ServerReport
from tenantry.trust.challenges import Challenges, ask
from tenantry.trust.tls import Tls
from tenantry_server.accounts.ledger import Ledger
from tenantry_server.accounts.memory_use import shares_of
from tenantry_server.app import make_app
from tenantry_server.artifacts.disk_cache import DiskCache
from tenantry_server.assignments.candidate_loader import CandidateLoader
from tenantry_server.assignments.follower import RegistryFollower
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.assignments.verdicts import Verdicts
from tenantry_server.gatekeeper import Gatekeeper
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.peers import challenge, near_copies, warm_query
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.forwarder import Forwarder
from tenantry_server.peers.near_copies import NearCopies
from tenantry_server.peers.view import FleetMap, FleetView
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.quotas.quotas import Quotas
from tenantry_server.settings import ServerSettings
from tenantry_server.shards import trust_changes
from tenantry_server.shards.faults import Faults
from tenantry_server.shards.hot_users import HotUsers
from tenantry_server.shards.misplaced import MisplacedModels
from tenantry_server.shards.prewarmer import Prewarmer
from tenantry_server.shards.strike_exchange import StrikeExchange
from tenantry_server.shards.warm_list import WarmList
from tenantry_server.shards.warm_loader import Warmer
from tenantry_server.sidecars import messages
from tenantry_server.sidecars import routes as follow_routes
from tenantry_server.sidecars.feed import Feed
from tenantry_server.signing.trust import FollowedTrust
from tenantry_server.supply import (
    checker_of,
    disk_of,
    loads_of,
    models_of,
    plane_of,
    readings_of,
    trust_of,
    workers_of,
)
from tenantry_server.workers.pool import Pool

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that a process starts and ends, each described by its own module."""

    app: web.Application
    ready: Callable[[], bool]
    registry: ServerRegistry
    table: RoutingTable
    follower: RegistryFollower
    candidates: CandidateLoader
    warmth: "Warmth"
    directory: Directory
    disk: DiskCache | None
    workers: Pool | None
    strikes: StrikeExchange | None
    faults: Faults
    copies: NearCopies
    gatekeeper: Gatekeeper
    feed: Feed
    trust: FollowedTrust
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Warmth:
    """What decides which models are in memory before anybody asks."""

    prewarmer: Prewarmer
    misplaced: MisplacedModels
    hot: HotUsers

    def changed(self, changes: Changes) -> None:
        """Changes of the registry are in force."""
        self.prewarmer.changed(changes)
        self.misplaced.changed(changes)


def assemble(
    settings: ServerSettings, engine: Engine, *, endpoint: str, tls: Tls, stopping: Callable[[], bool]
) -> Parts:
    """Make the parts of one server and wire them to one another.

    Args:
        endpoint: base URL under which its peers reach it.
        tls: how it connects to them.
        stopping: whether it was told to stop.
    """
    registry = ServerRegistry(
        engine, settings.server_id, endpoint=endpoint, capacity_bytes=settings.cache_bytes
    )
    disk = disk_of(settings)
    workers = workers_of(settings)
    loads = loads_of(settings, workers)
    trust = trust_of(settings)
    checker = checker_of(settings, workers, lambda: trust.now)
    models = models_of(settings, disk, None if loads is None else loads.load, checker)
    table = RoutingTable(registry, on_loss=settings.on_registry_loss)
    quotas = Quotas(table.limits, settings.limits)
    plane = plane_of(settings, table, models, workers, quotas)
    directory = Directory(settings.server_id, tls)
    secrets = settings.fleet_secrets()
    challenges = Challenges(secrets, settings.server_id, ask=partial(ask, tls=tls))
    view = FleetView(table, directory, plane)
    quotas.share = view.share
    gatekeeper = Gatekeeper(settings, engine, endpoint=endpoint, wants_certificates=tls.wants_certificates)
    hops = gatekeeper.hops
    own, proven = settings.server_id, challenges.proven
    ask_warm = partial(warm_query.ask, hops=hops, tls=tls)

    def warm_list_of(hot: HotUsers) -> WarmList:
        return WarmList(registry, table, hot, server_id=own, ask=ask_warm, proven=proven)

    warmth = _warmth(settings, registry, table, models, plane, view, warm_list_of)
    prewarmer = warmth.prewarmer
    faults = Faults(FaultBook(engine), table, models, plane.models.load, server_id=settings.server_id)
    plane.models.report_loads(faults.load_ended)
    if loads is not None:
        loads.skewed = faults.skewed

    def servers_read(servers: list[Server]) -> None:
        faults.live = {server.server_id for server in servers if server.live}
        if directory.update(challenges.proven(servers)):
            prewarmer.servers_changed()

    feed = Feed(table, fleet=partial(_fleet, directory, endpoint, stopping, settings.limits.to_text()))

    def changed(changes: Changes) -> None:
        feed.changed(changes)
        warmth.changed(changes)

    follower = RegistryFollower(
        registry,
        table,
        models,
        poll_s=settings.poll_s,
        lease_s=settings.lease_s,
        report=_reporting(models, prewarmer, plane, stopping),
        changed=changed,
        servers_read=servers_read,
        in_force=feed.in_force,
    )
    feed.acknowledged = follower.wake
    timeout_s, max_body_bytes = settings.predict_timeout_s, settings.max_body_bytes
    copies = NearCopies(models, table, directory, hops)
    forwarder = Forwarder(
        view,
        directory,
        timeout_s=timeout_s,
        max_body_bytes=max_body_bytes,
        passed_on=copies.passed_on,
        models_here=workers is None,
        hops=hops,
    )

    def ready() -> bool:
        """What /readyz answers, and what the shared socket of `tenantry up` waits for."""
        return table.was_read and gatekeeper.gate.ready and prewarmer.done and not stopping()

    app = make_app(
        table,
        models,
        server_id=settings.server_id,
        predict_timeout_s=timeout_s,
        max_body_bytes=max_body_bytes,
        read_timeout_s=settings.read_timeout_s,
        max_arriving_bytes=settings.max_arriving_bytes,
        data_plane=plane,
        disk=disk,
        ready=ready,
        registry_age_s=lambda: table.contact.age_s,
        forwarder=forwarder,
        fleet_map=FleetMap(table, directory, endpoint),
        pool=workers,
        explained=Verdicts(registry).explained,
        gate=gatekeeper.gate,
        max_batch_rows=settings.max_batch_rows,
        top_tenants=settings.top_tenants,
        readings=readings_of(table, tls, feed),
    )
    app.add_routes([*warm_query.routes(warmth.hot.in_memory), *near_copies.routes(models)])
    app.add_routes(challenge.routes(secrets, settings.server_id, endpoint))
    if secrets is not None:
        app.add_routes(follow_routes.routes(feed, secrets))
    strikes = None if workers is None else StrikeExchange(registry, workers.strikes)
    candidates = CandidateLoader(plane.models.load, settings.server_id, follower.wake, plane.check_size)
    trust.changed = trust_changes.when_changed(
        table, models, candidates, faults, signed_only=settings.signed_only
    )
    return Parts(
        app,
        ready,
        registry,
        table,
        follower,
        candidates,
        warmth,
        directory,
        disk,
        workers,
        strikes,
        faults,
        copies,
        gatekeeper,
        feed,
        trust,
        Ledger(plane.meter.accounts, shares_of(table, models), CostBook(engine), server_id=own),
    )


def _fleet(directory: Directory, endpoint: str, stopping: Callable[[], bool], limits: str) -> bytes:
    """Return who lives and the limits of everyone, for those who follow this server."""
    own = directory.server_id
    peers = [(p.server_id, p.endpoint, p.load, p.leaving) for p in directory.peers.values() if p.live]
    return messages.encode_fleet(own, [(own, endpoint, directory.own_load, stopping()), *peers], limits)


def _reporting(
    models: CachedModelRepository, prewarmer: Prewarmer, plane: DataPlane, stopping: Callable[[], bool]
) -> Callable[[], ServerReport]:
    """Return what makes the report of this server for the registry, once a second."""

    def report() -> ServerReport:
        return ServerReport(
            models.used_bytes,
            prewarmer.prepared_revision,
            leaving=stopping(),
            load=plane.meter.load,
            busiest=plane.meter.busiest,
        )

    return report


def _warmth(
    settings: ServerSettings,
    registry: ServerRegistry,
    table: RoutingTable,
    models: CachedModelRepository,
    plane: DataPlane,
    view: FleetView,
    warm_list_of: Callable[[HotUsers], WarmList],
) -> Warmth:
    own = settings.server_id
    hot = HotUsers(registry, table, models, limit=settings.hot_users, every_s=settings.hot_every_s)
    warm_list = warm_list_of(hot)
    prewarmer = Prewarmer(
        table,
        Warmer(table, models, plane.models.load, warm_list.in_memory_elsewhere),
        hot=hot.recall,
        warm=warm_list.users_of,
        keeps=view.keeps,
        server_id=own,
        wait_s=settings.prewarm_s,
    )
    return Warmth(prewarmer, MisplacedModels(table, models, view), hot)
