"""Users to shards to servers."""

from collections import Counter
from collections.abc import Collection
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantry import placement
from tenantry.placement import CAP, SHARDS, STRAINED

_SERVERS = st.sets(st.text("abcdef0123456789-", min_size=1, max_size=12), min_size=1, max_size=8)


def test_shards_of_users_never_change() -> None:
    """The stored map would be about other users: these figures hold for every version and machine."""
    known = {"store-042": 977, "N14228": 856, "a": 559, "Ann@shop.example": 747}
    assert {user: placement.shard_of(user) for user in known} == known


@given(_SERVERS)
def test_the_owner_does_not_depend_on_the_order_of_servers(servers: set[str]) -> None:
    assert placement.owners(sorted(servers)) == placement.owners(sorted(servers, reverse=True))


@given(_SERVERS, st.text("xyz", min_size=1, max_size=5))
def test_a_server_that_joins_takes_shards_and_moves_no_other(servers: set[str], new: str) -> None:
    before, after = placement.owners(servers), placement.owners(servers | {new})
    assert {after[shard] for shard in range(SHARDS) if after[shard] != before[shard]} <= {new}


def test_four_servers_hold_about_a_quarter_each() -> None:
    """Four binomial standard deviations: 1,024 shards, p = 1/4, sigma = 13.9."""
    counts = Counter(placement.owners([f"server-{n}" for n in range(4)]).values())
    assert all(abs(count - 256) < 56 for count in counts.values())


def test_without_servers_nobody_owns_anything() -> None:
    assert placement.owners([]) == {}


# With a cap


def weights(seed: int, tail: float, empty: float) -> list[int]:
    """Pareto-distributed with this index; hypothesis would take seconds to draw 1,024 numbers each time."""
    random = Random(seed)  # noqa: S311 - no secret
    return [0 if random.random() < empty else int(1000 * random.paretovariate(tail)) for _ in range(SHARDS)]


_SEEDS = st.integers(0, 1 << 32)
_WEIGHTS = st.builds(weights, _SEEDS, st.floats(0.2, 5.0), st.sampled_from([0.0, 0.5, 0.99, 1.0]))
_EVEN = st.builds(weights, _SEEDS, st.just(10.0), st.just(0.0))  # none is twice the mean
_HELD = st.dictionaries(st.integers(0, SHARDS - 1), st.sampled_from(["a", "b", "gone"]))
_EXAMPLES = settings(max_examples=40, deadline=None)


def placed(
    weighed: list[int], servers: Collection[str], held: dict[int, str] | None = None
) -> dict[int, str]:
    return placement.level(weighed, servers, placement.fill(weighed, servers, held))


def relative(weighed: list[int], servers: Collection[str], held: dict[int, str]) -> list[float]:
    """What each server holds, as a multiple of the mean."""
    loads = placement.loads_of(weighed, servers, held)
    return [load * len(loads) / sum(loads.values()) for load in loads.values()]


@_EXAMPLES
@given(_WEIGHTS, _SERVERS, _HELD)
def test_every_shard_is_held_by_a_server_that_is_there(
    weighed: list[int], servers: set[str], held: dict[int, str]
) -> None:
    placed_map = placed(weighed, servers, held)
    assert set(placed_map) == set(range(SHARDS))
    assert set(placed_map.values()) <= servers


@_EXAMPLES
@given(_WEIGHTS, _SERVERS, _HELD)
def test_a_map_that_was_made_stays_whoever_makes_it_again(
    weighed: list[int], servers: set[str], held: dict[int, str]
) -> None:
    once = placed(weighed, servers, held)
    assert placed(weighed, sorted(servers, reverse=True), once) == once


@_EXAMPLES
@given(_EVEN, _SERVERS)
def test_small_shards_keep_every_server_under_the_cap(weighed: list[int], servers: set[str]) -> None:
    assert max(relative(weighed, servers, placement.fill(weighed, servers))) <= CAP


