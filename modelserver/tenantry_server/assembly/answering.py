"""What answers requests: the application, what it passes on, and whom it tells of changes."""

from collections.abc import Callable
from functools import partial

from aiohttp import web

from tenantry_server.app import make_app
from tenantry_server.assembly.core import Core
from tenantry_server.assembly.warmth import Warmth
from tenantry_server.assignments.verdicts import Verdicts
from tenantry_server.peers import challenge, near_copies, warm_query
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.forwarder import Forwarder
from tenantry_server.peers.near_copies import NearCopies
from tenantry_server.peers.view import FleetMap
from tenantry_server.sidecars import messages
from tenantry_server.sidecars import routes as follow_routes
from tenantry_server.sidecars.feed import Feed
from tenantry_server.supply import readings_of


def feed_of(core: Core) -> Feed:
    """Make what those who follow this server read."""
    limits = core.settings.limits.to_text()
    return Feed(core.table, fleet=partial(_fleet, core.directory, core.endpoint, core.stopping, limits))


def application(
    core: Core, warmth: Warmth, feed: Feed, copies: NearCopies, ready: Callable[[], bool]
) -> web.Application:
    """Make the application.

    Args:
        ready: what /readyz answers.
    """
    settings, gate, table = core.settings, core.gatekeeper.gate, core.table
    forwarder = Forwarder(
        core.view,
        core.directory,
        timeout_s=settings.predict_timeout_s,
        max_body_bytes=settings.max_body_bytes,
        passed_on=copies.passed_on,
        models_here=core.workers is None,
        hops=core.gatekeeper.hops,
    )
    app = make_app(
        table,
        core.models,
        server_id=settings.server_id,
        predict_timeout_s=settings.predict_timeout_s,
        max_body_bytes=settings.max_body_bytes,
        read_timeout_s=settings.read_timeout_s,
        max_arriving_bytes=settings.max_arriving_bytes,
        data_plane=core.plane,
        disk=core.disk,
        ready=ready,
        registry_age_s=lambda: table.contact.age_s,
        forwarder=forwarder,
        fleet_map=FleetMap(table, core.directory, core.endpoint),
        pool=core.workers,
        explained=Verdicts(core.registry).explained,
        gate=gate,
        max_batch_rows=settings.max_batch_rows,
        top_tenants=settings.top_tenants,
        readings=readings_of(table, core.tls, feed, core.holds),
    )
    app.add_routes([*warm_query.routes(warmth.hot.in_memory), *near_copies.routes(core.models)])
    app.add_routes(challenge.routes(core.secrets, settings.server_id, core.endpoint))
    if core.secrets is not None:
        app.add_routes(follow_routes.routes(feed, core.secrets))
    return app


def _fleet(directory: Directory, endpoint: str, stopping: Callable[[], bool], limits: str) -> bytes:
    """Return who lives and the limits of everyone, for those who follow this server."""
    own = directory.server_id
    peers = [(p.server_id, p.endpoint, p.load, p.leaving) for p in directory.peers.values() if p.live]
    return messages.encode_fleet(own, [(own, endpoint, directory.own_load, stopping()), *peers], limits)
