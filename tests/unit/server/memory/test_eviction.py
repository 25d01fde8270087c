"""Each policy gives up another model, holds the bound, and shows in which order it would go on."""

from collections.abc import Callable

import pytest
from cachetools import Cache, FIFOCache, LFUCache, LRUCache, RRCache, TTLCache
from hypothesis import given
from hypothesis import strategies as st

from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.memory.eviction import CachePolicy, bounded_cache, most_wanted
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.memory.ordered import FIFO, LFU, LRU
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


def size_of(value: int) -> int:
    return 1 + value % 3


@pytest.mark.parametrize("sized", [None, size_of], ids=["counted", "sized"])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(LRU, LRUCache), (FIFO, FIFOCache), (LFU, LFUCache)], ids=["lru", "fifo", "lfu"]
)
@given(steps=st.lists(st.tuples(st.sampled_from(["load", "use", "drop"]), KEYS), max_size=60))
def test_our_policies_are_cachetools_own_with_an_order_that_shows(
    ours: Callable[..., Cache[int, int]],
    theirs: Callable[..., Cache[int, int]],
    sized: Callable[[int], int] | None,
    steps: list[tuple[str, int]],
) -> None:
    cache, reference = ours(6, getsizeof=sized), theirs(6, getsizeof=sized)
    for number, (what, key) in enumerate(steps):
        for each in (cache, reference):
            if what == "load":
                each[key] = number
            elif what == "use":
                each.get(key)
            else:
                each.pop(key, None)
        assert dict.fromkeys(cache) == dict.fromkeys(reference)
        assert cache.currsize == reference.currsize
    order = most_wanted(cache, 10)
    assert most_wanted(cache, 2) == order[:2]
    assert order == [reference.popitem()[0] for _ in range(len(reference))][::-1]
    assert order == [cache.popitem()[0] for _ in range(len(cache))][::-1]
    assert most_wanted(cache, 10) == []
    with pytest.raises(KeyError, match="empty"):
        cache.popitem()


def test_a_cleared_cache_starts_again() -> None:
    for make in (LRU, FIFO, LFU):
        cache: Cache[int, int] = make(3)
        cache.update({n: n for n in range(3)})
        cache.clear()
        assert (len(cache), most_wanted(cache, 9)) == (0, [])
        cache[7] = 7
        assert most_wanted(cache, 9) == [7]


@pytest.mark.parametrize(
    "cache", [RRCache(9), TTLCache(9, ttl=60), LRUCache(9)], ids=["by chance", "by time", "cachetools"]
)
def test_a_cache_that_shows_no_order_gives_any_keys(cache: Cache[int, int]) -> None:
    cache.update({n: n for n in range(5)})
    assert sorted(most_wanted(cache, 9)) == list(range(5))
    assert len(most_wanted(cache, 2)) == 2
