"""A cache of a part of the bytes, under requests as uneven as people are, beside the best possible one."""

import heapq
from collections.abc import Iterator, Sequence

import numpy as np
from cachetools import Cache

from benchmarks.serving.options import Options
from benchmarks.serving.report import Row
from tenantry import Model
from tenantry_server import CachedModelRepository, ModelRepository, bounded_cache
from tenantry_server.memory.eviction import CachePolicy
from tenantry_server.memory.model_size import size_bytes
from tenantry_server.toys import SumModel

_TENANTS = 20_000
_REQUESTS = 400_000  # the first half fills the cache and is not counted
_SHARE = 10
_DAYS = 6
_TARGET = 0.95
_POLICIES = (CachePolicy.S3FIFO, CachePolicy.LRU, CachePolicy.LFU, CachePolicy.FIFO)


class _Toys(ModelRepository):
    """Models of one size, made when asked for."""

    def get_model(self, model_id: str) -> Model:
        return SumModel(plus=float(model_id))


def zipf(options: Options) -> list[Row]:
    """In process: the cache that the server has, and no HTTP."""
    return list(_rows(options))


def _rows(options: Options) -> Iterator[Row]:
    count, length = options.scaled(_TENANTS), options.scaled(_REQUESTS)
    traces = {
        "Zipf(1.0)": requests(count, length),
        "rates over 8 orders of magnitude, by day and night,": by_day(count, length),
    }
    all_bytes = sum(size_bytes(SumModel(plus=float(n))) for n in range(count))
    for name, wanted in traces.items():
        for share in (_SHARE, 10 * _SHARE):
            best = optimum(wanted, count // share, counted_from=length // 2)
            of_all = f"{name} over {count:,} tenants, a cache of 1/{share}"
            for policy in _POLICIES:
                judged = policy is CachePolicy.S3FIFO and share == _SHARE
                rate = hit_rate(bounded_cache(all_bytes // share, policy), wanted, counted_from=length // 2)
                yield Row(
                    f"{of_all}: {policy.upper()}",
                    "Belady's optimum, offline",
                    f"{rate:.1%} hits",
                    f"{best:.1%} hits",
                    f"{rate / best:.3f}",
                    f"at least {_TARGET}" if judged else "printed",
                    rate / best >= _TARGET if judged else None,
                )


def requests(count: int, length: int) -> list[int]:
    """Tenants, the one of rank k with a chance in proportion to 1/k; shape (length,)."""
    chances = 1 / np.arange(1, count + 1)
    drawn = np.random.default_rng(1).choice(count, size=length, p=chances / chances.sum())
    return [int(n) for n in drawn]


def by_day(count: int, length: int) -> list[int]:
    """Tenants, each awake at its own hours, their rates between 1e-4 and 1e4 of a unit; shape (length,)."""
    random = np.random.default_rng(3)
    rates, noon = 10 ** random.uniform(-4, 4, count), random.integers(0, 24, count)
    hours = 24 * _DAYS
    wanted = []
    for hour in range(hours):
        chances = rates * (1 + np.cos((hour - noon) / 24 * 2 * np.pi)) ** 3
        wanted.append(random.choice(count, size=length // hours, p=chances / chances.sum()))
    return [int(n) for n in np.concatenate(wanted)]


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
