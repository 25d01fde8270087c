"""The port of a sidecar for the kubelet and Prometheus, which reach no loopback address of a pod."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from tenantry_server.sidecars import footprint
from tenantry_server.sidecars.followed_table import FollowedTable
from tenantry_server.wire.errors import responses as error_responses

_METRICS = "/metrics"


def make_app(
    answering: web.Application, table: FollowedTable, *, stopping: Callable[[], bool]
) -> web.Application:
    """Make the application of the probe port: /healthz, /readyz and /metrics, and nothing of any tenant.

    Args:
        answering: the application of the sidecar, whose metrics are shown.
        table: of the sidecar.
        stopping: whether it was told to stop.
    """
    shown = next(
        route.handler
        for route in answering.router.routes()
        if route.resource is not None and route.resource.canonical == _METRICS and route.method == "GET"
    )
    own = _metrics(table)

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        if table.was_read and not stopping():
            return web.json_response({"status": "ready"})
        why = (
            "it is stopping"
            if stopping()
            else f"no server was read whole yet: {table.problem() or 'reading'}"
        )
        return error_responses.response(503, "NotReady", why, error_responses.native)

    async def metrics(request: web.Request) -> web.StreamResponse:
        response = await shown(request)
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            response.body += generate_latest(own)
        return response

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get(_METRICS, metrics)])
    return app


def _metrics(table: FollowedTable) -> CollectorRegistry:
    registry = CollectorRegistry()
    for name, words, read in (
        (
            "lease_held",
            "1 while near copies may answer, 0 while all is passed on.",
            lambda: table.lease_held,
        ),
        ("tenants", "Users that the followed server knows.", lambda: len(table)),
        ("resident_bytes", "Memory of this process.", footprint.resident_bytes),
    ):
        Gauge(f"tenantry_sidecar_{name}", words, registry=registry).set_function(read)
    return registry
