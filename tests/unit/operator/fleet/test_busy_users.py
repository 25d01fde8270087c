"""When a user's model goes to more servers, and when it comes back."""

import pytest

from tenantry.registry import Server, ServerReport
from tenantry_operator.fleet.busy_users import Spreading


def servers(*busiest: dict[str, float]) -> list[Server]:
    return [
        Server(f"server-{n}", f"http://{n}", 0, 10.0, 1, ServerReport(busiest=shares))
        for n, shares in enumerate(busiest)
    ]


class Observed:
    """Spreads users by what servers report, two seconds between observations."""

    def __init__(self, **spread: int) -> None:
        self.spreading = Spreading(spread)
        self.now_s = 0.0

    def see(self, *busiest: dict[str, float], times: int = 1) -> dict[str, int]:
        """What the last observation changed."""
        changes: dict[str, int] = {}
        for _ in range(times):
            self.now_s += 2.0
            changes = self.spreading.observe(servers(*busiest), self.now_s)
            self.spreading.written(changes)
        return changes


def test_a_busy_user_is_spread_after_two_observations_in_a_row() -> None:
    observed = Observed()
    busy = [{"ann": 0.7, "bob": 0.25}, {}, {}, {}]
    assert observed.see(*busy) == {}
    assert observed.see(*busy) == {"ann": 3}
    assert observed.see(*busy, times=50) == {}


def test_one_busy_moment_is_nothing() -> None:
    observed = Observed()
    for _ in range(5):
        assert observed.see({"ann": 0.7}, {}) == {}
        assert observed.see({"ann": 0.1}, {}) == {}
        assert observed.see({}, {}) == {}


def test_of_two_busy_looks_the_lesser_counts() -> None:
    observed = Observed()
    observed.see({"ann": 1.0}, {}, {}, {})
    assert observed.see({"ann": 0.5}, {}, {}, {}) == {"ann": 2}


def test_what_several_servers_say_is_added() -> None:
    """A model on three servers is asked for just as often."""
    observed = Observed(ann=3)
    assert observed.see({"ann": 0.3}, {"ann": 0.3}, {"ann": 0.3}, {}, times=60) == {}
    assert observed.see({"ann": 0.4}, {"ann": 0.4}, {"ann": 0.4}, {}, times=2) == {"ann": 4}


@pytest.mark.parametrize(("count", "most"), [(2, 2), (5, 5), (20, 8)])
def test_never_on_more_servers_than_there_are_nor_on_more_than_eight(count: int, most: int) -> None:
    observed = Observed()
    busy = [{"ann": 1.0}] * count
    assert observed.see(*busy, times=2) == {"ann": most}


def test_it_comes_back_after_a_quiet_minute() -> None:
    observed = Observed(ann=4)
    calm = [{"ann": 0.1}, {}, {}, {}]
    assert observed.see(*calm, times=30) == {}
    assert observed.see(*calm) == {"ann": 1}
    assert len(observed.spreading) == 0


def test_a_busy_look_in_between_begins_the_minute_anew() -> None:
    observed = Observed(ann=2)
    assert observed.see({}, {}, times=25) == {}
    assert observed.see({"ann": 0.5}, {}) == {}
    assert observed.see({}, {}, times=30) == {}
    assert observed.see({}, {}) == {"ann": 1}


def test_it_comes_back_only_as_far_as_the_minute_allows() -> None:
    observed = Observed(ann=4)
    observed.see({"ann": 0.5}, {}, {}, {})
    assert observed.see({}, {}, {}, {}, times=29) == {}
    assert observed.see({}, {}, {}, {}) == {"ann": 2}


def test_a_change_that_was_not_written_comes_again() -> None:
    """The registry may be away at that moment."""
    spreading = Spreading({})
    busy = servers({"ann": 0.5}, {})
    assert [spreading.observe(busy, now_s) for now_s in (2.0, 4.0, 6.0)] == [{}, {"ann": 2}, {"ann": 2}]
    spreading.written({"ann": 2})
    assert spreading.observe(busy, 8.0) == {}


def test_between_looks_nothing_is_done() -> None:
    """The same word of a server is not counted twice."""
    spreading = Spreading({})
    busy = servers({"ann": 0.5}, {})
    assert [spreading.observe(busy, now_s) for now_s in (0.0, 0.1, 1.9, 2.0)] == [{}, {}, {}, {"ann": 2}]


def test_without_servers_nothing_is_known() -> None:
    """All of them gone says nothing of who is asked for."""
    observed = Observed(ann=3)
    assert observed.see(times=100) == {}
