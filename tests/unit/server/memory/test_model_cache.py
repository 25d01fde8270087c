"""The cache: one load at a time for each model, a bound that holds, and no lock held for long."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
from cachetools import Cache, LFUCache, LRUCache
from hypothesis import given
from hypothesis import strategies as st

from tenantry import Model
from tenantry.errors import ArtifactNotFound, ModelTooLarge
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.memory.eviction import bounded_cache
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.memory.near_cache import NearCache
from tenantry_server.memory.ordered import LRU
from tenantry_server.memory.resident import Resident
from tenantry_server.toys import SumModel

ONE_ROW = pd.DataFrame({"a": [1.0]})


class Sized(SumModel):
    """A model whose size a test chooses."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


def size_of(model: Model) -> int:
    assert isinstance(model, Sized)
    return model.size


class Source(ModelRepository):
    """Makes models with `make` and remembers which were asked for."""

    def __init__(self, make: Callable[[str], Model]) -> None:
        self.make = make
        self.asked: list[str] = []

    def get_model(self, model_id: str) -> Model:
        self.asked.append(model_id)
        return self.make(model_id)


def sized_by_name(model_id: str) -> Sized:
    return Sized(int(model_id.rpartition("-")[2]))


@pytest.fixture
def crowd() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


def all_waiting(cached: CachedModelRepository, count: int) -> None:
    """Return once `count` callers are counted as waiting for a load."""
    deadline = threading.Event()
    for _ in range(5_000):
        if cached.counts.misses >= count:
            return
        deadline.wait(0.002)
    raise AssertionError(f"{cached.counts.misses} of {count} callers came")


def test_a_crowd_for_one_cold_model_loads_it_once(crowd: ThreadPoolExecutor) -> None:
    everybody_is_here = threading.Event()

    def make(_: str) -> Model:
        assert everybody_is_here.wait(10)
        return SumModel()

    source = Source(make)
    cached = CachedModelRepository(source, bounded_cache(1 << 20))
    answers = [crowd.submit(cached.get_model, "m") for _ in range(32)]
    all_waiting(cached, 32)
    everybody_is_here.set()
    assert len({id(answer.result(10)) for answer in answers}) == 1
    assert source.asked == ["m"]
    assert (cached.counts.loads, cached.counts.misses, cached.counts.hits) == (1, 32, 0)


def test_a_failed_load_reaches_everyone_who_waited_and_is_not_kept(crowd: ThreadPoolExecutor) -> None:
    everybody_is_here = threading.Event()

    def fail(model_id: str) -> Model:
        assert everybody_is_here.wait(10)
        raise ArtifactNotFound(model_id)

    source = Source(fail)
    cached = CachedModelRepository(source, bounded_cache(1 << 20))
    answers = [crowd.submit(cached.get_model, "m") for _ in range(8)]
    all_waiting(cached, 8)
    everybody_is_here.set()
    assert {type(answer.exception(10)) for answer in answers} == {ArtifactNotFound}
    assert (source.asked, cached.counts.failures) == (["m"], 1)
    source.make = lambda _: SumModel(plus=1)
    assert cached.get_model("m").predict(ONE_ROW).tolist() == [2.0]


@pytest.mark.parametrize("odd", [SystemExit(3), KeyboardInterrupt(), RecursionError(), MemoryError()])
def test_no_error_leaves_a_load_hanging(odd: BaseException, crowd: ThreadPoolExecutor) -> None:
    def fail(_: str) -> Model:
        raise odd

    source = Source(fail)
    cached = CachedModelRepository(source, bounded_cache(1 << 20))
    assert crowd.submit(cached.get_model, "m").exception(10) is odd
    source.make = lambda _: SumModel()
    assert isinstance(crowd.submit(cached.get_model, "m").result(10), SumModel)


def test_a_model_larger_than_the_cache_is_refused_and_leaves_its_neighbours() -> None:
    cached = CachedModelRepository(Source(sized_by_name), LRUCache(10, getsizeof=size_of))
    kept = [cached.get_model("a-4"), cached.get_model("b-6")]
    with pytest.raises(ModelTooLarge, match=r"^c-11 takes 11 bytes in memory, the cache holds 10; raise"):
        cached.get_model("c-11")
    assert [cached.get_model("a-4"), cached.get_model("b-6")] == kept
    assert (cached.counts.evictions, cached.counts.failures, cached.used_bytes) == (0, 1, 10)


def test_evictions_are_counted_and_the_least_recently_used_goes_first() -> None:
    source = Source(sized_by_name)
    cached = CachedModelRepository(source, LRUCache(10, getsizeof=size_of))
    for model_id in ("a-4", "b-4", "a-4", "c-4", "d-10"):
        cached.get_model(model_id)
    assert source.asked == ["a-4", "b-4", "c-4", "d-10"]
    assert cached.counts.evictions == 3
    assert (len(cached), cached.used_bytes, cached.capacity_bytes) == (1, 10, 10)


def test_a_model_in_use_stays_usable_after_it_was_evicted() -> None:
    cached = CachedModelRepository(Source(lambda _: SumModel(plus=5)), LRUCache(1))
    held = cached.get_model("a")
    cached.get_model("b")
    assert cached.peek("a") is None
    assert held.predict(ONE_ROW).tolist() == [6.0]


def test_a_discarded_model_is_loaded_anew() -> None:
    source = Source(lambda _: SumModel())
    cached = CachedModelRepository(source, bounded_cache(1 << 20))
    first = cached.get_model("a")
    cached.discard("a")
    cached.discard("never seen")
    assert (len(cached), cached.used_bytes, cached.counts.evictions) == (0, 0, 0)
    assert cached.get_model("a") is not first


