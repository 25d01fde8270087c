"""The shard map as the operator keeps it, on a real registry: who gets what, when, and in which steps."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry import placement
from tenantry.placement import SHARDS
from tenantry.registry import Holding, OperatorRegistry, ServerRegistry, ServerReport, migrate, open_engine
from tenantry.registry import Server as Listed
from tenantry_operator.fleet.shard_keeper import ShardKeeper
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.settings import OperatorSettings

DEBOUNCE_S, HANDOVER_S = 15.0, 30.0


class Server:
    """A server's side: its lease, and what it says of itself."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self._engine = open_engine(url)
        self._registry = ServerRegistry(self._engine, name, endpoint=f"http://{name}", capacity_bytes=1)
        self.says()

    def says(self, *, prepared: int = -1, leaving: bool = False) -> None:
        report = ServerReport(prepared_revision=prepared, leaving=leaving)
        self._registry.renew(lease_s=600.0, acked_revision=0, report=report)

    def dies(self) -> None:
        """Its lease is over, and it is still listed."""
        self._registry.renew(lease_s=-1.0, acked_revision=0, report=ServerReport())

    def stops(self) -> None:
        self._registry.release()

    def close(self) -> None:
        self._engine.dispose()


class World:
    """An operator's keeper of shards, its clock, and the servers."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/registry.db"
        self._engine = open_engine(self.url)
        migrate(self._engine)
        self.registry = OperatorRegistry(self._engine, "test")
        self.registry.lead("a test")
        self.weights = [100] * SHARDS
        self.scaled_away: set[str] = set()
        self.servers: dict[str, Server] = {}
        self.restart()

    def restart(self) -> None:
        """Another operator goes on from what is stored."""
        self.metrics = OperatorMetrics()
        settings = OperatorSettings(rebalance_after_s=DEBOUNCE_S, handover_s=HANDOVER_S)
        self._began_s = time.monotonic()
        self._looked_after_s = 0.0
        self._seen_last: list[Listed] = self.registry.servers()
        self.keeper = ShardKeeper(
            self.registry, settings, self.metrics, lambda: self.weights, self.scaled_away.__contains__
        )

    def start(self, *names: str) -> None:
        for name in names:
            self.servers[name] = Server(self.url, name)

    def look(self, after_s: float = 0.0, *, blind: bool = False) -> None:
        """One look of an operator that began so long ago, and has looked all the while.

        Args:
            blind: it has not, as the registry was away.
        """
        while not blind and self._looked_after_s + 2.0 < after_s:
            self._looked_after_s += 2.0
            self.keeper.look(self._seen_last, self._began_s + self._looked_after_s)
        self._looked_after_s = after_s
        self._seen_last = self.registry.servers()
        self.keeper.look(self._seen_last, self._began_s + after_s)

    def spread_over(self, *names: str) -> None:
        """The usual beginning: all are there before the operator looks."""
        self.start(*names)
        self.look()

    @property
    def map(self) -> dict[int, Holding]:
        """As it is stored."""
        return self.registry.shards()

    def held(self) -> Counter[str]:
        return Counter(row.server_id for row in self.map.values())

    def arriving(self) -> Counter[str]:
        return Counter(row.next_id for row in self.map.values() if row.next_id is not None)

    def prepare(self, name: str) -> None:
        """It has loaded what it was told up to now."""
        self.servers[name].says(prepared=max(row.revision for row in self.map.values()))

    def figures(self) -> dict[str, float]:
        """Metrics, by name and labels."""
        lines = [line for line in self.metrics.text().decode().splitlines() if not line.startswith("#")]
        told = dict(line.rsplit(" ", 1) for line in lines)
        return {name.removeprefix("tenantry_operator_"): float(value) for name, value in told.items()}

    def close(self) -> None:
        for server in self.servers.values():
            server.close()
        self._engine.dispose()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


# Servers that come


def test_the_first_servers_get_their_shards_at_once(world: World) -> None:
    world.spread_over("a", "b", "c")
    assert set(world.held()) == {"a", "b", "c"}
    assert max(world.held().values()) <= placement.CAP * SHARDS / 3
    assert world.arriving() == {}
    assert world.figures()["rebalance_pending"] == 0


def test_servers_that_start_together_get_their_shards_together(world: World) -> None:
    """One is always the first by a moment; nothing is warm yet, so the others need not wait for long."""
    world.spread_over("a")
    world.start("b")
    world.look(0.5)
    assert set(world.held()) == {"a"}
    world.start("c")
    world.look(0.8)
    world.look(1.7)
    assert world.arriving() == {}
    world.look(1.8)
    assert set(world.arriving()) == {"b", "c"}
    for name in ("b", "c"):
        world.prepare(name)
    world.look(1.9)
    assert max(world.held().values()) <= placement.STRAINED * SHARDS / 3


def test_a_server_that_joins_waits_then_prepares_and_then_takes_over(world: World) -> None:
    world.spread_over("a", "b", "c")
    before = world.map
    world.start("d")
    world.look(100.0)
    assert world.map == before
    assert world.figures()["rebalance_pending"] == 1
    world.look(100.0 + DEBOUNCE_S - 0.1)
    assert world.map == before
    world.look(100.0 + DEBOUNCE_S)
    moving = world.arriving()
    assert set(moving) == {"d"}
    assert 0.2 < moving["d"] / SHARDS < 0.28
    assert world.held() == Counter(row.server_id for row in before.values()), "the old ones answer"
    world.look(120.0)
    assert world.arriving() == moving
    world.prepare("d")
    world.look(121.0)
    assert world.arriving() == {}
    assert world.held()["d"] == moving["d"]
    assert world.figures()["shard_moves_total"] == moving["d"]
    assert world.figures()["shards_moving"] == 0
    after = world.map
    world.look(300.0)
    assert world.map == after


def test_a_server_that_says_nothing_takes_over_after_a_while(world: World) -> None:
    world.spread_over("a", "b")
    world.start("c")
    world.look(100.0)
    world.look(115.0)
    world.look(115.0 + HANDOVER_S - 0.1)
    assert "c" not in world.held()
    world.look(115.0 + HANDOVER_S)
    assert world.arriving() == {}
    assert world.held()["c"] > 0


def test_servers_that_join_one_after_the_other_are_waited_for_together(world: World) -> None:
    world.spread_over("a")
    world.start("b")
    world.look(100.0)
    world.start("c")
    world.look(110.0)
    world.look(100.0 + DEBOUNCE_S)
    assert world.arriving() == {}
    world.look(110.0 + DEBOUNCE_S)
    assert set(world.arriving()) == {"b", "c"}


def test_servers_that_come_and_go_for_ever_do_not_put_it_off_for_ever(world: World) -> None:
    world.spread_over("a")
    world.start("b", "c")
    for after_s in range(100, 161, 10):
        assert world.arriving() == {}, after_s
        world.servers["c"].says()
        world.look(after_s)
        world.servers["c"].stops()
        world.look(after_s + 5)
    assert set(world.arriving()) == {"b"}


# Servers that go


def test_the_shards_of_a_dead_server_move_at_once_and_no_others(world: World) -> None:
    world.spread_over("a", "b", "c")
    before = world.map
    world.servers["c"].dies()
    world.look(100.0)
    assert world.arriving() == {}
    assert set(world.held()) == {"a", "b"}
    assert max(world.held().values()) <= placement.CAP * SHARDS / 2
    assert all(world.map[shard] == row for shard, row in before.items() if row.server_id != "c")


def test_a_leaving_server_answers_until_another_one_has_prepared(world: World) -> None:
    world.spread_over("a", "b", "c")
    before = world.map
    world.servers["c"].says(leaving=True)
    world.look(100.0)
    assert world.held() == Counter(row.server_id for row in before.values())
    arriving = world.arriving()
    assert set(arriving) == {"a", "b"}
    world.prepare("a")
    world.look(101.0)
    assert world.held()["c"] == arriving["b"]
    world.prepare("b")
    world.look(102.0)
    assert set(world.held()) == {"a", "b"}


def test_a_server_that_is_scaled_away_is_left_before_it_knows(world: World) -> None:
    world.spread_over("a", "b", "c")
    world.look(100.0)
    world.scaled_away.add("c")
    world.look(100.1)
    assert set(world.arriving()) == {"a", "b"}
    world.scaled_away.clear()
    world.look(101.0)
    world.look(101.0 + DEBOUNCE_S)
    assert world.held()["c"] + world.arriving()["c"] > 0.27 * SHARDS


def test_a_next_holder_that_dies_or_leaves_is_replaced(world: World) -> None:
    world.spread_over("a", "b", "c", "d")
    world.servers["d"].says(leaving=True)
    world.look(100.0)
    assert set(world.arriving()) == {"a", "b", "c"}
    world.servers["a"].dies()
    world.servers["b"].says(leaving=True)
    world.look(101.0)
    assert set(world.arriving()) == {"c"}
    assert set(world.held()) == {"b", "c", "d"}


def test_the_next_holder_gets_what_its_dying_predecessor_held(world: World) -> None:
    """Prepared or not: nobody else is."""
    world.spread_over("a", "b", "c")
    world.servers["c"].says(leaving=True)
    world.look(100.0)
    announced = {shard: row.next_id for shard, row in world.map.items() if row.next_id is not None}
    world.servers["c"].dies()
    world.look(101.0)
    assert world.arriving() == {}
    assert {shard: world.map[shard].server_id for shard in announced} == announced


def test_where_everybody_leaves_everything_stays(world: World) -> None:
    """So that after a restart of all of them each finds its own shards again."""
    world.spread_over("a", "b")
    before = world.map
    for name in ("a", "b"):
        world.servers[name].says(leaving=True)
    world.look(100.0)
    world.servers["a"].stops()
    world.look(101.0)
    world.servers["b"].stops()
    world.look(102.0)
    assert world.map == before
    world.servers["b"].says()
    world.look(103.0)
    assert world.map == before, "a may be coming too"
    world.look(109.0)
    assert set(world.held()) == {"b"}


def test_a_restart_of_all_servers_moves_nothing(world: World) -> None:
    world.spread_over("a", "b")
    world.look(100.0)
    before = world.map
    for server in world.servers.values():
        server.says(leaving=True)
    world.look(101.0)
    for server in world.servers.values():
        server.stops()
    world.look(102.0)
    for server in world.servers.values():
        server.says()
    world.look(103.0)
    assert world.figures()["rebalance_pending"] == 0
    world.look(130.0)
    assert world.map == before


def test_a_server_that_comes_back_is_a_newcomer(world: World) -> None:
    world.spread_over("a", "b", "c")
    world.servers["c"].stops()
    world.look(100.0)
    world.servers["c"].says()
    world.look(103.0)
    assert world.arriving() == {}
    world.look(103.0 + DEBOUNCE_S)
    assert 0.27 < world.arriving()["c"] / SHARDS < 0.35


def test_the_last_of_many_gets_its_part_and_so_it_does_when_it_comes_back(world: World) -> None:
    """None of the fourteen others holds far too much, so nobody but a newcomer would get anything."""
    *others, last = [f"s{n:02}" for n in range(15)]
    part = SHARDS / 15
    world.spread_over(*others)
    world.start(last)
    world.look(100.0)
    world.look(100.0 + DEBOUNCE_S)
    assert 0.8 * part < world.arriving()[last] < 1.05 * part
    world.prepare(last)
    world.look(120.0)
    world.servers[last].stops()
    world.look(130.0)
    assert last not in world.held()
    world.servers[last].says()
    world.look(140.0)
    world.look(140.0 + DEBOUNCE_S)
    assert 0.8 * part < world.arriving()[last] < 1.05 * part


# Bytes


def test_bytes_count_not_shards(world: World) -> None:
    world.weights = [1000 if shard < 100 else 1 for shard in range(SHARDS)]
    world.spread_over("a", "b", "c", "d")
    bytes_of = placement.loads_of(
        world.weights, "abcd", {shard: row.server_id for shard, row in world.map.items()}
    )
    mean = sum(world.weights) / 4
    assert max(bytes_of.values()) <= placement.CAP * mean
    told = world.figures()
    assert {name: told[f'assigned_bytes{{server="{name}"}}'] for name in "abcd"} == bytes_of
    assert {name: told[f'shards{{server="{name}"}}'] for name in "abcd"} == world.held()


def test_tenants_that_grow_move_shards_only_where_a_server_holds_far_too_much(world: World) -> None:
    world.spread_over("a", "b", "c", "d")
    before = world.map
    mine = [shard for shard, row in before.items() if row.server_id == "a"]
    for shard in mine[:60]:
        world.weights[shard] = 120
    world.look(100.0)
    assert world.map == before, "1.05 times the mean is not worth a move"
    for shard in mine:
        world.weights[shard] = 200
    world.look(110.0)
    assert world.map == before, "once a minute is enough"
    world.look(125.0)
    assert {row.server_id for row in world.map.values() if row.next_id is not None} == {"a"}
    wanted = {shard: row.next_id or row.server_id for shard, row in world.map.items()}
    loads = placement.loads_of(world.weights, "abcd", wanted)
    assert max(loads.values()) <= placement.CAP * sum(loads.values()) / 4


# Operators that come and go


def test_a_restart_of_the_operator_moves_nothing(world: World) -> None:
    world.spread_over("a", "b", "c")
    world.servers["c"].says(leaving=True)
    world.look(100.0)
    before = world.map
    world.restart()
    world.look(0.0)
    world.look(20.0)
    assert world.map == before
    assert world.figures()["rebalance_pending"] == 0
    world.look(HANDOVER_S)
    assert set(world.held()) == {"a", "b"}


def test_an_operator_that_begins_waits_for_servers_that_are_starting_too(world: World) -> None:
    """After a restart of everything, the first one to come would be given all that the others held."""
    world.spread_over("a", "b", "c")
    before = world.map
    for name in "abc":
        world.servers[name].stops()
    world.restart()
    world.servers["b"].says()
    world.look(0.5)
    assert world.map == before
    world.servers["a"].says()
    world.look(1.5)
    assert world.map == before
    world.look(6.0)
    assert set(world.held()) == {"a", "b"}, "c does not come"


def test_after_an_outage_of_the_registry_nobody_is_taken_for_dead_too_soon(world: World) -> None:
    """All leases ended meanwhile, and the servers renew them one after the other."""
    world.spread_over("a", "b", "c")
    world.look(100.0)
    before = world.map
    for name in "ac":
        world.servers[name].dies()
    world.look(160.0, blind=True)
    assert world.map == before
    world.servers["a"].says()
    world.look(161.0)
    world.look(166.0)
    assert set(world.held()) == {"a", "b"}, "c did not come back"
    assert all(world.map[shard] == row for shard, row in before.items() if row.server_id != "c")


def test_a_stranger_that_comes_first_after_a_restart_is_a_newcomer(world: World) -> None:
    world.spread_over("a", "b")
    before = world.map
    for name in "ab":
        world.servers[name].stops()
    world.restart()
    world.start("new")
    world.look(0.5)
    for name in "ab":
        world.servers[name].says()
    world.look(1.0)
    assert world.map == before
    world.look(1.0 + DEBOUNCE_S)
    assert 0.27 < world.arriving()["new"] / SHARDS < 0.35


def test_a_server_that_came_while_no_operator_watched_is_a_newcomer(world: World) -> None:
    world.spread_over("a", "b")
    before = world.map
    world.start("c")
    world.restart()
    world.look(0.0)
    assert world.map == before
    world.look(DEBOUNCE_S)
    assert set(world.arriving()) == {"c"}


def test_what_is_edited_by_hand_is_put_back(world: World) -> None:
    world.spread_over("a", "b")
    before = world.map
    world.registry.assign_shards({0: Holding("nobody"), 1: Holding(before[1].server_id, "nobody")})
    world.keeper.restore()
    assert world.map == before
    revisions = {row.revision for row in world.map.values()}
    world.keeper.restore()
    assert {row.revision for row in world.map.values()} == revisions, "and once only"


def test_a_server_that_is_forgotten_is_shown_no_more(world: World) -> None:
    world.spread_over("a", "b")
    world.servers["b"].dies()
    world.look(100.0)
    assert world.figures()['shards{server="b"}'] == 0
    world.servers["b"].stops()
    world.start("c")
    world.look(101.0)
    assert 'shards{server="b"}' not in world.figures()
