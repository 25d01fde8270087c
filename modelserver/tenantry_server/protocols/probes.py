"""The routes of the kubelet, of a load balancer, of Prometheus, and of `tenantry get server`."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from tenantry_server.wire.errors import responses as error_responses
from tenantry_server.workers import state
from tenantry_server.workers.pool import Pool

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def routes(
    ready: Callable[[], bool], metrics: Callable[[], Awaitable[bytes]], pool: Pool | None
) -> list[web.RouteDef]:
    """Return the routes.

    Args:
        ready: what /readyz answers.
        metrics: returns what /metrics answers.
        pool: what /workers describes; None: the route is left out.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        if ready():
            return web.json_response({"status": "ready"})
        return error_responses.response(
            503,
            "NotReady",
            "the registry is being read, models are being loaded, or many can't be that other servers have",
            error_responses.native,
        )

    async def show_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": _PROMETHEUS})

    made = [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", show_metrics)]
    return made if pool is None else [*made, _workers(pool)]


def _workers(pool: Pool) -> web.RouteDef:
    async def workers(_request: web.Request) -> web.Response:
        return web.json_response(state.describe(pool))

    return web.get("/workers", workers)
