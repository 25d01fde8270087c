"""``/openapi.json`` and ``/docs``: what this server answers, for programs and for people.

``/openapi.json?user=ann`` describes that user's model alone.
"""

from functools import cache

import orjson
from aiohttp import hdrs, web

from tenantry.errors import CardNotFound
from tenantry_server.protocols.openapi import docs_page, document, of_user
from tenantry_server.protocols.service import Service, answer

_NO_SCRIPTS = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def routes(service: Service) -> list[web.RouteDef]:
    """Return both; what is of no user is made at its first request and kept."""

    async def show_document(request: web.Request) -> web.Response:
        user_id = request.query.get("user")
        if user_id is None:
            return answer(_document())
        card, model_id = await service.plane.models.card_of(user_id)
        if card is None:
            raise CardNotFound(user_id)
        return answer(orjson.dumps(of_user.document(user_id, card, model_id)), model_id)

    async def show_page(_request: web.Request) -> web.Response:
        headers = {hdrs.CONTENT_TYPE: "text/html; charset=utf-8", "Content-Security-Policy": _NO_SCRIPTS}
        return web.Response(body=_page(), headers=headers)

    return [web.get("/openapi.json", show_document), web.get("/docs", show_page)]


@cache
def _document() -> bytes:
    return orjson.dumps(document.document(), option=orjson.OPT_INDENT_2)


@cache
def _page() -> bytes:
    return docs_page.render(document.document()).encode()
