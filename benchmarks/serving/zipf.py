"""A cache of a tenth of the bytes, under requests as uneven as people are, beside the best possible one."""

import heapq
from collections.abc import Sequence

import numpy as np
from cachetools import Cache, FIFOCache, LFUCache

from benchmarks.serving.options import Options
from benchmarks.serving.report import Row
from tenantry import Model
from tenantry_server import CachedModelRepository, ModelRepository, bounded_cache
from tenantry_server.memory.model_size import size_bytes
from tenantry_server.toys import SumModel

_TENANTS = 20_000
_REQUESTS = 400_000  # the first half fills the cache and is not counted
_SHARE = 10


class _Toys(ModelRepository):
    """Models of one size, made when asked for."""

    def get_model(self, model_id: str) -> Model:
        return SumModel(plus=float(model_id))


def zipf(options: Options) -> list[Row]:
    """In process: the cache that the server has, and no HTTP."""
    count, length = options.scaled(_TENANTS), options.scaled(_REQUESTS)
    wanted = requests(count, length)
    capacity = count // _SHARE
    best = optimum(wanted, capacity, counted_from=length // 2)
    max_bytes = sum(size_bytes(SumModel(plus=float(n))) for n in range(count)) // _SHARE
    caches: dict[str, Cache[str, Model]] = {
        "LRU, the default": bounded_cache(max_bytes),
        "LFU": LFUCache(max_bytes, getsizeof=size_bytes),
        "FIFO": FIFOCache(max_bytes, getsizeof=size_bytes),
    }
    shares = {name: hit_rate(cache, wanted, counted_from=length // 2) for name, cache in caches.items()}
    return [
        Row(
            f"Zipf(1.0) over {count:,} tenants, a cache of 1/{_SHARE}: {name}",
            "Belady's optimum, offline",
            f"{share:.1%} hits",
            f"{best:.1%} hits",
            f"{share / best:.2f}",
            "printed",
        )
        for name, share in shares.items()
    ]


def requests(count: int, length: int) -> list[int]:
    """Tenants, the one of rank k with a chance in proportion to 1/k; shape (length,)."""
    chances = 1 / np.arange(1, count + 1)
    drawn = np.random.default_rng(1).choice(count, size=length, p=chances / chances.sum())
    return [int(n) for n in drawn]


def hit_rate(cache: Cache[str, Model], wanted: Sequence[int], *, counted_from: int) -> float:
    """The share of requests from `counted_from` on that found their model in memory."""
    models = CachedModelRepository(_Toys(), cache)
    for n in wanted[:counted_from]:
        models.get_model(str(n))
    hits_before = models.counts.hits
    for n in wanted[counted_from:]:
        models.get_model(str(n))
    return (models.counts.hits - hits_before) / (len(wanted) - counted_from)


def optimum(wanted: Sequence[int], capacity: int, *, counted_from: int) -> float:
    """The hit rate of Belady's MIN (1966): drop the one that is wanted again last.

    No cache that keeps every model it loads can do better on these requests.
    """
    next_use = [len(wanted)] * len(wanted)  # of what is asked for at each moment
    seen: dict[int, int] = {}
    for moment in range(len(wanted) - 1, -1, -1):
        next_use[moment] = seen.get(wanted[moment], len(wanted))
        seen[wanted[moment]] = moment
    kept: dict[int, int] = {}  # tenant -> when it is wanted again
    latest: list[tuple[int, int]] = []  # a heap of (-when, tenant), with entries that are out of date
    hits = 0
    for moment, n in enumerate(wanted):
        if n in kept:
            hits += moment >= counted_from
        elif len(kept) == capacity:
            while True:
                when, other = heapq.heappop(latest)
                if kept.get(other) == -when:
                    break
            del kept[other]
        kept[n] = next_use[moment]
        heapq.heappush(latest, (-next_use[moment], n))
    return hits / (len(wanted) - counted_from)
