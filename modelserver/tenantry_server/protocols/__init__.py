"""Wire protocols: Tenantry's own, KServe V1, V2, forecasts, and a description of all of them.

Each module turns requests of one protocol into a Payload, and an Answer into that protocol's form. The
model's name is the user id. Refusals are raised as TenantryErrors; only the application turns them into a
status, in the form that `error_words` gives for the path.
"""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from tenantry_server.protocols import forecast, native, timeseries, v1
from tenantry_server.protocols.openapi import routes as openapi
from tenantry_server.protocols.service import Service
from tenantry_server.protocols.v2 import routes as v2
from tenantry_server.wire.errors import responses as error_responses

__all__ = ["PREDICTIONS", "Service", "error_words", "routes", "user_id_of"]

PREDICTIONS = (":predict", "/infer", timeseries.PATH)
"""The ends of the paths of predictions, which are counted for every protocol."""


def routes(service: Service) -> list[web.RouteDef]:
    """Return the routes of every protocol, for `web.Application.add_routes`."""
    return [
        *native.routes(service),
        *forecast.routes(service),
        *timeseries.routes(service),
        *v1.routes(service),
        *v2.routes(service),
        *openapi.routes(service),
    ]


async def user_id_of(request: web.Request) -> str | None:
    """Return whose model a request asks, by its path or its body; None: nobody's, or the body is broken.

    Raises:
        TenantryError: the body did not arrive.
    """
    if request.path == timeseries.PATH and request.method == "POST":
        return await timeseries.user_id_of(request)
    return request.match_info.get("user_id")


def error_words(path: str) -> Callable[[str, str], Any] | None:
    """Return how the protocol of `path` formats an error; None where `path` belongs to no protocol here.

    Returns:
        from a reason and a message to the JSON document of the answer.
    """
    if path.startswith(timeseries.PREFIX):
        return timeseries.error
    if path.startswith(("/v1/", "/v2/")) or path == "/v2":
        return error_responses.kserve
    return None
