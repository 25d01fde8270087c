"""The route by which the operator finds out whether this server is the one of its row in the registry."""

from aiohttp import web

from tenantry.trust import proofs
from tenantry.trust.fleet_secrets import FleetSecrets


def routes(secrets: FleetSecrets | None, server_id: str, endpoint: str) -> list[web.RouteDef]:
    """Make the route; none where the fleet has no secret."""
    if secrets is None:
        return []

    async def answer(request: web.Request) -> web.Response:
        return web.Response(
            text=proofs.proof(secrets.current, server_id, endpoint, request.match_info["asked"])
        )

    return [web.get(proofs.PATH + "{asked:[0-9a-f]{32}}", answer)]
