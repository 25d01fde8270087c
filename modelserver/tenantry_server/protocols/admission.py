"""What each route asks of its caller, and whether a request may go on to its handler.

A route that is not named here is for admins. A path is judged by the route and the user that it leads to,
as the router decoded them, and never by how it is spelt.
"""

from aiohttp import hdrs, web

from tenantry.errors import Forbidden, Unauthenticated
from tenantry.trust import tls
from tenantry_server import protocols
from tenantry_server.access.gate import Gate, Need
from tenantry_server.access.grants import Grant
from tenantry_server.wire import headers

_FOLLOW = "/follow"
_NEEDS = {
    Need.NOTHING: (
        "/",
        "/healthz",
        "/readyz",
        "/v2/health/live",
        "/v2/health/ready",
        "/challenge/{asked}",
        _FOLLOW,
    ),
    Need.CALLER: ("/v2", "/shards"),
    Need.USER: (
        "/predict/{user_id}",
        "/cards/{user_id}",
        "/forecast/{user_id}",
        "/v1/timeseries/forecast",
        "/v1/models/{user_id}",
        "/v1/models/{user_id}:predict",
        "/v2/models/{user_id}",
        "/v2/models/{user_id}/infer",
        "/v2/models/{user_id}/ready",
        "/v2/models/{user_id}/versions/{version}",
        "/v2/models/{user_id}/versions/{version}/infer",
        "/v2/models/{user_id}/versions/{version}/ready",
    ),
    Need.USERS: ("/predict", "/forecast"),
    Need.OPERATE: ("/v2/repository/models/{user_id}/load", "/v2/repository/models/{user_id}/unload"),
    Need.LIST: ("/v1/models", "/v1/timeseries/models", "/v2/repository/index", "/tenants/top"),
    Need.PEER: ("/peers/warm", "/peers/kernels"),
}
_OF = {path: need for need, paths in _NEEDS.items() for path in paths}
_OF_HOPS = frozenset({Need.USER, Need.USERS, Need.OPERATE, Need.PEER})
_GRANT = web.RequestKey("grant", Grant)


def need_of(request: web.Request) -> Need:
    """Return what the route of a request asks of its caller."""
    resource = request.match_info.route.resource
    if resource is None:  # 404 or 405, of which a stranger learns nothing
        return Need.CALLER
    return _OF.get(resource.canonical, Need.ADMIN)


async def admit(gate: Gate, request: web.Request) -> None:
    """Refuse a request that is not for its caller, before anything of a tenant is touched.

    Raises:
        Unauthenticated: the caller shows no valid key or token.
        Forbidden: it is not for this caller.
        RegistryUnavailable: the keys were not read yet.
        TenantryError: a body that names the user did not arrive.
    """
    need = need_of(request)
    if gate.wants_certificates:
        _admit_servers(request, need)
    if not gate.required:
        gate.judge_open(need)
        return
    if need is Need.NOTHING:
        return
    given = request.headers
    if need is Need.PEER or headers.PROOF in given or headers.HOP in given:  # else limits hold on no server
        length = request.headers.get(hdrs.CONTENT_LENGTH, "-" if request.body_exists else "0")
        proofs = request.headers.getall(headers.PROOF, ())
        if need in _OF_HOPS and gate.is_hop(request.method, request.raw_path, length, proofs):
            return
        raise Unauthenticated("no valid proof of another server")
    grant = await gate.caller(request.headers.getall(hdrs.AUTHORIZATION, ()))
    if need is Need.USERS:
        request[_GRANT] = grant
    user_id = await protocols.user_id_of(request) if need in (Need.USER, Need.OPERATE) else None
    gate.judge(grant, need, user_id)


def _admit_servers(request: web.Request, need: Need) -> None:
    """Refuse what only servers and their followers send where no certificate was shown.

    Raises:
        Unauthenticated: it is not a server's.
    """
    of_servers = need is Need.PEER or headers.PROOF in request.headers or request.path == _FOLLOW
    if of_servers and not tls.shows_certificate(request.transport):
        raise Unauthenticated("this is for servers with a certificate of the fleet's CA (TENANTRY_TLS_CA)")


def refusal_of(request: web.Request, user_id: str) -> Forbidden | None:
    """Return why a caller may not ask for one of several users; None: it may.

    It says the same whether or not that user exists.
    """
    grant = request.get(_GRANT)
    if grant is None or grant.covers(user_id):
        return None
    return Forbidden("the key or token is not for this user")


def judges_users(request: web.Request) -> bool:
    """Return whether each of several users has to be judged: not where nobody shows a key, nor of a hop."""
    return _GRANT in request