def test_a_plain_lru_cache_is_bounded_in_models() -> None:
    cached = CachedModelRepository(Source(lambda _: SumModel()), LRUCache(2))
    for model_id in "abc":
        assert cached.get_resident(model_id).size_bytes == 1
    assert (len(cached), cached.used_bytes, cached.capacity_bytes) == (2, 2, 2)
    assert cached.peek("a") is None


def test_an_lfu_cache_keeps_what_is_used_most() -> None:
    cached = CachedModelRepository(Source(lambda _: SumModel()), LFUCache(2))
    for model_id in "aaabc":
        cached.get_model(model_id)
    assert (cached.peek("a") is not None, cached.peek("b"), cached.counts.evictions) == (True, None, 1)


def test_a_peek_counts_as_a_use() -> None:
    """The server peeks for every warm request: otherwise its busiest model would go first."""
    cached = CachedModelRepository(Source(lambda _: SumModel()), LRUCache(2))
    cached.get_model("busy")
    cached.get_model("idle")
    assert cached.peek("busy") is not None
    cached.get_model("new")
    assert (cached.peek("busy") is not None, cached.peek("idle")) == (True, None)


def test_a_model_is_measured_once_and_never_while_others_wait() -> None:
    """The event loop peeks; to measure a large forest takes seconds."""
    seen: list[bool] = []

    def measure(_: Model) -> int:
        seen.append(cached._lock.locked())
        return 1

    cached = CachedModelRepository(Source(lambda _: SumModel()), LRUCache(10, getsizeof=measure))
    for _ in range(5):
        cached.get_model("m")
    assert seen == [False]


CACHES: list[Callable[[int], Cache[str, Model]]] = [
    lambda bound: LRUCache(bound, getsizeof=size_of),
    lambda bound: LFUCache(bound, getsizeof=size_of),
]


@given(
    sizes=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 12), st.booleans()), max_size=40),
    bound=st.integers(0, 10),
    make_cache=st.sampled_from(CACHES),
)
def test_the_bound_holds_whatever_is_asked(
    sizes: list[tuple[str, int, bool]], bound: int, make_cache: Callable[[int], Cache[str, Model]]
) -> None:
    """And the measure is the sum of what is inside."""
    cached = CachedModelRepository(Source(sized_by_name), make_cache(bound))
    for name, size, thrown_away in sizes:
        model_id = f"{name}-{size}"
        if thrown_away:
            cached.discard(model_id)
        elif size > bound:
            with pytest.raises(ModelTooLarge):
                cached.get_model(model_id)
        else:
            assert cached.get_resident(model_id).size_bytes == size
        inside = {m for n, s, _ in sizes if cached.peek(m := f"{n}-{s}") is not None}
        assert cached.used_bytes == sum(int(m.rpartition("-")[2]) for m in inside) <= bound


def test_many_threads_agree_on_the_counts(crowd: ThreadPoolExecutor) -> None:
    """Loads less evictions is what is inside, and the bound holds."""
    source = Source(sized_by_name)
    cached = CachedModelRepository(source, LRUCache(20, getsizeof=size_of))
    names = [f"{letter}-{size}" for letter in "abcdefgh" for size in (1, 5, 9)]
    list(crowd.map(cached.get_model, names * 40))
    counts = cached.counts
    assert counts.loads == len(source.asked) == counts.evictions + len(cached)
    assert counts.hits + counts.misses == len(names) * 40
    assert cached.used_bytes <= 20


def test_many_are_found_as_one_is() -> None:
    """In order, as a use and a hit of each; near copies are found; what is not here counts as nothing."""
    near: NearCache[Resident] = NearCache(1 << 20)
    cached = CachedModelRepository(
        Source(lambda _: SumModel()), LRU(maxsize=3, getsizeof=lambda _: 1), near
    )
    for model_id in "abc":
        cached.get_model(model_id)
    near.put("n", Resident(SumModel(), 1))
    hits = cached.counts.hits
    found = cached.peek_many(["b", "x", "a", "n"])
    assert found[0] is cached.glance("b")
    assert found[2] is cached.glance("a")
    assert found[1] is None
    assert found[3] is near.glance("n")
    assert cached.counts.hits == hits + 2
    assert cached.most_wanted(3) == ["a", "b", "c"]
    assert cached.peek_many(["c", "b"]) == [cached.glance("c"), cached.glance("b")]
    assert cached.most_wanted(3) == ["b", "c", "a"]


def test_models_are_loaded_together_and_one_that_is_not_is_loaded_by_who_waits(
    crowd: ThreadPoolExecutor,
) -> None:
    source = Source(sized_by_name)
    cached = CachedModelRepository(source, LRUCache(maxsize=100, getsizeof=size_of))
    begun, goes_on = threading.Event(), threading.Event()

    def get_models(model_ids: Sequence[str]) -> Sequence[Model | None]:
        begun.set()
        assert goes_on.wait(10)
        return [None if each == "bad-1" else sized_by_name(each) for each in model_ids]

    source.get_models = get_models  # type: ignore[method-assign]
    cached.get_model("here-1")
    group = crowd.submit(cached.get_residents, ["a-1", "bad-1", "large-101", "here-1"])
    assert begun.wait(10)
    other = crowd.submit(cached.get_resident, "bad-1")
    all_waiting(cached, 2)
    goes_on.set()
    loaded = group.result(10)
    assert [each is not None for each in loaded] == [True, False, False, False]
    assert other.result(10).size_bytes == 1
    assert source.asked == ["here-1", "bad-1"]
    assert cached.counts.loads == 3
