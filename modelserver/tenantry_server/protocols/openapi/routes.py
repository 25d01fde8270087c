"""``/openapi.json`` and ``/docs``: what this server answers, for programs and for people."""

from functools import cache

import orjson
from aiohttp import hdrs, web

from tenantry_server.protocols.openapi import docs_page, document
from tenantry_server.protocols.service import answer

_NO_SCRIPTS = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def routes() -> list[web.RouteDef]:
    """Return both; each is made at its first request and kept."""

    async def show_document(_request: web.Request) -> web.Response:
        return answer(_document())

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
