"""Which server holds which user: pure functions, the same on every machine and in every version.

Rendezvous hashing (Thaler and Ravishankar, 1998): a shard goes to the server with the highest hash of
the pair, so a server that joins or leaves moves only its own shards.
"""

from collections.abc import Collection
from hashlib import blake2b

SHARDS = 1024
"""Fixed for the life of a registry: the shard of a user is part of the stored map."""


def shard_of(user_id: str) -> int:
    """The virtual shard of a user, 0 to 1,023.

    Example:
        >>> shard_of("store-042")
        977
    """
    return hash64(user_id) % SHARDS


def hash64(text: str) -> int:
    """A stable 64-bit hash (BLAKE2b, RFC 7693), unlike Python's own, which differs by process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def rendezvous(shard: int, server_ids: Collection[str]) -> list[str]:
    """The servers in the order in which they should hold `shard`, best first.

    Example:
        >>> before = [rendezvous(s, ["a", "b", "c"])[0] for s in range(SHARDS)]
        >>> after = [rendezvous(s, ["a", "b", "c", "d"])[0] for s in range(SHARDS)]
        >>> {new for old, new in zip(before, after) if old != new}
        {'d'}
    """
    return sorted(server_ids, key=lambda server: (hash64(f"{shard}/{server}"), server), reverse=True)


def owners(server_ids: Collection[str]) -> dict[int, str]:
    """The owner of every shard; empty where there is no server."""
    if not server_ids:
        return {}
    return {shard: rendezvous(shard, server_ids)[0] for shard in range(SHARDS)}
