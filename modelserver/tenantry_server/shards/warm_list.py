"""Which users to load for before this server takes shards over: those whose models are warm elsewhere.

Nothing depends on another server's answer: where it gives none, the list that it wrote down last is used.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, zip_longest

from tenantry.errors import RegistryUnavailable
from tenantry.placement import shard_of
from tenantry.registry import Server, ServerRegistry
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.peers import warm_query
from tenantry_server.shards.hot_users import HotUsers


class WarmList:
    """Asks the owners of shards which of their models are in memory.

    Args:
        registry: has the addresses of the owners.
        table: who owns which shard.
        hot: has what the owners wrote down.
        server_id: this server's.
        ask: how servers are asked; a parameter as only its maker knows how to connect to them.
        proven: leaves out the servers that have not proved who they are: a row alone is not asked.
    """

    def __init__(
        self,
        registry: ServerRegistry,
        table: RoutingTable,
        hot: HotUsers,
        *,
        server_id: str,
        ask: warm_query.Ask = warm_query.ask,
        proven: Callable[[Sequence[Server]], Sequence[Server]] = list,
    ) -> None:
        self._registry = registry
        self._table = table
        self._hot = hot
        self._server_id = server_id
        self._ask = ask
        self._proven = proven

    async def users_of(self, shards: Collection[int]) -> Sequence[str]:
        """Return the users of these shards whose models the owners hold in memory.

        Args:
            shards: that this server is to take over.

        Returns:
            the most important first, of all the owners by turns.
        """
        by_owner: dict[str, list[int]] = {}
        for shard in shards:
            holding = self._table.holdings.get(shard)
            if holding is not None and holding.server_id != self._server_id:
                by_owner.setdefault(holding.server_id, []).append(shard)
        urls = await self._live_urls()
        asked = {urls[o]: held for o, held in by_owner.items() if o in urls}
        answers = await self._ask(asked)
        answered = {o: users for o in by_owner if (users := answers.get(urls.get(o, ""))) is not None}
        silent = [owner for owner in by_owner if owner not in answered]
        written: Mapping[str, Mapping[str, int]] = await self._hot.recall() if silent else {}
        lists = list(answered.values())
        lists += [
            [user_id for user_id in written.get(owner, ()) if shard_of(user_id) in shards]
            for owner in silent
        ]
        by_turns = chain.from_iterable(zip_longest(*lists))
        return list(dict.fromkeys(user_id for user_id in by_turns if user_id is not None))

    async def in_memory_elsewhere(self, users: Collection[str]) -> set[str]:
        """Return those of these users whose model another live server has in memory, as far as it says."""
        urls = await self._live_urls()
        shards = {shard_of(user_id) for user_id in users}
        answers = await self._ask(
            {url: shards for server_id, url in urls.items() if server_id != self._server_id}
        )
        warm = {user_id for found in answers.values() for user_id in found or ()}
        return warm.intersection(users)

    async def _live_urls(self) -> dict[str, str]:
        try:
            servers = await asyncio.to_thread(self._registry.servers)
        except RegistryUnavailable:
            return {}
        return {server.server_id: server.endpoint for server in self._proven(servers) if server.live}
