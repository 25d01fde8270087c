"""The OpenAPI document's part about what tenants do."""

from typing import Any

from tenantry_server.accounts.account import BOUNDS_S
from tenantry_server.accounts.accounts import By
from tenantry_server.protocols.openapi.operations import USER, operation
from tenantry_server.protocols.tenants import MOST, PATH

_COUNTS = ("requests", "errors", "clientErrors", "serverErrors", "timeouts", "limited")
_COUNT = {"type": "integer", "minimum": 0}
_SECONDS = {"type": ["number", "null"], "minimum": 0}
_LATENCY = {
    "type": "object",
    "required": ["p50Seconds", "p99Seconds", "counts"],
    "properties": {
        "p50Seconds": _SECONDS,
        "p99Seconds": _SECONDS,
        "counts": {
            "description": "One for each of latencyBoundsSeconds, and one for what is above.",
            "type": "array",
            "items": _COUNT,
            "minItems": len(BOUNDS_S) + 1,
        },
    },
}
_COUNTED = {
    **dict.fromkeys(_COUNTS, _COUNT),
    "cpuSeconds": {"description": "Of the model.", "type": "number", "minimum": 0},
    "latency": _LATENCY,
}
_OTHERS = {
    "description": "The same of tenants that have no account of their own.",
    "type": "object",
    "required": [*_COUNTED],
    "properties": _COUNTED,
}
_TENANT = {
    "type": "object",
    "required": ["userId", *_COUNTED, "bytes"],
    "properties": {
        "userId": {"type": "string"},
        **_COUNTED,
        "bytes": {"description": "Of its model in memory here, now.", **_COUNT},
    },
}
_TOP = {
    "type": "object",
    "required": ["serverId", "by", "since", "latencyBoundsSeconds", "tenants", "others"],
    "properties": {
        "serverId": {"type": "string"},
        "by": {"enum": [*By]},
        "since": {"type": "string", "format": "date-time"},
        "latencyBoundsSeconds": {"type": "array", "items": {"type": "number"}},
        "tenants": {"type": "array", "items": _TENANT},
        "others": _OTHERS,
    },
}
_QUERY: list[dict[str, Any]] = [
    {
        "name": "by",
        "in": "query",
        "description": "What comes first.",
        "schema": {"enum": [*By], "default": By.REQUESTS.value},
    },
    {
        "name": "limit",
        "in": "query",
        "description": "How many tenants.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MOST, "default": 10},
    },
    USER | {"in": "query", "required": False, "description": "This tenant alone."},
]


def paths() -> dict[str, Any]:
    """Return the paths of this part."""
    top = operation(
        "Tenantry",
        "What this server's tenants do, the heaviest first",
        {"application/json": {"schema": _TOP}},
        errors=("422", "503"),
        parameters=_QUERY,
    )
    return {PATH: {"get": top}}
