"""The aiohttp application: its routes, and what all answers have in common."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import hdrs, web

from tenantry import TenantryError
from tenantry.errors import ModelNotReady
from tenantry_server import protocols
from tenantry_server.access.gate import Gate
from tenantry_server.accounts.exported import ExportedTenants
from tenantry_server.accounts.memory_use import sizes_of
from tenantry_server.artifacts.disk_cache import DiskCache
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.memory import garbage
from tenantry_server.metrics import Reading, ServerMetrics
from tenantry_server.peers.forwarder import Forwarder, Handler
from tenantry_server.peers.view import FleetMap
from tenantry_server.predicting.batches import Batches
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.predicting.model_failures import ModelFailures
from tenantry_server.protocols import probes, shard_map, tenants
from tenantry_server.protocols.admission import admit
from tenantry_server.protocols.batch import routes as batch
from tenantry_server.protocols.batch.inside import Inside
from tenantry_server.protocols.fast_path import FastPath
from tenantry_server.protocols.service import SERVICE
from tenantry_server.wire import bodies, headers
from tenantry_server.wire.asked import BEGAN_S, FAILED, USER
from tenantry_server.wire.errors import refusals
from tenantry_server.wire.errors import responses as error_responses
from tenantry_server.workers.calls.large_bodies import LargeBodies
from tenantry_server.workers.calls.tables import Tables
from tenantry_server.workers.pool import Pool

log = structlog.get_logger(__name__)

Explained = Callable[[ModelNotReady], Awaitable[ModelNotReady]]
"""From the error that no version has loaded to the one that says why."""

FAST_PATH = web.AppKey("fast_path", FastPath)
"""Where an application keeps its fast path, for the process to install on the server."""


def make_app(  # noqa: PLR0913 - each has a default that a small server keeps
    model_info_repository: ModelInfoRepository,
    model_repository: ModelRepository,
    *,
    server_id: str = "server-0",
    predict_timeout_s: float = 10.0,
    max_body_bytes: int = 8 << 20,
    read_timeout_s: float = 30.0,
    max_arriving_bytes: int = 256 << 20,
    data_plane: DataPlane | None = None,
    disk: DiskCache | None = None,
    ready: Callable[[], bool] = lambda: True,
    registry_age_s: Callable[[], float | None] = lambda: None,
    forwarder: Forwarder | None = None,
    fleet_map: FleetMap | None = None,
    pool: Pool | None = None,
    explained: Explained | None = None,
    gate: Gate | None = None,
    max_batch_rows: int = 100_000,
    top_tenants: int = 10,
    readings: Iterable[Reading] = (),
) -> web.Application:
    """Make the application that serves every user's own model, for `aiohttp.web.run_app`.

    Routes: ``POST /predict/{user_id}``, ``POST /predict``, ``GET /healthz``, ``GET /readyz``, ``GET
    /metrics``, and those of `tenantry_server.protocols`, all described at ``/openapi.json`` and ``/docs``.
    Every error is JSON, ``{"error": {"reason": …, "message": …}}``, or has the form of its protocol.

    Args:
        model_info_repository: from users to models.
        model_repository: the models; wrap it in a CachedModelRepository.
        server_id: shown in the header Tenantry-Server.
        predict_timeout_s: for one request, a cold load included.
        max_body_bytes: a larger body is answered with 413.
        read_timeout_s: for a body to arrive; a slower one is answered with 408.
        max_arriving_bytes: what bodies that still arrive may hold together; over it, the oldest is answered
            with 503.
        data_plane: made of the two repositories where it is None, and closed with the application.
        disk: the disk cache, shown in the metrics.
        ready: returns what /readyz answers.
        registry_age_s: returns how old the knowledge is that answers, while the registry is out of
            reach; shown in a header where it is not None.
        forwarder: passes on what other servers should answer; None: everything is answered here.
        fleet_map: what ``GET /shards`` shows; None: an empty map.
        pool: of the processes that run models, shown in the metrics and at ``/workers``; it outlives the
            application.
        explained: finds out why no version of a model has loaded; None: nobody knows.
        gate: says who may ask for what; None: everyone for predictions, nobody for lists of all users or
            to load and unload models.
        max_batch_rows: of a request for many users; more are answered with 413.
        top_tenants: how many tenants the metrics name by each of requests, errors and CPU, where lists of
            users are open or for admins alone.
        readings: what /metrics shows besides.

    Example:
        >>> from tenantry_server import FileSystemModelRepository, SQLAlchemyModelInfoRepository
        >>> from tenantry.registry import open_engine
        >>> app = make_app(
        ...     SQLAlchemyModelInfoRepository(open_engine("sqlite://")), FileSystemModelRepository()
        ... )
        >>> sorted({route.resource.canonical for route in app.router.routes()})
        ['/', '/cards/{user_id}', '/docs', '/forecast', '/forecast/{user_id}', '/healthz', ...]
    """
    plane = data_plane or DataPlane(
        model_info_repository, model_repository, predict_timeout_s=predict_timeout_s
    )
    gate = gate or Gate()
    arriving = bodies.Arriving(timeout_s=read_timeout_s, max_bytes=max_arriving_bytes)
    metrics = ServerMetrics(model_repository, disk, forwarder, pool)
    metrics.show_plane(plane)
    metrics.show(
        Reading("ready", "1 while /readyz says 200.", ready),
        Reading("arriving_bytes", "What unfinished bodies hold.", lambda: arriving.held_bytes),
        *readings,
    )
    accounts, sizes = plane.meter.accounts, sizes_of(model_info_repository, model_repository)
    metrics.show_tenants(ExportedTenants(accounts, sizes, top_tenants if gate.names_users else 0))
    service = _service(plane, pool, predict_timeout_s, ready, registry_age_s)
    failures = ModelFailures(model_info_repository.peek)
    batches = Batches(plane, model_info_repository, model_repository, error_responses.status_of)
    inside = Inside(
        service,
        batches,
        None if forwarder is None else forwarder.spread,
        None if pool is None else Tables(pool, timeout_s=predict_timeout_s),
        max_rows=max_batch_rows,
        max_body_bytes=max_body_bytes,
        explained=explained,
        counted=metrics.rows,
        failures=failures,
    )
    way = _Way(gate, plane, forwarder, explained, fleet_map, failures)
    middleware = _errors_as_json(server_id, metrics, registry_age_s, way)
    app = web.Application(client_max_size=max_body_bytes, middlewares=[middleware])
    app[bodies.ARRIVING] = arriving
    app[SERVICE] = service
    app[FAST_PATH] = FastPath(
        service,
        forwarder,
        gate=gate,
        server_id=server_id,
        max_body_bytes=max_body_bytes,
        answered=metrics.answered,
        fleet_map=fleet_map,
    )
    app.add_routes(probes.routes(ready, metrics.fresh, pool))
    app.add_routes(tenants.routes(server_id, accounts, sizes))
    app.add_routes(protocols.routes(service))
    app.add_routes(batch.routes(inside))
    app.add_routes(shard_map.routes(fleet_map))
    app.cleanup_ctx.append(_closing(plane.close))
    app.on_response_prepare.append(_without_versions)
    return app


def _service(
    plane: DataPlane,
    pool: Pool | None,
    predict_timeout_s: float,
    ready: Callable[[], bool],
    registry_age_s: Callable[[], float | None],
) -> protocols.Service:
    """Make what all protocols answer from; large bodies are parsed apart where there are workers."""
    apart = None if pool is None else LargeBodies(pool, timeout_s=predict_timeout_s, aside=plane.aside)
    return protocols.Service(plane, predict_timeout_s, ready, registry_age_s, apart)


def _closing(close: Callable[[], None]) -> Callable[[web.Application], AsyncIterator[None]]:
    """Make what an application calls when it ends."""

    async def closing(_app: web.Application) -> AsyncIterator[None]:
        yield
        close()

    return closing


async def _without_versions(_request: web.Request, response: web.StreamResponse) -> None:
    """Leave out the header in which aiohttp names itself: who attacks looks for its version."""
    response.headers.popall(hdrs.SERVER, None)


def _errors_as_json(
    server_id: str,
    metrics: ServerMetrics,
    registry_age_s: Callable[[], float | None],
    way: "_Way",
) -> Any:
    """Make the middleware that answers failures in one form, and counts and logs predictions."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        began_s = request.get(BEGAN_S) or time.perf_counter()
        response: web.StreamResponse | None = None
        try:
            with garbage.spared(request.content_length or 0):
                response = await _answered(request, handler, way)
        finally:
            bodies.close(request, response)
        forwarded = headers.HOP in response.headers
        if not forwarded:
            response.headers[headers.SERVER] = server_id
            if way.fleet_map is not None and way.fleet_map.revision:
                response.headers[headers.SHARDS] = str(way.fleet_map.revision)
        if request.method == "POST" and _is_prediction(request.path):
            age_s = None if forwarded else registry_age_s()
            if age_s is not None:
                response.headers[headers.REGISTRY_AGE] = str(int(age_s))
            seconds = time.perf_counter() - began_s
            metrics.answered(response.status, seconds)
            if not forwarded:
                tenants.count(way.plane, request, response.status, seconds)
        return response

    return middleware


