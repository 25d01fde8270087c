"""Wire protocols: Tenantry's own, KServe V1, Open Inference Protocol V2, and a description of all.

Each module turns requests of one protocol into a Payload, and an Answer into that protocol's words. In
both, the model's name is the user id. What is refused is raised as a TenantryError; only the
application makes a status of it, in the words that `error_words` gives for the path that was asked.
"""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from tenantry_server.protocols import native, v1
from tenantry_server.protocols.openapi import routes as openapi
from tenantry_server.protocols.service import Service
from tenantry_server.protocols.v2 import routes as v2

__all__ = ["PREDICTIONS", "Service", "error_words", "routes"]

PREDICTIONS = (":predict", "/infer")
"""What the paths of predictions end with; they are counted, whatever protocol asked."""


def routes(service: Service) -> list[web.RouteDef]:
    """The routes of every protocol of this package, ready for `web.Application.add_routes`."""
    return [*native.routes(service), *v1.routes(service), *v2.routes(service), *openapi.routes()]


def error_words(path: str) -> Callable[[str, str], Any] | None:
    """How the protocol that `path` belongs to words an error; None where it is none of these.

    Returns:
        of a reason and a message, the JSON document of the answer.
    """
    if path.startswith(("/v1/", "/v2/")) or path == "/v2":
        return _kserve_error
    return None


def _kserve_error(_reason: str, message: str) -> Any:
    return {"error": message}  # KServe's and Triton's clients show what stands there
