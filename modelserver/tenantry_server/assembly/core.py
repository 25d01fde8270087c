"""The parts that every other part of a server is made with."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine

from tenantry.registry import ServerRegistry
from tenantry.trust.challenges import Challenges, ask
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry.trust.tls import Tls
from tenantry_server.artifacts.disk_cache import DiskCache
from tenantry_server.artifacts.needs import Needs
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.gatekeeper import Gatekeeper
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.view import FleetView
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.quotas.quotas import Quotas
from tenantry_server.scoring import bounds
from tenantry_server.settings import ServerSettings
from tenantry_server.signing.trust import FollowedTrust
from tenantry_server.supply import checker_of, disk_of, loads_of, models_of, plane_of, trust_of, workers_of
from tenantry_server.watchdog import Holds
from tenantry_server.workers.loading import WorkerLoads
from tenantry_server.workers.pool import Pool


@dataclass(frozen=True, slots=True)
class Core:
    """What a server has, knows and asks, each described by its own module.

    Attributes:
        endpoint: base URL under which its peers reach it.
        tls: how it connects to them.
        stopping: whether it was told to stop.
        holds: of its event loop, for the metrics.
    """

    settings: ServerSettings
    endpoint: str
    tls: Tls
    stopping: Callable[[], bool]
    holds: Holds
    registry: ServerRegistry
    disk: DiskCache | None
    workers: Pool | None
    loads: WorkerLoads | None
    trust: FollowedTrust
    models: CachedModelRepository
    table: RoutingTable
    plane: DataPlane
    secrets: FleetSecrets | None
    challenges: Challenges
    directory: Directory
    view: FleetView
    gatekeeper: Gatekeeper


def core_of(
    settings: ServerSettings,
    engine: Engine,
    *,
    endpoint: str,
    tls: Tls,
    stopping: Callable[[], bool],
    holds: Holds,
) -> Core:
    """Make them; see `Core` for what is given."""
    bounds.bound_answers(settings.max_answer_bytes)  # of kernels, which are computed in this process
    registry = ServerRegistry(
        engine, settings.server_id, endpoint=endpoint, capacity_bytes=settings.cache_bytes
    )
    disk = disk_of(settings)
    workers = workers_of(settings)
    loads = loads_of(settings, workers)
    trust = trust_of(settings)
    checker = checker_of(settings, workers, lambda: trust.now)
    needs = Needs()
    models = models_of(
        settings, disk, loads and loads.load, checker, loads and loads.load_many, needs=needs
    )
    table = RoutingTable(registry, on_loss=settings.on_registry_loss)
    needs.size_elsewhere = table.size_of
    if loads is not None:
        loads.needs = needs
    quotas = Quotas(table.limits, settings.limits)
    plane = plane_of(settings, table, models, workers, quotas)
    directory = Directory(settings.server_id, tls)
    secrets = settings.fleet_secrets()
    view = FleetView(table, directory, plane)
    quotas.share = view.share
    return Core(
        settings=settings,
        endpoint=endpoint,
        tls=tls,
        stopping=stopping,
        holds=holds,
        registry=registry,
        disk=disk,
        workers=workers,
        loads=loads,
        trust=trust,
        models=models,
        table=table,
        plane=plane,
        secrets=secrets,
        challenges=Challenges(secrets, settings.server_id, ask=partial(ask, tls=tls)),
        directory=directory,
        view=view,
        gatekeeper=Gatekeeper(
            settings, engine, endpoint=endpoint, wants_certificates=tls.wants_certificates
        ),
    )
