"""``GET /tenants/top``: what the tenants of this server do, the heaviest first; and counting answers.

The query: ``by`` is requests (the default), errors, cpu or bytes; ``limit`` is 1 to 1,000, 10 by default;
``user_id`` asks for one tenant alone. The answer is of this server only: `tenantry top` adds up the
fleet's. A request counts on the server that answered it, not where it was passed on. What is counted is of
the last one to two hours (``since``), in a process that runs for so long; ``bytes`` is of now.

    {"serverId": "server-0", "by": "cpu", "since": "2026-11-30T10:00:00Z",
     "latencyBoundsSeconds": [0.0001, …],
     "tenants": [{"userId": "ann", "requests": 17, "errors": 3, "clientErrors": 1, "serverErrors": 1,
                  "timeouts": 1, "limited": 0, "cpuSeconds": 0.25,
                  "latency": {"p50Seconds": 0.002, "p99Seconds": 0.09, "counts": [0, …]}, "bytes": 4096}],
     "others": {"requests": 0, …}}

``errors`` is clientErrors + serverErrors + timeouts. ``counts`` has one number for each bound and one for
what is above; they can be added up over servers, quantiles can't. A quantile is null where nothing was
measured. ``others`` holds the same of tenants that have no account of their own (see `accounts.accounts`).
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from heapq import nlargest
from operator import itemgetter
from typing import Any

import orjson
from aiohttp import web

from tenantry import TenantryError
from tenantry.errors import InvalidRequest, ModelNotReady
from tenantry_server.accounts.account import BOUNDS_S, Account, quantile_s
from tenantry_server.accounts.accounts import Accounts, By
from tenantry_server.accounts.memory_use import Sizes
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.rows.payload import short
from tenantry_server.wire.asked import USER

PATH = "/tenants/top"
MOST = 1000
_USUAL = 10
_NOT_COUNTED = (401, 403, 404)  # the caller is not let in, or no TenantModel has that name


def routes(server_id: str, accounts: Accounts, sizes: Sizes) -> list[web.RouteDef]:
    """Return the route.

    Args:
        accounts: of all tenants.
        sizes: their bytes in memory.
    """

    async def top(request: web.Request) -> web.Response:
        by, limit, user_id = _by(request), _limit(request), _user(request)
        found, held = await asyncio.to_thread(_found, accounts, sizes, by, limit, user_id)
        document = {
            "serverId": server_id,
            "by": by.value,
            "since": datetime.fromtimestamp(accounts.since_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "latencyBoundsSeconds": BOUNDS_S,
            "tenants": [
                {"userId": user_id, **_counted(account), "bytes": held.get(user_id, 0)}
                for user_id, account in found
            ],
            "others": _counted(accounts.of_others()),
        }
        return web.Response(body=orjson.dumps(document), content_type="application/json")

    return [web.get(PATH, top)]


def count(plane: DataPlane, request: web.Request, status: int, seconds: float) -> None:
    """Count the answer to a prediction that this server itself has given."""
    user_id = request.get(USER)
    if user_id is None or status in _NOT_COUNTED:
        return
    if status != 200:
        if not _is_declared(plane, user_id):
            return
        plane.meter.spent(user_id, 0.0)  # what is answered is charged where it is computed
    plane.meter.accounts.ended(user_id, status, seconds)


def _is_declared(plane: DataPlane, user_id: str) -> bool:
    """Return whether a TenantModel has this user, as far as that is known without asking SQL."""
    try:
        return plane.models.knows(user_id)
    except ModelNotReady:
        return True
    except TenantryError:
        return False


def _found(
    accounts: Accounts, sizes: Sizes, by: By, limit: int, user_id: str | None
) -> tuple[Sequence[tuple[str, Account]], Any]:
    held = sizes()
    if user_id is not None:
        return [(user_id, accounts.of_user(user_id))], held
    if by is not By.BYTES:
        return accounts.heaviest(by, limit), held
    largest = nlargest(limit, held.items(), key=itemgetter(1, 0))
    return [(name, accounts.of_user(name)) for name, _ in largest], held


def _counted(account: Account) -> dict[str, Any]:
    counts = account.latencies or [0] * (len(BOUNDS_S) + 1)
    return {
        "requests": account.requests,
        "errors": account.errors,
        "clientErrors": account.client_errors,
        "serverErrors": account.server_errors,
        "timeouts": account.timeouts,
        "limited": account.limited,
        "cpuSeconds": account.cpu_s,
        "latency": {
            "p50Seconds": quantile_s(counts, 0.5),
            "p99Seconds": quantile_s(counts, 0.99),
            "counts": counts,
        },
    }


def _by(request: web.Request) -> By:
    given = request.query.get("by", By.REQUESTS.value)
    try:
        return By(given)
    except ValueError:
        raise InvalidRequest(f"?by= must be one of {', '.join(By)}, got {short(given)}") from None


def _user(request: web.Request) -> str | None:
    given = request.query.get("user_id")
    if given == "":
        raise InvalidRequest("?user_id= is empty; leave it out to list the heaviest tenants")
    return given


def _limit(request: web.Request) -> int:
    given = request.query.get("limit", str(_USUAL))
    if not (given.isascii() and given.isdigit() and len(given) < 6 and 1 <= int(given) <= MOST):
        raise InvalidRequest(f"?limit= must be a whole number from 1 to {MOST}, got {short(given)}")
    return int(given)