def _is_prediction(path: str) -> bool:
    return (
        path.startswith(("/predict/", "/forecast/"))
        or path in batch.PATHS
        or path.endswith(protocols.PREDICTIONS)
    )


@dataclass(frozen=True, slots=True)
class _Way:
    """What a request passes before its handler, and what its answer says of the fleet."""

    gate: Gate
    plane: DataPlane
    forwarder: Forwarder | None
    explained: Explained | None
    fleet_map: FleetMap | None
    failures: ModelFailures


async def _routed(request: web.Request, handler: Handler, way: _Way) -> web.StreamResponse:
    await admit(way.gate, request)
    user_id = await protocols.user_id_of(request)
    if user_id is None:
        return await handler(request)
    request[USER] = user_id

    async def here(request: web.Request) -> web.StreamResponse:
        if FAILED in request:
            raise request[FAILED]
        if request.method == "POST" and _is_prediction(request.path):
            way.plane.quotas.check_rate(user_id)
        return await handler(request)

    return await (here(request) if way.forwarder is None else way.forwarder.handle(request, user_id, here))


async def _answered(request: web.Request, handler: Handler, way: _Way) -> web.StreamResponse:
    body = protocols.error_words(request.path) or error_responses.native
    if refusals.is_odd(request.raw_path):
        return refusals.of_odd_path(body)
    try:
        return await _routed(request, handler, way)
    except TenantryError as error:
        if isinstance(error, ModelNotReady) and way.explained is not None:
            error = await way.explained(error)
        response = error_responses.of_error(error, body)
        if response.status == 500:
            way.failures.add(request.get(USER), error)
        return response
    except web.RequestPayloadError as error:
        return error_responses.of_broken_body(request, error, body)
    except web.HTTPException as error:
        return error_responses.of_http(request, error, body)
    except ConnectionError:
        raise
    except Exception:
        log.exception("request failed", path=request.path)
        message = "this server failed on the request; its log says why"
        return error_responses.response(500, "InternalError", message, body)
