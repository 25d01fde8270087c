"""Which server holds which user: pure functions, the same on every machine and in every version.

Rendezvous hashing (Thaler and Ravishankar, 1998): a shard goes to the server with the highest hash of
the pair, so a server that joins or leaves moves only its own shards. Bounded as in "Consistent Hashing
with Bounded Loads" (Mirrokni, Thorup and Zadimoghaddam, 2018): a server that is full is passed over.

A weight is a whole number, bytes where they are known: sums are exact, so the same map comes out again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import islice

SHARDS = 1024
"""Fixed for the life of a registry: the shard of a user is part of the stored map."""

CAP = 1.05
"""A server is given no more than this many times the mean, where shards are small enough for that."""

STRAINED = 1.10
"""A server that has come to hold more than this many times the mean gives some of it away.

Well above the cap: 101 servers hold 1.06 of the new mean where 100 held 1.05 of the old, and that is
no reason for each of them to move a shard.
"""

_FAIR = 0.95  # of the mean: what a newcomer takes from others even where none of them is over the cap


def shard_of(user_id: str) -> int:
    """Return the shard of a user, 0 to 1,023.

    Example:
        >>> shard_of("store-042")
        977
    """
    return hash64(user_id) % SHARDS


def hash64(text: str) -> int:
    """Return a stable 64-bit hash (BLAKE2b, RFC 7693), unlike Python's own, which differs by process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


@lru_cache(maxsize=512)  # 40 KB for each server; 2 ms the first time
def _scores(server_id: str) -> tuple[int, ...]:
    """Return the rendezvous score of this server for each shard."""
    return tuple(hash64(f"{shard}/{server_id}") for shard in range(SHARDS))


def rendezvous(shard: int, server_ids: Collection[str]) -> list[str]:
    """Return the servers in the order in which they should hold `shard`, best first.

    Example:
        >>> before = [rendezvous(s, ["a", "b", "c"])[0] for s in range(SHARDS)]
        >>> after = [rendezvous(s, ["a", "b", "c", "d"])[0] for s in range(SHARDS)]
        >>> {new for old, new in zip(before, after) if old != new}
        {'d'}
    """
    return sorted(server_ids, key=lambda server: (_scores(server)[shard], server), reverse=True)


def holders(owner_id: str, order: Iterable[str], count: int) -> list[str]:
    """Return the servers that hold the model of one user, the owner of the user's shard first.

    Args:
        owner_id: the server that the stored map gives the shard to.
        order: servers that may hold it, in rendezvous order for that shard.
        count: on how many servers the model is to be.

    Example:
        >>> holders("b", ["a", "b", "c"], 2)
        ['b', 'a']
    """
    others = (server_id for server_id in order if server_id != owner_id)
    return [owner_id, *islice(others, count - 1)]


def owners(server_ids: Collection[str]) -> dict[int, str]:
    """Return the first server in rendezvous order for every shard; empty where there is no server."""
    if not server_ids:
        return {}
    return {shard: rendezvous(shard, server_ids)[0] for shard in range(SHARDS)}


def fill(
    weights: Sequence[int], server_ids: Collection[str], held: Mapping[int, str] | None = None
) -> dict[int, str]:
    """Give every shard that none of these servers holds to one of them; the others stay.

    The heaviest go first, each to the best in rendezvous order that has room under the cap; where
    none has, to the one that holds least.

    Args:
        weights: of each shard, such as bytes; all zero: shards are counted.
        held: shard -> server.

    Returns:
        shard -> server for all shards; empty where there is no server.

    Example:
        >>> fill([1] * SHARDS, ["a", "b"], {0: "a", 1: "gone"})[0]
        'a'
    """
    if not server_ids:
        return {}
    weights = _counted(weights)
    filled = {shard: server for shard, server in (held or {}).items() if server in server_ids}
    loads = loads_of(weights, server_ids, filled)
    cap = CAP * sum(weights) / len(loads)
    orphans = [shard for shard in range(SHARDS) if shard not in filled]
    for shard in sorted(orphans, key=lambda shard: (-weights[shard], shard)):
        order = rendezvous(shard, loads)
        room = (server for server in order if loads[server] + weights[shard] <= cap)
        server = next(room, None) or min(order, key=loads.__getitem__)
        filled[shard] = server
        loads[server] += weights[shard]
    return filled


