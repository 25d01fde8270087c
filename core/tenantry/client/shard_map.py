"""The shard map as a server shows it, and in which order to ask servers for a user. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from tenantry import placement

_SCHEMES = ("http", "https")


class ShardMap:
    """Who owns which shard.

    Args:
        revision: of the newest change in it.
        urls: server id -> base URL.
        owners: shard -> server id, of the shards that have an owner.
    """

    def __init__(self, revision: int, urls: Mapping[str, str], owners: Mapping[int, str]) -> None:
        self.revision = revision
        self.urls = urls
        self._owners = owners
        self._orders: dict[int, Sequence[str]] = {}

    @classmethod
    def read(cls, body: bytes) -> "ShardMap":
        """Read the body of ``GET /shards``.

        Raises:
            ValueError: it is not a map.
        """
        document = json.loads(body)
        try:
            servers = [(str(each["id"]), base_url(each["url"])) for each in document["servers"]]
            places = document["owners"]
            owners = {
                shard: servers[place][0]
                for shard, place in enumerate(places)
                if place is not None and 0 <= place < len(servers)
            }
            revision = int(document["revision"])
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"this is not a shard map: {error!r}") from None
        if len(places) not in (0, placement.SHARDS):
            raise ValueError(f"a map of {len(places)} shards; this client knows {placement.SHARDS}")
        return cls(revision, dict(servers), owners)

    def order(self, user_id: str) -> Sequence[str]:
        """Return the base URLs of all servers: the owner of the user's shard, then those next in line."""
        shard = placement.shard_of(user_id)
        order = self._orders.get(shard)
        if order is None:
            ranked = placement.rendezvous(shard, self.urls)
            owner = self._owners.get(shard)
            if owner is not None:
                ranked = placement.holders(owner, ranked, len(ranked))
            order = self._orders[shard] = [self.urls[server_id] for server_id in ranked]
        return order


def base_url(url: Any) -> str:
    """Return a base URL without a slash at its end.

    Raises:
        ValueError: it is not one of HTTP.
    """
    parts = urlsplit(str(url))
    if parts.scheme not in _SCHEMES or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"a server's address must be http://HOST:PORT, got {url!r}")
    _ = parts.port  # raises where it is not a number
    return str(url).rstrip("/")
