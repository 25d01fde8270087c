"""The shard map as the operator keeps it, on a real registry: who gets what, when, and in which steps."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry import placement
from tenantry.placement import SHARDS
from tenantry.registry import Holding, ServerRegistry, ServerReport, open_engine
from tenantry.registry import Server as Listed
from tenantry_operator.fleet.shard_keeper import ShardKeeper
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.settings import OperatorSettings
from tests.support.databases.migrated import migrate
from tests.support.tenants.operator_side import leading

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


class Keeping:
    """An operator's keeper of shards, its clock, and the servers."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/registry.db"
        self._engine = open_engine(self.url)
        migrate(self._engine)
        self.registry = leading(self._engine)
        self.weights = [100] * SHARDS
        self.scaled_away: set[str] = set()
        self.servers: dict[str, Server] = {}
        self.restart()

    def restart(self) -> None:
        """Another operator goes on from what is stored."""
        self.metrics = OperatorMetrics()
        settings = OperatorSettings(rebalance_after_s=DEBOUNCE_S, handover_s=HANDOVER_S)
        self._observed_after_s = 0.0
        self._seen_last: list[Listed] = self.registry.servers()
        self._began_s = time.monotonic()  # nothing that takes time is between this and the keeper's own
        self.keeper = ShardKeeper(
            self.registry, settings, self.metrics, lambda: self.weights, self.scaled_away.__contains__
        )

    def start(self, *names: str) -> None:
        for name in names:
            self.servers[name] = Server(self.url, name)

    def observe(self, after_s: float = 0.0, *, blind: bool = False) -> None:
        """One look of an operator that began so long ago, and has looked all the while.

        Args:
            blind: it has not, as the registry was away.
        """
        while not blind and self._observed_after_s + 2.0 < after_s:
            self._observed_after_s += 2.0
            self.keeper.observe(self._seen_last, self._began_s + self._observed_after_s)
        self._observed_after_s = after_s
        self._seen_last = self.registry.servers()
        self.keeper.observe(self._seen_last, self._began_s + after_s)

    def spread_over(self, *names: str) -> None:
        """The usual beginning: all are there before the operator looks."""
        self.start(*names)
        self.observe()

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
def keeping(tmp_path: Path) -> Iterator[Keeping]:
    keeping = Keeping(tmp_path)
    yield keeping
    keeping.close()


# Servers that come


def test_the_first_servers_get_their_shards_at_once(keeping: Keeping) -> None:
    keeping.spread_over("a", "b", "c")
    assert set(keeping.held()) == {"a", "b", "c"}
    assert max(keeping.held().values()) <= placement.CAP * SHARDS / 3
    assert keeping.arriving() == {}
    assert keeping.figures()["rebalance_pending"] == 0


def test_servers_that_start_together_get_their_shards_together(keeping: Keeping) -> None:
    """One is always the first by a moment; nothing is warm yet, so the others need not wait for long."""
    keeping.spread_over("a")
    keeping.start("b")
    keeping.observe(0.5)
    assert set(keeping.held()) == {"a"}
    keeping.start("c")
    keeping.observe(0.8)
    keeping.observe(1.7)
    assert keeping.arriving() == {}
    keeping.observe(1.8)
    assert set(keeping.arriving()) == {"b", "c"}
    for name in ("b", "c"):
        keeping.prepare(name)
    keeping.observe(1.9)
    assert max(keeping.held().values()) <= placement.STRAINED * SHARDS / 3


def test_a_server_that_joins_waits_then_prepares_and_then_takes_over(keeping: Keeping) -> None:
    keeping.spread_over("a", "b", "c")
    before = keeping.map
    keeping.start("d")
    keeping.observe(100.0)
    assert keeping.map == before
    assert keeping.figures()["rebalance_pending"] == 1
    keeping.observe(100.0 + DEBOUNCE_S - 0.1)
    assert keeping.map == before
    keeping.observe(100.0 + DEBOUNCE_S)
    moving = keeping.arriving()
    assert set(moving) == {"d"}
    assert 0.2 < moving["d"] / SHARDS < 0.28
    assert keeping.held() == Counter(row.server_id for row in before.values()), "the old ones answer"
    keeping.observe(120.0)
    assert keeping.arriving() == moving
    keeping.prepare("d")
    keeping.observe(121.0)
    assert keeping.arriving() == {}
    assert keeping.held()["d"] == moving["d"]
    assert keeping.figures()["shard_moves_total"] == moving["d"]
    assert keeping.figures()["shards_moving"] == 0
    after = keeping.map
    keeping.observe(300.0)
    assert keeping.map == after


