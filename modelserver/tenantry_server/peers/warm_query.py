"""`GET /peers/warm`: one server asks another which users of some shards have their models in memory there.

Owns the path and both ends of the exchange. Refuses to decide whom to ask, and what to load.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from urllib.parse import urlsplit

import aiohttp
import orjson
import structlog
from aiohttp import web
from yarl import URL

from tenantry.errors import InvalidRequest
from tenantry.placement import SHARDS, shard_of
from tenantry.trust.tls import Tls
from tenantry_server.access.hops import Hops
from tenantry_server.peers.answers import bounded
from tenantry_server.wire import headers

log = structlog.get_logger(__name__)

PATH = "/peers/warm"
_ANSWER_S = 5.0
_MOST_BYTES = 16 << 20  # a hundred thousand users

Ask = Callable[[Mapping[str, Collection[int]]], Awaitable[dict[str, list[str] | None]]]
"""As `ask`, with whatever else that takes."""


def routes(warm_users: Callable[[Collection[int]], Awaitable[Sequence[str]]]) -> list[web.RouteDef]:
    """Return the route ``GET /peers/warm?shards=1,2,3``, which answers ``{"users": […]}``.

    Args:
        warm_users: from shards to their users whose models are in memory, the most important first.
    """

    async def warm(request: web.Request) -> web.Response:
        users = await warm_users(_shards_of(request.query.get("shards", "")))
        return web.json_response({"users": list(users)})

    return [web.get(PATH, warm)]


async def ask(
    shards: Mapping[str, Collection[int]], hops: Hops | None = None, tls: Tls | None = None
) -> dict[str, list[str] | None]:
    """Ask servers, all at once, each about some shards.

    Args:
        shards: base URL of a server -> shards.
        hops: proves to them that this server asks; None: nothing does.
        tls: how this server connects to them; None: by their addresses.

    Returns:
        base URL -> users, the most important first; None where the server did not answer.
    """
    timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=jar) as session:
        lists = await asyncio.gather(
            *(_ask_one(session, url, asked, hops, tls or Tls()) for url, asked in shards.items())
        )
    return dict(zip(shards, lists, strict=True))


async def _ask_one(
    session: aiohttp.ClientSession, url: str, shards: Collection[int], hops: Hops | None, tls: Tls
) -> list[str] | None:
    target = f"{PATH}?shards={','.join(map(str, sorted(shards)))}"
    sent = {}
    if hops is not None:
        sent[headers.PROOF] = hops.proof(
            urlsplit(url).netloc.encode(), b"GET", target.encode(), b"0"
        ).decode()
    where = URL(url + target, encoded=True)
    secure = tls.secures(where.scheme)
    if secure and where.scheme == "http":
        where = where.with_scheme("https").with_port(where.port)
    try:
        secured = tls.client() if secure else True
        async with session.get(where, headers=sent, allow_redirects=False, ssl=secured) as response:
            return _users_in(response.status, await bounded.read(response, most_bytes=_MOST_BYTES), shards)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        log.warning(
            "a server does not say which models are warm there", url=url, error=type(error).__name__
        )
        return None


def _users_in(status: int, body: bytes, shards: Collection[int]) -> list[str]:
    """Return the users of an answer, without those of shards that nobody asked about.

    Raises:
        ValueError: no server of ours answers so.
    """
    document = orjson.loads(body) if status == 200 else None
    users = document.get("users") if isinstance(document, dict) else None
    if not isinstance(users, list) or not all(type(user_id) is str for user_id in users):
        raise ValueError(f"not a list of users (status {status})")
    return [user_id for user_id in users if shard_of(user_id) in shards]


def _shards_of(text: str) -> set[int]:
    """Return the shards that a query names.

    Raises:
        InvalidRequest: they are not shards.
    """
    parts = text.split(",")
    if all(part.isascii() and part.isdigit() and len(part) <= 4 and int(part) < SHARDS for part in parts):
        return {int(part) for part in parts}
    raise InvalidRequest(f"shards must be numbers from 0 to {SHARDS - 1} with commas between them")