def level(
    weights: Sequence[int],
    server_ids: Collection[str],
    held: Mapping[int, str],
    newcomers: Collection[str] = (),
) -> dict[int, str]:
    """Give newcomers their part, and relieve servers that hold far too much; all else stays.

    Shards without a tenant cost nothing to move: a newcomer takes those that rank it first, for the
    tenants that will come. Of the others, newcomers take what ranks them high from servers over the
    mean until they hold nearly the mean themselves, and more only from those over the cap. Without the
    first, the 21st of 21 servers would get nothing. A server above `STRAINED` goes back to the cap,
    whichever server takes its shards. Nothing moves without a gain: a shard may weigh more than the cap.

    Args:
        weights: as for `fill`.
        held: shard -> server for all shards, as `fill` returns it.
        newcomers: servers that joined since the last time.

    Returns:
        shard -> server for all shards; once more for what was returned, it returns the same.
    """
    weights = _counted(weights)
    held = dict(held)
    for shard in held if newcomers else ():
        first = rendezvous(shard, server_ids)[0]
        if weights[shard] == 0 and first in newcomers:
            held[shard] = first
    loads = loads_of(weights, server_ids, held)
    mean = sum(loads.values()) / len(loads)
    if not newcomers and max(loads.values()) <= STRAINED * mean:
        return held
    levelling = _Levelling(weights, held, loads, mean)
    while levelling.moves(loads, newcomers, fair=_FAIR * mean):
        continue
    strained = {server for server, load in loads.items() if load > STRAINED * mean}
    while strained and levelling.moves(strained, loads, fair=0.0):
        continue
    return levelling.held


class _Levelling:
    """A map that is being levelled."""

    def __init__(
        self, weights: Sequence[int], held: dict[int, str], loads: dict[str, int], mean: float
    ) -> None:
        self.held = held
        self._weights = weights
        self._loads = loads
        self._mean = mean
        self._orders = [rendezvous(shard, loads) for shard in range(SHARDS)]

    def moves(self, givers: Collection[str], takers: Collection[str], *, fair: float) -> bool:
        """Make the moves that help; return whether any did. Each lowers the sum of squares, so this ends.

        Args:
            fair: up to this weight, a taker need not wait for a giver that is over the cap.
        """
        cap, loads, moved = CAP * self._mean, self._loads, False
        for _, shard, taker in self._wishes(givers, takers):
            giver, after = self.held[shard], loads[taker] + self._weights[shard]
            wanted = loads[giver] > cap or (after <= fair and loads[giver] > self._mean)
            if wanted and loads[taker] < self._mean and after <= cap and after < loads[giver]:
                self.held[shard] = taker
                loads[giver] -= self._weights[shard]
                loads[taker] = after
                moved = True
        return moved

    def _wishes(self, givers: Collection[str], takers: Collection[str]) -> list[tuple[int, int, str]]:
        """Return each possible move: place of the taker in the shard's order, shard, taker."""
        over = {server for server in givers if self._loads[server] > self._mean}
        under = {server for server in takers if self._loads[server] < self._mean}
        if not over or not under:
            return []
        return sorted(
            (place, shard, taker)
            for shard, giver in self.held.items()
            if giver in over and self._weights[shard]
            for place, taker in enumerate(self._orders[shard])
            if taker in under
        )


def loads_of(
    weights: Sequence[int], server_ids: Collection[str], held: Mapping[int, str]
) -> dict[str, int]:
    """Return what each of these servers holds, by name; 0 for a server that holds nothing."""
    loads = dict.fromkeys(sorted(server_ids), 0)
    for shard, server in held.items():
        if server in loads:
            loads[server] += weights[shard]
    return loads


def _counted(weights: Sequence[int]) -> Sequence[int]:
    return weights if any(weights) else [1] * SHARDS