def test_a_server_that_says_nothing_takes_over_after_a_while(keeping: Keeping) -> None:
    keeping.spread_over("a", "b")
    keeping.start("c")
    keeping.observe(100.0)
    keeping.observe(115.0)
    keeping.observe(115.0 + HANDOVER_S - 0.1)
    assert "c" not in keeping.held()
    keeping.observe(115.0 + HANDOVER_S)
    assert keeping.arriving() == {}
    assert keeping.held()["c"] > 0


def test_servers_that_join_one_after_the_other_are_waited_for_together(keeping: Keeping) -> None:
    keeping.spread_over("a")
    keeping.start("b")
    keeping.observe(100.0)
    keeping.start("c")
    keeping.observe(110.0)
    keeping.observe(100.0 + DEBOUNCE_S)
    assert keeping.arriving() == {}
    keeping.observe(110.0 + DEBOUNCE_S)
    assert set(keeping.arriving()) == {"b", "c"}


def test_servers_that_come_and_go_for_ever_do_not_put_it_off_for_ever(keeping: Keeping) -> None:
    keeping.spread_over("a")
    keeping.start("b", "c")
    for after_s in range(100, 161, 10):
        assert keeping.arriving() == {}, after_s
        keeping.servers["c"].says()
        keeping.observe(after_s)
        keeping.servers["c"].stops()
        keeping.observe(after_s + 5)
    assert set(keeping.arriving()) == {"b"}


# Servers that go


def test_the_shards_of_a_dead_server_move_at_once_and_no_others(keeping: Keeping) -> None:
    keeping.spread_over("a", "b", "c")
    before = keeping.map
    keeping.servers["c"].dies()
    keeping.observe(100.0)
    assert keeping.arriving() == {}
    assert set(keeping.held()) == {"a", "b"}
    assert max(keeping.held().values()) <= placement.CAP * SHARDS / 2
    assert all(keeping.map[shard] == row for shard, row in before.items() if row.server_id != "c")


def test_a_leaving_server_answers_until_another_one_has_prepared(keeping: Keeping) -> None:
    keeping.spread_over("a", "b", "c")
    before = keeping.map
    keeping.servers["c"].says(leaving=True)
    keeping.observe(100.0)
    assert keeping.held() == Counter(row.server_id for row in before.values())
    arriving = keeping.arriving()
    assert set(arriving) == {"a", "b"}
    keeping.prepare("a")
    keeping.observe(101.0)
    assert keeping.held()["c"] == arriving["b"]
    keeping.prepare("b")
    keeping.observe(102.0)
    assert set(keeping.held()) == {"a", "b"}


def test_a_server_that_is_scaled_away_is_left_before_it_knows(keeping: Keeping) -> None:
    keeping.spread_over("a", "b", "c")
    keeping.observe(100.0)
    keeping.scaled_away.add("c")
    keeping.observe(100.1)
    assert set(keeping.arriving()) == {"a", "b"}
    keeping.scaled_away.clear()
    keeping.observe(101.0)
    keeping.observe(101.0 + DEBOUNCE_S)
    assert keeping.held()["c"] + keeping.arriving()["c"] > 0.27 * SHARDS


def test_a_next_holder_that_dies_or_leaves_is_replaced(keeping: Keeping) -> None:
    keeping.spread_over("a", "b", "c", "d")
    keeping.servers["d"].says(leaving=True)
    keeping.observe(100.0)
    assert set(keeping.arriving()) == {"a", "b", "c"}
    keeping.servers["a"].dies()
    keeping.servers["b"].says(leaving=True)
    keeping.observe(101.0)
    assert set(keeping.arriving()) == {"c"}
    assert set(keeping.held()) == {"b", "c", "d"}


