"""When a user's model goes to more servers, and when it comes back."""

import pytest

from tenantry.registry import Server, ServerReport
from tenantry_operator.fleet.busy_users import Spreading


def servers(*busiest: dict[str, float]) -> list[Server]:
    return [
        Server(f"server-{n}", f"http://{n}", 0, 10.0, 1, ServerReport(busiest=shares))
        for n, shares in enumerate(busiest)
    ]


class World:
    """Looks every two seconds, at what is said by then."""

    def __init__(self, **spread: int) -> None:
        self.spreading = Spreading(spread)
        self.now_s = 0.0

    def see(self, *busiest: dict[str, float], looks: int = 1) -> dict[str, int]:
        """What the last look changed."""
        changes: dict[str, int] = {}
        for _ in range(looks):
            self.now_s += 2.0
            changes = self.spreading.look(servers(*busiest), self.now_s)
            self.spreading.written(changes)
        return changes


def test_two_looks_in_a_row_make_it_sure() -> None:
    world = World()
    busy = [{"ann": 0.7, "bob": 0.25}, {}, {}, {}]
    assert world.see(*busy) == {}
    assert world.see(*busy) == {"ann": 3}
    assert world.see(*busy, looks=50) == {}


def test_one_busy_moment_is_nothing() -> None:
    world = World()
    for _ in range(5):
        assert world.see({"ann": 0.7}, {}) == {}
        assert world.see({"ann": 0.1}, {}) == {}
        assert world.see({}, {}) == {}


def test_of_two_busy_looks_the_lesser_counts() -> None:
    world = World()
    world.see({"ann": 1.0}, {}, {}, {})
    assert world.see({"ann": 0.5}, {}, {}, {}) == {"ann": 2}


def test_what_several_servers_say_is_added() -> None:
    """A model on three servers is asked for just as often."""
    world = World(ann=3)
    assert world.see({"ann": 0.3}, {"ann": 0.3}, {"ann": 0.3}, {}, looks=60) == {}
    assert world.see({"ann": 0.4}, {"ann": 0.4}, {"ann": 0.4}, {}, looks=2) == {"ann": 4}


@pytest.mark.parametrize(("count", "most"), [(2, 2), (5, 5), (20, 8)])
def test_never_on_more_servers_than_there_are_nor_on_more_than_eight(count: int, most: int) -> None:
    world = World()
    busy = [{"ann": 1.0}] * count
    assert world.see(*busy, looks=2) == {"ann": most}


def test_it_comes_back_after_a_quiet_minute() -> None:
    world = World(ann=4)
    calm = [{"ann": 0.1}, {}, {}, {}]
    assert world.see(*calm, looks=30) == {}
    assert world.see(*calm) == {"ann": 1}
    assert len(world.spreading) == 0


def test_a_busy_look_in_between_begins_the_minute_anew() -> None:
    world = World(ann=2)
    assert world.see({}, {}, looks=25) == {}
    assert world.see({"ann": 0.5}, {}) == {}
    assert world.see({}, {}, looks=30) == {}
    assert world.see({}, {}) == {"ann": 1}


def test_it_comes_back_only_as_far_as_the_minute_allows() -> None:
    world = World(ann=4)
    world.see({"ann": 0.5}, {}, {}, {})
    assert world.see({}, {}, {}, {}, looks=29) == {}
    assert world.see({}, {}, {}, {}) == {"ann": 2}


def test_a_change_that_was_not_written_comes_again() -> None:
    """The registry may be away at that moment."""
    spreading = Spreading({})
    busy = servers({"ann": 0.5}, {})
    assert [spreading.look(busy, now_s) for now_s in (2.0, 4.0, 6.0)] == [{}, {"ann": 2}, {"ann": 2}]
    spreading.written({"ann": 2})
    assert spreading.look(busy, 8.0) == {}


def test_between_looks_nothing_is_done() -> None:
    """The same word of a server is not counted twice."""
    spreading = Spreading({})
    busy = servers({"ann": 0.5}, {})
    assert [spreading.look(busy, now_s) for now_s in (0.0, 0.1, 1.9, 2.0)] == [{}, {}, {}, {"ann": 2}]


def test_without_servers_nothing_is_known() -> None:
    """All of them gone says nothing of who is asked for."""
    world = World(ann=3)
    assert world.see(looks=100) == {}
