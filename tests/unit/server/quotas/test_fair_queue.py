"""Who had less comes first, in the order of arrival where that is equal; nobody is forgotten."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry_server.quotas.fair_queue import FairQueue
from tests.support.counted import Counted


def test_users_who_took_nothing_yet_go_in_the_order_of_arrival() -> None:
    queue: FairQueue[str] = FairQueue()
    for user in ("b", "a", "c"):
        queue.put(user, user)
    assert [queue.get() for _ in range(3)] == ["b", "a", "c"]
    with pytest.raises(IndexError):
        queue.get()


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(0.001, 10.0), min_size=2))
def test_users_who_always_wait_get_equal_parts(costs: Mapping[str, float]) -> None:
    """Whatever one job of each costs; they differ by the costs of two jobs at most."""
    queue: FairQueue[str] = FairQueue()
    got = dict.fromkeys(costs, 0.0)
    for user in costs:
        queue.put(user, user)
    for _ in range(400):
        user = queue.get()
        got[user] += costs[user]
        queue.spent(user, costs[user])
        queue.put(user, user)
        dearest = max(costs.values())
        assert max(got.values()) - min(got.values()) <= 2 * dearest + 1e-6


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 5.0)), max_size=60))
def test_nothing_is_lost(jobs: Sequence[tuple[str, float]]) -> None:
    queue: FairQueue[int] = FairQueue()
    for number, (user, cost) in enumerate(jobs):
        queue.put(user, number)
        queue.spent(user, cost)
    half = [queue.get() for _ in range(len(jobs) // 2)]
    assert sorted(half + queue.drain()) == list(range(len(jobs)))
    assert len(queue) == 0


def test_who_was_idle_saves_nothing_up() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(100):  # one works alone for long
        queue.put("worker", "worker")
        queue.get()
        queue.spent("worker", 1.0)
    for user in ("worker", "sleeper", "worker", "sleeper"):
        queue.put(user, user)
        queue.spent(user, 1.0)
    assert queue.get() == "sleeper"
    rest = [queue.get() for _ in range(3)]
    assert rest != ["sleeper", "worker", "worker"]


@pytest.mark.parametrize("cost", [0.0, 0.003])
def test_what_it_remembers_of_users_is_bounded_and_so_is_the_work_for_each(cost: float) -> None:
    """A fleet that starts loads a hundred thousand models, each for another user."""
    queue: FairQueue[str] = FairQueue()
    Counted.compared = 0
    queue.spent("greedy", 100.0)
    for number in range(50_000):
        user = f"user-{number}"
        queue.put(user, user)
        queue.get()
        queue.spent(user, Counted(cost))
    assert Counted.compared < 50 * 50_000
    assert len(queue._ends) <= 4096
    for user in ("greedy", "user-7", "new"):
        queue.put(user, user)
    assert [queue.get() for _ in range(3)] == ["user-7", "new", "greedy"]
