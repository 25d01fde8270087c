"""``GET /shards``: which server answers for which user, for clients that ask it themselves.

Names servers and their addresses, and neither users nor models.
"""

from hashlib import blake2b
from typing import Any

import orjson
from aiohttp import hdrs, web

from tenantry_server.peers.view import FleetMap

PATH = "/shards"
_ALONE: dict[str, Any] = {"revision": 0, "servers": [], "owners": []}


def routes(fleet_map: FleetMap | None) -> list[web.RouteDef]:
    """Return the route.

    Args:
        fleet_map: as it stands; None: this server is alone, and the map is empty.
    """

    async def shards(request: web.Request) -> web.Response:
        body = orjson.dumps(_ALONE if fleet_map is None else fleet_map.document())
        tag = blake2b(body, digest_size=8).hexdigest()
        kept = {hdrs.ETAG: f'"{tag}"', hdrs.CACHE_CONTROL: "no-cache"}
        if _known(request, tag):
            return web.Response(status=304, headers=kept)
        return web.Response(body=body, content_type="application/json", headers=kept)

    return [web.get(PATH, shards)]


def _known(request: web.Request, tag: str) -> bool:
    """Whether the client has this very map (RFC 9110, section 13.1.2); a header that is not one has not."""
    try:
        asked = request.if_none_match or ()
    except ValueError:
        return False
    return any(each.value in (tag, "*") for each in asked)
