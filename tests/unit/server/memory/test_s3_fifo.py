"""What is asked for once sweeps nothing away; what is asked for again stays, and may leave in its turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry_server.memory import s3_fifo
from tenantry_server.memory.eviction import get_many, most_wanted
from tenantry_server.memory.ordered import LRU
from tenantry_server.memory.s3_fifo import S3FIFO

KEYS = st.integers(0, 19)
STEPS = st.lists(st.tuples(st.sampled_from(["load", "use", "drop", "many"]), KEYS), max_size=120)


def asked(cache: S3FIFO[int, int] | LRU[int, int], *keys: int) -> int:
    """Ask for keys, load those that are not there, and return how many were."""
    found = 0
    for key in keys:
        if cache.get(key) is None:
            cache[key] = key + 1
        else:
            found += 1
    return found


def test_a_walk_through_all_tenants_leaves_those_that_are_in_use() -> None:
    """As a nightly score of everybody does; it empties an LRU."""
    caches = S3FIFO[int, int](100), LRU[int, int](100)
    for cache in caches:
        for _ in range(3):
            asked(cache, *range(50))
        asked(cache, *range(1000, 2000))
    assert [asked(cache, *range(50)) for cache in caches] == [50, 0]


def test_what_is_no_longer_asked_for_leaves() -> None:
    cache = S3FIFO[int, int](100)
    for start in (0, 1000):
        for _ in range(9):
            asked(cache, *range(start, start + 90))
    assert asked(cache, *range(1000, 1090)) == 90


def test_what_comes_back_soon_is_kept() -> None:
    """It was given up before it was used, and is asked for again while it is remembered."""
    cache = S3FIFO[int, int](20)
    for _ in range(4):
        asked(cache, *range(18))
    asked(cache, *range(100, 110))
    assert 100 not in cache
    asked(cache, 100, *range(200, 240))
    assert 100 in cache


def test_a_large_value_makes_no_room_for_more_than_it_needs() -> None:
    cache = S3FIFO[int, int](100, getsizeof=lambda value: value)
    for key in range(10):
        cache[key] = 9
        cache.get(key)
    cache[50] = 40
    assert (50 in cache, len(cache), cache.currsize) == (True, 7, 94)
    with pytest.raises(ValueError, match="too large"):
        cache[51] = 101
    assert len(cache) == 7


def test_a_full_cache_is_not_walked_through_for_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock is held meanwhile, for which the event loop waits."""
    cache = S3FIFO[int, int](10_000)
    for _ in range(9):
        asked(cache, *range(10_000))
    moved = []
    for name in ("_promote", "_go_round"):
        method = getattr(S3FIFO, name)

        def noted(self: S3FIFO[int, int], *given: int, _method: object = method) -> None:
            moved.append(given)
            _method(self, *given)  # type: ignore[operator]

        monkeypatch.setattr(S3FIFO, name, noted)
    for key in range(20_000, 20_100):
        before = len(moved)
        asked(cache, key)
        assert len(moved) - before <= s3_fifo._STEPS
    assert len(cache) == 10_000


@given(steps=STEPS, sized=st.booleans())
def test_it_is_a_cache(steps: list[tuple[str, int]], *, sized: bool) -> None:
    """Whatever happens, it holds its bound, has what it says, and gives up every key once."""
    sizes = (lambda value: 1 + value % 3) if sized else None
    cache = S3FIFO[int, int](8, getsizeof=sizes)
    latest: dict[int, int] = {}
    for number, (what, key) in enumerate(steps, start=1):
        if what == "load":
            cache[key] = latest[key] = number
        elif what == "use":
            assert cache.get(key) in (None, latest.get(key))
        elif what == "many":
            values = get_many(cache, [key, key + 1])
            assert values == [latest[each] if each in cache else None for each in (key, key + 1)]
        else:
            cache.pop(key, None)
        size = sum(map(sizes, cache.values())) if sizes else len(cache)
        assert cache.currsize == size <= 8
        assert sorted(most_wanted(cache, 99)) == sorted(cache)
        assert all(latest[each] == value for each, value in dict(cache).items())
    kept = set(cache)
    assert {cache.popitem()[0] for _ in range(len(cache))} == kept
    assert (cache.currsize, most_wanted(cache, 9)) == (0, [])
    with pytest.raises(KeyError, match="empty"):
        cache.popitem()


@given(keys=st.lists(KEYS, max_size=30))
def test_many_at_once_are_used_as_one_by_one(keys: list[int]) -> None:
    one_by_one, at_once = S3FIFO[int, int](10), S3FIFO[int, int](10)
    for cache in (one_by_one, at_once):
        asked(cache, *range(10))
    values = [one_by_one.get(key) for key in keys]
    assert at_once.get_many(keys) == values
    for _ in range(10):
        assert one_by_one.popitem() == at_once.popitem()


def test_a_cleared_cache_starts_again() -> None:
    cache = S3FIFO[int, int](3)
    asked(cache, *range(9))
    cache.clear()
    assert (len(cache), most_wanted(cache, 9)) == (0, [])
    asked(cache, 7)
    assert most_wanted(cache, 9) == [7]
