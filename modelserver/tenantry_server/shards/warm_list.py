"""What one server tells another that takes shards over from it: whose models it has in memory.

Nothing depends on the answer: a server that does not give it is asked for what it wrote down last.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from itertools import chain, zip_longest

import aiohttp
import structlog
from aiohttp import web

from tenantry.errors import InvalidRequest, RegistryUnavailable
from tenantry.placement import SHARDS, shard_of
from tenantry.registry import Server, ServerRegistry
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.shards.hot_users import HotUsers

log = structlog.get_logger(__name__)

PATH = "/peers/warm"
_ANSWER_S = 5.0


class Handover:
    """Asks those who hold shards what of them is warm, and answers when it is asked itself.

    Args:
        registry: where the others are.
        table: who holds which shard.
        hot: what is in this server's memory, and what the others wrote down.
        server_id: this server's.
    """

    def __init__(
        self, registry: ServerRegistry, table: RoutingTable, hot: HotUsers, *, server_id: str
    ) -> None:
        self._registry = registry
        self._table = table
        self._hot = hot
        self._server_id = server_id

    def routes(self) -> list[web.RouteDef]:
        """``GET /peers/warm?shards=1,2,3``: ``{"users": […]}``, the most important first."""

        async def warm(request: web.Request) -> web.Response:
            users = await self._hot.in_memory(_shards_of(request.query.get("shards", "")))
            return web.json_response({"users": users})

        return [web.get(PATH, warm)]

    async def warm_elsewhere(self, shards: Collection[int]) -> Sequence[str]:
        """The users of these shards whose models are in the memory of those who hold them.

        Args:
            shards: that this server is to take over.

        Returns:
            the most important first, of all the holders by turns.
        """
        by_holder: dict[str, list[int]] = {}
        for shard in shards:
            holding = self._table.holdings.get(shard)
            if holding is not None and holding.server_id != self._server_id:
                by_holder.setdefault(holding.server_id, []).append(shard)
        try:
            servers = await asyncio.to_thread(self._registry.servers)
        except RegistryUnavailable:
            servers = []
        endpoints = {server.server_id: server for server in servers if server.live}
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            lists = await asyncio.gather(
                *(_ask(session, endpoints.get(holder), held) for holder, held in by_holder.items())
            )
        silent = [holder for holder, users in zip(by_holder, lists, strict=True) if users is None]
        written: Mapping[str, Mapping[str, int]] = await self._hot.recall() if silent else {}
        told = [users for users in lists if users is not None]
        told += [
            [user_id for user_id in written.get(holder, ()) if shard_of(user_id) in shards]
            for holder in silent
        ]
        return list(dict.fromkeys(user_id for user_id in chain(*zip_longest(*told)) if user_id is not None))


async def _ask(
    session: aiohttp.ClientSession, server: Server | None, shards: Sequence[int]
) -> list[str] | None:
    """What a server says of these shards; None where it does not answer."""
    if server is None:
        return None
    query = {"shards": ",".join(map(str, sorted(shards)))}
    try:
        async with session.get(server.endpoint + PATH, params=query) as response:
            response.raise_for_status()
            document = await response.json()
            return [str(user_id) for user_id in document["users"]]
    except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError) as error:
        log.warning(
            "a server does not say what is warm there", server=server.server_id, error=type(error).__name__
        )
        return None


def _shards_of(text: str) -> set[int]:
    """The shards that a query names.

    Raises:
        InvalidRequest: they are none.
    """
    parts = text.split(",")
    if all(part.isascii() and part.isdigit() and len(part) <= 4 and int(part) < SHARDS for part in parts):
        return {int(part) for part in parts}
    raise InvalidRequest(f"shards must be numbers from 0 to {SHARDS - 1} with commas between them")
