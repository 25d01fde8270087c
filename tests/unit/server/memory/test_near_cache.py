"""Which near copies stay: those that are asked for, by their size, within the bound."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry_server.memory.near_cache import FrequencySketch, NearCache


@dataclass
class One:
    """A copy."""

    size_bytes: int
    requests: int = 0


def asked(near: NearCache[One], name: str, size_bytes: int) -> None:
    """A request as a server treats it."""
    copy = near.get(name)
    if copy is not None:
        copy.requests += 1
    elif near.missed(name) and near.admits(name, size_bytes):
        near.put(name, One(size_bytes))


@given(st.lists(st.sampled_from("abcdefgh"), max_size=300))
def test_a_count_is_never_too_small(keys: list[str]) -> None:
    sketch = FrequencySketch()
    for key in keys:
        sketch.add(key)
    for key, count in Counter(keys).items():
        assert sketch.count(key) >= min(count, 255)


def test_a_count_ends_and_is_forgotten_in_the_end() -> None:
    sketch = FrequencySketch()
    for _ in range(400):
        sketch.add("often")
    assert sketch.count("often") == 255
    for n in range(10 << 14):
        sketch.add(f"other {n % 50}")
    assert sketch.count("often") == 127


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 130)), max_size=200))
def test_the_bound_holds_and_the_sum_is_right(requests: list[tuple[str, int]]) -> None:
    near: NearCache[One] = NearCache(400)
    sizes: dict[str, int] = {}
    for name, size in requests:
        sizes.setdefault(name, size)
        asked(near, name, sizes[name])
        held = [copy for each in "abcdef" if (copy := near.glance(each)) is not None]
        assert near.used_bytes == sum(copy.size_bytes for copy in held) <= 400
        assert len(near) == len(held)
        assert all(copy.size_bytes <= near.largest_bytes for copy in held)


def test_what_is_asked_for_once_comes_in_while_there_is_room() -> None:
    """Later it may displace what will be asked for again."""
    near: NearCache[One] = NearCache(1000)
    for n in range(6):
        asked(near, f"once {n}", 100)
    assert near.used_bytes == 600
    asked(near, "a", 100)
    assert "a" not in near
    asked(near, "a", 100)
    assert "a" in near


def test_a_large_copy_has_to_be_worth_all_that_it_displaces() -> None:
    near: NearCache[One] = NearCache(800)
    for name in "abcdefgh":
        for _ in range(6):
            asked(near, name, 100)
    assert [len(near), near.used_bytes] == [8, 800]
    for _ in range(5):  # as often as one of them at most
        near.missed("new")
    assert not near.admits("new", 100)
    assert not near.admits("larger", 101)
    assert near.admits("new", 100), "what it would displace counts for half since"
    near.put("new", One(100))
    assert "a" not in near
    assert near.used_bytes == 800


@pytest.mark.parametrize("exponent", [0.8, 1.0, 1.2])
def test_what_stays_is_most_of_what_is_asked_for(exponent: float) -> None:
    """Against an LRU of the same size, which lets everything in."""
    chance = np.random.default_rng(7)
    weights = 1 / np.arange(1, 5001) ** exponent
    names = chance.choice(5000, size=60_000, p=weights / weights.sum())
    near: NearCache[One] = NearCache(250)
    lru: dict[int, None] = {}
    hits = lru_hits = 0
    for n in map(int, names):
        hits += str(n) in near
        asked(near, str(n), 1)
        lru_hits += n in lru
        lru.pop(n, None)
        lru[n] = None
        if len(lru) > 250:
            del lru[next(iter(lru))]
    assert hits > lru_hits
