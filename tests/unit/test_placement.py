"""Users to shards to servers."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tenantry import placement
from tenantry.placement import SHARDS

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