def test_the_next_holder_gets_what_its_dying_predecessor_held(keeping: Keeping) -> None:
    """Prepared or not: nobody else is."""
    keeping.spread_over("a", "b", "c")
    keeping.servers["c"].says(leaving=True)
    keeping.observe(100.0)
    announced = {shard: row.next_id for shard, row in keeping.map.items() if row.next_id is not None}
    keeping.servers["c"].dies()
    keeping.observe(101.0)
    assert keeping.arriving() == {}
    assert {shard: keeping.map[shard].server_id for shard in announced} == announced


def test_where_everybody_leaves_everything_stays(keeping: Keeping) -> None:
    """So that after a restart of all of them each finds its own shards again."""
    keeping.spread_over("a", "b")
    before = keeping.map
    for name in ("a", "b"):
        keeping.servers[name].says(leaving=True)
    keeping.observe(100.0)
    keeping.servers["a"].stops()
    keeping.observe(101.0)
    keeping.servers["b"].stops()
    keeping.observe(102.0)
    assert keeping.map == before
    keeping.servers["b"].says()
    keeping.observe(103.0)
    assert keeping.map == before, "a may be coming too"
    keeping.observe(109.0)
    assert set(keeping.held()) == {"b"}


def test_a_restart_of_all_servers_moves_nothing(keeping: Keeping) -> None:
    keeping.spread_over("a", "b")
    keeping.observe(100.0)
    before = keeping.map
    for server in keeping.servers.values():
        server.says(leaving=True)
    keeping.observe(101.0)
    for server in keeping.servers.values():
        server.stops()
    keeping.observe(102.0)
    for server in keeping.servers.values():
        server.says()
    keeping.observe(103.0)
    assert keeping.figures()["rebalance_pending"] == 0
    keeping.observe(130.0)
    assert keeping.map == before


def test_a_server_that_comes_back_is_a_newcomer(keeping: Keeping) -> None:
    keeping.spread_over("a", "b", "c")
    keeping.servers["c"].stops()
    keeping.observe(100.0)
    keeping.servers["c"].says()
    keeping.observe(103.0)
    assert keeping.arriving() == {}
    keeping.observe(103.0 + DEBOUNCE_S)
    assert 0.27 < keeping.arriving()["c"] / SHARDS < 0.35


def test_the_last_of_many_gets_its_part_and_so_it_does_when_it_comes_back(keeping: Keeping) -> None:
    """None of the fourteen others holds far too much, so nobody but a newcomer would get anything."""
    *others, last = [f"s{n:02}" for n in range(15)]
    part = SHARDS / 15
    keeping.spread_over(*others)
    keeping.start(last)
    keeping.observe(100.0)
    keeping.observe(100.0 + DEBOUNCE_S)
    assert 0.8 * part < keeping.arriving()[last] < 1.05 * part
    keeping.prepare(last)
    keeping.observe(120.0)
    keeping.servers[last].stops()
    keeping.observe(130.0)
    assert last not in keeping.held()
    keeping.servers[last].says()
    keeping.observe(140.0)
    keeping.observe(140.0 + DEBOUNCE_S)
    assert 0.8 * part < keeping.arriving()[last] < 1.05 * part


# Bytes


def test_bytes_count_not_shards(keeping: Keeping) -> None:
    keeping.weights = [1000 if shard < 100 else 1 for shard in range(SHARDS)]
    keeping.spread_over("a", "b", "c", "d")
    bytes_of = placement.loads_of(
        keeping.weights, "abcd", {shard: row.server_id for shard, row in keeping.map.items()}
    )
    mean = sum(keeping.weights) / 4
    assert max(bytes_of.values()) <= placement.CAP * mean
    told = keeping.figures()
    assert {name: told[f'assigned_bytes{{server="{name}"}}'] for name in "abcd"} == bytes_of
    assert {name: told[f'shards{{server="{name}"}}'] for name in "abcd"} == keeping.held()


def test_tenants_that_grow_move_shards_only_where_a_server_holds_far_too_much(keeping: Keeping) -> None:
    keeping.spread_over("a", "b", "c", "d")
    before = keeping.map
    mine = [shard for shard, row in before.items() if row.server_id == "a"]
    for shard in mine[:60]:
        keeping.weights[shard] = 120
    keeping.observe(100.0)
    assert keeping.map == before, "1.05 times the mean is not worth a move"
    for shard in mine:
        keeping.weights[shard] = 200
    keeping.observe(110.0)
    assert keeping.map == before, "once a minute is enough"
    keeping.observe(125.0)
    assert {row.server_id for row in keeping.map.values() if row.next_id is not None} == {"a"}
    wanted = {shard: row.next_id or row.server_id for shard, row in keeping.map.items()}
    loads = placement.loads_of(keeping.weights, "abcd", wanted)
    assert max(loads.values()) <= placement.CAP * sum(loads.values()) / 4


