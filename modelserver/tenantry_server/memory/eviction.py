"""Which model a full model cache gives up first, and the order in which it would go on.

Policies of cachetools whose entries end by time (TTLCache, TLRUCache) are left out: a model id names exact
bytes, and these don't age.
"""

from collections.abc import Callable, Hashable, Sequence
from enum import StrEnum
from itertools import islice
from typing import Any, TypeVar

from cachetools import Cache, RRCache

from tenantry import Model
from tenantry_server.memory.model_size import size_bytes
from tenantry_server.memory.ordered import FIFO, LFU, LRU, ShownCache
from tenantry_server.memory.s3_fifo import S3FIFO

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class CachePolicy(StrEnum):
    """What a full model cache gives up."""

    S3FIFO = "s3fifo"  # the model that came lately and was not used again, or else is used the least
    LRU = "lru"  # the model that was not used for the longest time
    LFU = "lfu"  # the model that was used the fewest times since it was loaded
    FIFO = "fifo"  # the model that was loaded first
    RR = "rr"  # any model, by chance


_CLASSES: dict[CachePolicy, type[Cache[str, Model]]] = {
    CachePolicy.S3FIFO: S3FIFO,
    CachePolicy.LRU: LRU,
    CachePolicy.LFU: LFU,
    CachePolicy.FIFO: FIFO,
    CachePolicy.RR: RRCache,
}


def bounded_cache(max_bytes: int, policy: CachePolicy = CachePolicy.S3FIFO) -> Cache[str, Model]:
    """Make a cache whose measure is bytes in memory.

    Example:
        >>> type(bounded_cache(512 << 20, CachePolicy.LFU)).__name__
        'LFU'
    """
    return _CLASSES[policy](max_bytes, getsizeof=size_bytes)


def finder(cache: Cache[_K, _V]) -> Callable[[_K], Any]:
    """Return what finds the value of a key, and None where there is none; a use of it."""
    return cache.find if isinstance(cache, ShownCache) else cache.get


def get_many(cache: Cache[_K, _V], keys: Sequence[_K]) -> list[_V | None]:
    """Return the values of keys, None for those that are not there; a use of each that is found.

    Example:
        >>> cache = LRU(maxsize=3)
        >>> cache.update(a=1, b=2, c=3)
        >>> get_many(cache, ["a", "d"]), most_wanted(cache, 3)
        ([1, None], ['a', 'c', 'b'])
    """
    if isinstance(cache, ShownCache):
        return cache.get_many(keys)
    return [cache.get(key) for key in keys]


def most_wanted(cache: Cache[_K, Any], limit: int) -> list[_K]:
    """Return up to `limit` keys that the cache would give up last, the last one first; not a use of them.

    A cache that shows no order, such as one of cachetools' own, gives any of its keys.

    Example:
        >>> cache = LRU(maxsize=3)
        >>> cache.update(a=1, b=2, c=3)
        >>> cache["a"]
        1
        >>> most_wanted(cache, 2)
        ['a', 'c']
    """
    keys = cache.last_first() if isinstance(cache, ShownCache) else iter(cache)
    return list(islice(keys, limit))
