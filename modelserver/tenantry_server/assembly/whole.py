"""A whole server: its parts, wired to one another."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from sqlalchemy import Engine

from tenantry.registry import Changes, CostBook, FaultBook, Server, ServerRegistry, ServerReport
from tenantry.trust.tls import Tls
from tenantry_server.accounts.ledger import Ledger
from tenantry_server.accounts.memory_use import shares_of
from tenantry_server.artifacts.disk_cache import DiskCache
from tenantry_server.assembly.answering import application, feed_of
from tenantry_server.assembly.core import Core, core_of
from tenantry_server.assembly.warmth import Warmth, warmth_of
from tenantry_server.assignments.candidate_loader import CandidateLoader
from tenantry_server.assignments.follower import RegistryFollower
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.gatekeeper import Gatekeeper
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.near_copies import NearCopies
from tenantry_server.settings import ServerSettings
from tenantry_server.shards import trust_changes
from tenantry_server.shards.faults import Faults
from tenantry_server.shards.strike_exchange import StrikeExchange
from tenantry_server.sidecars.feed import Feed
from tenantry_server.signing.trust import FollowedTrust
from tenantry_server.watchdog import Holds
from tenantry_server.workers.pool import Pool


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that a process starts and ends, each described by its own module."""

    app: web.Application
    ready: Callable[[], bool]
    registry: ServerRegistry
    table: RoutingTable
    follower: RegistryFollower
    candidates: CandidateLoader
    warmth: Warmth
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


def assemble(
    settings: ServerSettings,
    engine: Engine,
    *,
    endpoint: str,
    tls: Tls,
    stopping: Callable[[], bool],
    holds: Holds,
) -> Parts:
    """Make the parts of one server and wire them to one another.

    Args:
        endpoint: base URL under which its peers reach it.
        tls: how it connects to them.
        stopping: whether it was told to stop.
        holds: of its event loop, for the metrics.
    """
    core = core_of(settings, engine, endpoint=endpoint, tls=tls, stopping=stopping, holds=holds)
    table, models, plane, workers = core.table, core.models, core.plane, core.workers
    warmth, feed = warmth_of(core), feed_of(core)
    faults = _faults_of(core, FaultBook(engine))
    follower = _follower_of(core, warmth, faults, feed)
    copies = NearCopies(models, table, core.directory, core.gatekeeper.hops)

    def ready() -> bool:
        """What /readyz answers, and what the shared socket of `tenantry up` waits for."""
        return table.was_read and core.gatekeeper.gate.ready and warmth.prewarmer.done and not stopping()

    candidates = CandidateLoader(plane.models.load, settings.server_id, follower.wake, plane.check_size)
    core.trust.changed = trust_changes.when_changed(
        table, models, candidates, faults, signed_only=settings.signed_only
    )
    costs = CostBook(engine)
    return Parts(
        app=application(core, warmth, feed, copies, ready),
        ready=ready,
        registry=core.registry,
        table=table,
        follower=follower,
        candidates=candidates,
        warmth=warmth,
        directory=core.directory,
        disk=core.disk,
        workers=workers,
        strikes=None if workers is None else StrikeExchange(core.registry, workers.strikes),
        faults=faults,
        copies=copies,
        gatekeeper=core.gatekeeper,
        feed=feed,
        trust=core.trust,
        ledger=Ledger(plane.meter.accounts, shares_of(table, models), costs, server_id=settings.server_id),
    )


def _faults_of(core: Core, book: FaultBook) -> Faults:
    """Make what reports models that can't be loaded, and have it hear of loads."""
    load = core.plane.models.load
    faults = Faults(book, core.table, core.models, load, server_id=core.settings.server_id)
    core.plane.models.report_loads(faults.load_ended)
    if core.loads is not None:
        core.loads.skewed = faults.skewed
    return faults


def _follower_of(core: Core, warmth: Warmth, faults: Faults, feed: Feed) -> RegistryFollower:
    """Make what follows the registry, and have the others hear of changes."""

    def servers_read(servers: list[Server]) -> None:
        faults.live = {server.server_id for server in servers if server.live}
        if core.directory.update(core.challenges.proven(servers)):
            warmth.prewarmer.servers_changed()

    def changed(changes: Changes) -> None:
        feed.changed(changes)
        warmth.changed(changes)

    follower = RegistryFollower(
        core.registry,
        core.table,
        core.models,
        poll_s=core.settings.poll_s,
        lease_s=core.settings.lease_s,
        report=_reporting(core, warmth),
        changed=changed,
        servers_read=servers_read,
        in_force=feed.in_force,
    )
    feed.acknowledged = warmth.prewarmer.prepared = follower.wake
    return follower


def _reporting(core: Core, warmth: Warmth) -> Callable[[], ServerReport]:
    """Return what makes the report of this server for the registry, once a second."""
    meter = core.plane.meter

    def report() -> ServerReport:
        return ServerReport(
            core.models.used_bytes,
            warmth.prewarmer.prepared_revision,
            leaving=core.stopping(),
            load=meter.load,
            busiest=meter.busiest,
        )

    return report
