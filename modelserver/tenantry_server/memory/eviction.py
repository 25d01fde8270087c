"""Which model goes first when the memory is full: cachetools' policies, and the order they keep.

Those whose entries end by time (TTLCache, TLRUCache) are left out: a model id names exact bytes, and these
don't age.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from enum import StrEnum
from itertools import islice
from typing import Any, TypeVar

from cachetools import Cache, FIFOCache, LFUCache, LRUCache, RRCache

from tenantry import Model
from tenantry_server.memory.model_size import size_bytes

_K = TypeVar("_K", bound=Hashable)


class CachePolicy(StrEnum):
    """What a full cache gives up."""

    LRU = "lru"  # what was not used for the longest time
    LFU = "lfu"  # what was used the fewest times since it was loaded
    FIFO = "fifo"  # what was loaded first
    RR = "rr"  # any, by chance


_CLASSES: dict[CachePolicy, type[Cache[str, Model]]] = {
    CachePolicy.LRU: LRUCache,
    CachePolicy.LFU: LFUCache,
    CachePolicy.FIFO: FIFOCache,
    CachePolicy.RR: RRCache,
}


def bounded_cache(max_bytes: int, policy: CachePolicy = CachePolicy.LRU) -> Cache[str, Model]:
    """A cache whose measure is bytes in memory.

    Example:
        >>> type(bounded_cache(512 << 20, CachePolicy.LFU)).__name__
        'LFUCache'
    """
    return _CLASSES[policy](max_bytes, getsizeof=size_bytes)


def most_wanted(cache: Cache[_K, Any], limit: int) -> list[_K]:
    """Up to `limit` keys of those that the cache would give up last, the last one first; no use of them.

    Costs what it returns, not what the cache holds. Where the cache keeps no order, or another version
    of cachetools keeps it elsewhere, these are any of them.

    Example:
        >>> cache = LRUCache(maxsize=3)
        >>> cache.update(a=1, b=2, c=3)
        >>> cache["a"]
        1
        >>> most_wanted(cache, 2)
        ['a', 'c']
    """
    return list(islice(_last_first(cache), limit))


def _last_first(cache: Cache[_K, Any]) -> Iterable[_K]:
    # cachetools shows no order; to ask a copy for its items one by one would cost a copy of everything.
    for kind in (LRUCache, FIFOCache):
        order: OrderedDict[_K, None] | None = getattr(cache, f"_{kind.__name__}__order", None)
        if order is not None:
            return reversed(order)
    root = getattr(cache, "_LFUCache__root", None)
    if root is not None:
        return _most_used_first(root)
    return cache


def _most_used_first(root: Any) -> Iterator[Any]:
    """Keys of a ring of links, each with those that were used equally often."""
    link = root.prev
    while link is not root:
        yield from reversed(link.keys)
        link = link.prev
