"""Each policy gives up another model, holds the bound, and tells in which order it would go on."""

from collections.abc import Callable
from typing import Any

import pytest
from cachetools import Cache, FIFOCache, LFUCache, LRUCache, RRCache, TTLCache
from hypothesis import given
from hypothesis import strategies as st

from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.memory.eviction import CachePolicy, bounded_cache, most_wanted
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.toys import SumModel


class Toys(ModelRepository):
    def get_model(self, model_id: str) -> SumModel:
        return SumModel(plus=float(model_id))


def room_for(count: int, policy: CachePolicy) -> CachedModelRepository:
    cache = bounded_cache(100 * count, policy)
    setattr(cache, "getsizeof", lambda _: 100)  # noqa: B010 - a method to mypy
    return CachedModelRepository(Toys(), cache)


@pytest.mark.parametrize(
    ("policy", "given_up"), [(CachePolicy.LRU, "1"), (CachePolicy.LFU, "2"), (CachePolicy.FIFO, "0")]
)
def test_each_policy_gives_up_another_model(policy: CachePolicy, given_up: str) -> None:
    models = room_for(3, policy)
    loads, uses = ("0", "1", "2"), ("1", "1", "0", "0", "2")
    for model_id in (*loads, *uses, "3"):
        models.get_model(model_id)
    assert [model_id for model_id in loads if model_id not in models] == [given_up]


@pytest.mark.parametrize("policy", CachePolicy)
def test_every_policy_holds_the_bound(policy: CachePolicy) -> None:
    models = room_for(10, policy)
    for number in range(300):
        models.get_model(str(number * number % 37))
        assert models.used_bytes <= models.capacity_bytes
    assert len(models) == 10
    assert models.counts.evictions == models.counts.loads - 10


KEYS = st.integers(0, 9)


@pytest.mark.parametrize("make", [LRUCache, FIFOCache, LFUCache])
@given(steps=st.lists(st.tuples(st.sampled_from(["load", "use", "drop"]), KEYS), max_size=40))
def test_the_most_wanted_are_given_up_last(
    make: Callable[[int], Cache[int, Any]], steps: list[tuple[str, int]]
) -> None:
    """Their order is cachetools' own and not part of its interface: a new version may move it."""
    cache = make(6)
    for what, key in steps:
        if what == "load":
            cache[key] = key
        elif what == "use":
            cache.get(key)
        else:
            cache.pop(key, None)
    told = most_wanted(cache, 10)
    assert most_wanted(cache, 2) == told[:2]
    assert told == [cache.popitem()[0] for _ in range(len(cache))][::-1]
    assert most_wanted(cache, 10) == []


@pytest.mark.parametrize("cache", [RRCache(9), TTLCache(9, ttl=60)], ids=["by chance", "by time"])
def test_where_nothing_is_wanted_more_any_will_do(cache: Cache[int, int]) -> None:
    cache.update({n: n for n in range(5)})
    assert sorted(most_wanted(cache, 9)) == list(range(5))
    assert len(most_wanted(cache, 2)) == 2