# Operators that come and go


def test_a_restart_of_the_operator_moves_nothing(keeping: Keeping) -> None:
    keeping.spread_over("a", "b", "c")
    keeping.servers["c"].says(leaving=True)
    keeping.observe(100.0)
    before = keeping.map
    keeping.restart()
    keeping.observe(0.0)
    keeping.observe(20.0)
    assert keeping.map == before
    assert keeping.figures()["rebalance_pending"] == 0
    keeping.observe(HANDOVER_S)
    assert set(keeping.held()) == {"a", "b"}


def test_an_operator_that_begins_waits_for_servers_that_are_starting_too(keeping: Keeping) -> None:
    """After a restart of everything, the first one to come would be given all that the others held."""
    keeping.spread_over("a", "b", "c")
    before = keeping.map
    for name in "abc":
        keeping.servers[name].stops()
    keeping.restart()
    keeping.servers["b"].says()
    keeping.observe(0.5)
    assert keeping.map == before
    keeping.servers["a"].says()
    keeping.observe(1.5)
    assert keeping.map == before
    keeping.observe(6.0)
    assert set(keeping.held()) == {"a", "b"}, "c does not come"


def test_after_an_outage_of_the_registry_nobody_is_taken_for_dead_too_soon(keeping: Keeping) -> None:
    """All leases ended meanwhile, and the servers renew them one after the other."""
    keeping.spread_over("a", "b", "c")
    keeping.observe(100.0)
    before = keeping.map
    for name in "ac":
        keeping.servers[name].dies()
    keeping.observe(160.0, blind=True)
    assert keeping.map == before
    keeping.servers["a"].says()
    keeping.observe(161.0)
    keeping.observe(166.0)
    assert set(keeping.held()) == {"a", "b"}, "c did not come back"
    assert all(keeping.map[shard] == row for shard, row in before.items() if row.server_id != "c")


def test_a_stranger_that_comes_first_after_a_restart_is_a_newcomer(keeping: Keeping) -> None:
    keeping.spread_over("a", "b")
    before = keeping.map
    for name in "ab":
        keeping.servers[name].stops()
    keeping.restart()
    keeping.start("new")
    keeping.observe(0.5)
    for name in "ab":
        keeping.servers[name].says()
    keeping.observe(1.0)
    assert keeping.map == before
    keeping.observe(1.0 + DEBOUNCE_S)
    assert 0.27 < keeping.arriving()["new"] / SHARDS < 0.35


def test_a_server_that_came_while_no_operator_watched_is_a_newcomer(keeping: Keeping) -> None:
    keeping.spread_over("a", "b")
    before = keeping.map
    keeping.start("c")
    keeping.restart()
    keeping.observe(0.0)
    assert keeping.map == before
    keeping.observe(DEBOUNCE_S)
    assert set(keeping.arriving()) == {"c"}


def test_what_is_edited_by_hand_is_put_back(keeping: Keeping) -> None:
    keeping.spread_over("a", "b")
    before = keeping.map
    keeping.registry.assign_shards({0: Holding("nobody"), 1: Holding(before[1].server_id, "nobody")})
    keeping.keeper.restore()
    assert keeping.map == before
    revisions = {row.revision for row in keeping.map.values()}
    keeping.keeper.restore()
    assert {row.revision for row in keeping.map.values()} == revisions, "and once only"


def test_a_server_that_is_forgotten_is_shown_no_more(keeping: Keeping) -> None:
    keeping.spread_over("a", "b")
    keeping.servers["b"].dies()
    keeping.observe(100.0)
    assert keeping.figures()['shards{server="b"}'] == 0
    keeping.servers["b"].stops()
    keeping.start("c")
    keeping.observe(101.0)
    assert 'shards{server="b"}' not in keeping.figures()
