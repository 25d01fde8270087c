"""The route by which the operator finds out whether this server is the one of its row in the registry."""

from aiohttp import web
from pydantic import SecretStr

from tenantry import proofs


def routes(secret: SecretStr | None, server_id: str, endpoint: str) -> list[web.RouteDef]:
    """Make the route; none where the fleet has no secret."""
    if secret is None:
        return []
    known = secret.get_secret_value()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=proofs.proof(known, server_id, endpoint, request.match_info["asked"]))

    return [web.get(proofs.PATH + "{asked:[0-9a-f]{32}}", answer)]
