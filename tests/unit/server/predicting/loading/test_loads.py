"""Loads that take too long: what is said meanwhile, and that they are possible again afterwards."""

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest

from tenantry.errors import ModelTimedOut
from tenantry_server.memory.resident import Resident
from tenantry_server.predicting.loading.line import Flight
from tenantry_server.predicting.loading.loads import Loads
from tenantry_server.toys import SumModel
from tests.support.waiting import until_soon


class Source:
    """Gives models at once, or once `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.loads = 0
        self.loaded: list[str] = []

    def __call__(self, model_id: str) -> Resident:
        self.loads += 1
        self.loaded.append(model_id)
        self.go.wait()
        return Resident(SumModel(), 1)


@pytest.fixture
def source() -> Iterator[Source]:
    made = Source()
    yield made
    made.go.set()


async def test_a_load_that_takes_too_long_is_not_begun_again_before_it_ended(source: Source) -> None:
    loads = Loads(source, timeout_s=0.5)  # in which its thread gets to where it waits
    with pytest.raises(ModelTimedOut, match=r"did not end within 0\.5 s \(in wait, "):
        await loads.load("file:///a")
    with pytest.raises(ModelTimedOut, match="an earlier load of it still goes on"):
        await loads.load("file:///a")
    assert (source.loads, loads.hung) == (1, 1)
    source.go.set()
    await until_soon(lambda: loads.hung == 0)
    assert isinstance((await loads.load("file:///a")).model, SumModel)
    loads.close()


async def test_what_nobody_waits_for_any_more_is_not_loaded_before_what_is_waited_for(
    source: Source,
) -> None:
    """A flood of requests in a hurry for cold models, and one that is patient."""
    loads = Loads(source, timeout_s=60.0, threads=2)
    under_way = [asyncio.ensure_future(loads.load(f"begun {n}")) for n in range(2)]
    await until_soon(lambda: source.loads == 2)
    hurried = [asyncio.ensure_future(loads.load(f"hurried {n}")) for n in range(500)]
    twice = [asyncio.ensure_future(loads.load("twice")) for _ in range(2)]
    patient = asyncio.ensure_future(loads.load("patient"))
    await asyncio.sleep(0)
    for each in (*hurried, twice[0], under_way[0]):
        each.cancel()
    await asyncio.wait([*hurried, twice[0]])
    source.go.set()
    await asyncio.gather(twice[1], patient)
    assert source.loaded == ["begun 0", "begun 1", "twice", "patient"]
    assert isinstance((await loads.load("hurried 7")).model, SumModel)
    loads.close()


async def test_who_comes_just_after_a_load_was_dropped_has_one_of_its_own(source: Source) -> None:
    loads = Loads(source, timeout_s=60.0, threads=1)
    first = asyncio.ensure_future(loads.load("first"))
    await until_soon(lambda: source.loads == 1)
    left = asyncio.ensure_future(loads.load("a"))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.wait([left])
    stays = asyncio.ensure_future(loads.load("a"))
    await asyncio.sleep(0)
    source.go.set()
    assert isinstance((await stays).model, SumModel)
    await first
    assert source.loaded == ["first", "a"]
    loads.close()


async def test_who_loads_much_waits_for_who_loads_little(source: Source) -> None:
    """One user's models take long to load, again and again; another user's cold model goes before them."""
    loads = Loads(source, timeout_s=60.0, threads=1)
    loads._line.ended([Flight("earlier", "greedy", asyncio.get_running_loop().create_future())], 5.0)
    busy = asyncio.ensure_future(loads.load("busy"))
    await until_soon(lambda: source.loads == 1)
    waiting = [asyncio.ensure_future(loads.load(f"greedy {n}", "greedy")) for n in range(3)]
    waiting.append(asyncio.ensure_future(loads.load("modest", "modest")))
    await asyncio.sleep(0)
    source.go.set()
    await asyncio.gather(busy, *waiting)
    assert source.loaded[:2] == ["busy", "modest"]
    loads.close()


class Groups(Source):
    """Also gives several models at once, but for those that are called bad."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[Sequence[str]] = []

    def together(self, model_ids: Sequence[str]) -> Sequence[Resident | None]:
        self.groups.append(model_ids)
        self.go.wait()
        return [None if each.startswith("bad") else Resident(SumModel(), 1) for each in model_ids]


@pytest.fixture
def groups() -> Iterator[Groups]:
    made = Groups()
    yield made
    made.go.set()


async def test_loads_that_wait_are_made_together_and_what_a_group_does_not_load_is_loaded_alone(
    groups: Groups,
) -> None:
    loads = Loads(groups, groups.together, timeout_s=60.0, threads=2)
    groups.go.set()
    wanted = [f"{'bad' if n == 3 else 'good'} {n}" for n in range(8)]
    loaded = await asyncio.gather(*(loads.load(each) for each in wanted))
    assert len(loaded) == 8
    assert groups.groups == [wanted[:4], wanted[4:]]
    assert groups.loaded == ["bad 3"]
    loads.close()


async def test_a_group_goes_on_for_those_that_still_wait(groups: Groups) -> None:
    """One request of it has left; a model of which that is so is not loaded twice at a time."""
    loads = Loads(groups, groups.together, timeout_s=60.0, threads=1)
    waiting = [asyncio.ensure_future(loads.load(f"good {n}")) for n in range(3)]
    await until_soon(lambda: len(groups.groups) == 1)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    again = asyncio.ensure_future(loads.load("good 0"))
    await asyncio.sleep(0)
    groups.go.set()
    await asyncio.gather(*waiting[1:], again)
    assert len(groups.groups) == 1
    assert groups.loaded == []
    loads.close()


async def test_where_groups_load_nothing_each_model_is_loaded_alone(groups: Groups) -> None:
    loads = Loads(groups, groups.together, timeout_s=60.0, threads=1)
    groups.go.set()
    for turn in range(3):
        await asyncio.gather(*(loads.load(f"bad {turn} {n}") for n in range(4)))
    assert len(groups.groups) == 1
    assert groups.loads == 12
    loads.close()