@_EXAMPLES
@given(_EVEN, _SERVERS, st.text("xyz", min_size=1, max_size=5))
def test_a_join_moves_its_part_to_the_newcomer_and_nothing_else(
    weighed: list[int], servers: set[str], new: str
) -> None:
    before, more = placed(weighed, servers), servers | {new}
    after = placement.level(weighed, more, before, [new])
    moved = {shard for shard in range(SHARDS) if after[shard] != before[shard]}
    assert {after[shard] for shard in moved} == {new}
    part = sum(weighed[shard] for shard in moved) / sum(weighed)
    assert 0.9 / len(more) < part < 1 / len(more) + 0.03
    assert max(relative(weighed, more, after)) <= STRAINED


@_EXAMPLES
@given(_EVEN, st.sets(st.sampled_from("abcdefgh"), min_size=2))
def test_a_leave_moves_the_leavers_shards_and_nothing_else(weighed: list[int], servers: set[str]) -> None:
    before = placed(weighed, servers)
    leaver, *_ = sorted(servers)
    left = servers - {leaver}
    after = placed(weighed, left, before)
    assert all(after[shard] == before[shard] for shard in before if before[shard] != leaver)
    assert max(relative(weighed, left, after)) <= CAP


@_EXAMPLES
@given(_WEIGHTS, st.sets(st.sampled_from("abcdefgh"), min_size=2))
def test_a_server_that_came_to_hold_everything_gives_until_no_move_would_better_it(
    weighed: list[int], servers: set[str]
) -> None:
    one, *_ = sorted(servers)
    after = placed(weighed, servers, dict.fromkeys(range(SHARDS), one))
    loads = placement.loads_of(weighed, servers, after)
    mean, least = sum(loads.values()) / len(loads), min(loads.values())
    for shard, server in after.items():
        if loads[server] > STRAINED * mean and weighed[shard]:
            assert least + weighed[shard] > CAP * mean, "it would have fitted there"


def test_shards_without_a_tenant_go_to_the_newcomer_that_they_rank_first() -> None:
    """Else all tenants that come later would be those of the server that was there first."""
    weighed = [10 if shard < 60 else 0 for shard in range(SHARDS)]
    before = dict.fromkeys(range(SHARDS), "a")
    after = placement.level(weighed, ["a", "b", "c"], before, ["b", "c"])
    empty = [shard for shard in range(SHARDS) if shard >= 60]
    first = {shard: placement.rendezvous(shard, ["a", "b", "c"])[0] for shard in empty}
    assert {shard: after[shard] for shard in empty} == first
    assert placement.level(weighed, ["a", "b", "c"], after) == after


def test_a_shard_that_outweighs_all_others_has_a_server_nearly_for_itself() -> None:
    weighed = [1] * SHARDS
    weighed[7] = 10 * SHARDS
    servers = {"a", "b", "c", "d"}
    after = placed(weighed, servers, dict.fromkeys(range(SHARDS), "a"))
    assert [shard for shard in after if after[shard] == after[7]] == [7]
    assert len(set(after.values())) == 4


def test_where_nothing_is_known_shards_are_counted() -> None:
    nothing = [0] * SHARDS
    counts = Counter(placement.fill(nothing, ["a", "b", "c"]).values())
    assert max(counts.values()) <= CAP * SHARDS / 3
    joined = placement.level(nothing, "abcd", placement.fill(nothing, "abc"), ["d"])
    assert 0.2 < Counter(joined.values())["d"] / SHARDS < 0.28


@pytest.mark.parametrize("count", [4, 20, 100])
def test_the_last_of_many_servers_gets_its_part_too(count: int) -> None:
    """Of 21, each of the others is at the cap of 1.05 at most, and would need to give nothing."""
    servers = [f"server-{n}" for n in range(count)]
    weighed = [100] * SHARDS
    before = placement.fill(weighed, servers[:-1])
    after = placement.level(weighed, servers, before, servers[-1:])
    shards = Counter(after.values())[servers[-1]]
    assert 0.8 * SHARDS / count < shards <= CAP * SHARDS / count


def test_without_servers_nobody_is_given_anything() -> None:
    assert placement.fill([1] * SHARDS, []) == {}
