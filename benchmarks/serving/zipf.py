"""A cache of a tenth of the bytes under requests as uneven as people are: hits, beside the best possible."""

import heapq
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.serving.options import Options
from benchmarks.serving.report import Row
from tenantry import Model
from tenantry_server import CachedModelRepository, ModelRepository, bounded_cache
from tenantry_server.toys import SumModel

_TENANTS = 20_000
_REQUESTS = 400_000  # the first half fills the cache and is not counted


class _Toys(ModelRepository):
    """Models of one size, made when asked for."""

    def get_model(self, model_id: str) -> Model:
        return SumModel(plus=float(model_id))


def zipf(options: Options) -> list[Row]:
    """In process: the cache that the server has, and no HTTP."""
    count, length = options.scaled(_TENANTS), options.scaled(_REQUESTS)
    wanted = requests(count, length)
    one_bytes = _one_model_bytes()
    capacity = count // 10
    best = belady(wanted, capacity, counted_from=length // 2)
    rows = []
    for policy, cache in (("LRU", lambda: CachedModelRepository(_Toys(), bounded_cache(capacity * one_bytes))),):
        share = hit_rate(cache(), wanted, counted_from=length // 2)
        rows.append(
            Row(
                f"Zipf(1.0) over {count:,} tenants, cache of a tenth: hits, {policy}",
                "Belady's optimum",
                f"{share:.1%}",
                f"{best:.1%}",
                f"{share / best:.3f}",
                "printed",
            )
        )
    return rows


def requests(count: int, length: int) -> list[int]:
    """Tenants, the one of rank k with a chance in proportion to 1/k; shape (length,)."""
    chances = 1 / np.arange(1, count + 1)
    drawn = np.random.default_rng(1).choice(count, size=length, p=chances / chances.sum())
    return [int(n) for n in drawn]
