"""A sidecar's table says what a server's says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.errors import FleetUnreachable, ModelNotAssigned, ModelNotReady
from tenantry.placement import shard_of
from tenantry.processes.runtime import boot_clock_s
from tenantry.registry import Assignment, Changes, Holding
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.sidecars import messages
from tenantry_server.sidecars.feed import Feed
from tenantry_server.sidecars.followed_table import FollowedTable
from tenantry_server.sidecars.following import ServerFollower

USERS = ("ann", "bob", "cid")
LIMITS = ("", '{"rows":5}', '{"requestsPerSecond":2.0}')
rows = st.builds(
    Assignment,
    st.sampled_from(USERS),
    st.just("uid"),
    st.integers(1, 3),
    st.sampled_from([None, "m1", "m2", "m3"]),
    st.sampled_from([None, "m4"]),
    deleted=st.booleans(),
    replicas=st.integers(1, 3),
    limits=st.sampled_from(LIMITS),
)
batches = st.tuples(
    st.booleans(),
    st.lists(rows, max_size=4, unique_by=lambda row: row.user_id),
    st.dictionaries(st.just(shard_of("ann")), st.builds(Holding, st.sampled_from(["a", "b"]))),
    st.dictionaries(st.sampled_from(USERS), st.integers(1, 3), max_size=2),
)


def changes(
    revision: int, batch: tuple[bool, list[Assignment], dict[int, Holding], dict[str, int]]
) -> Changes:
    complete, changed, shards, spread = batch
    kept = [row for row in changed if not (complete and row.deleted)]  # a whole registry has no tombstones
    return Changes(revision, complete, kept, shards, spread, f"t{revision}")


def said(table: RoutingTable) -> dict[str, object]:
    """Everything that a request may ask of a table."""
    ids = table.peek_many(USERS)
    return {
        "models": None if ids is None else list(ids),
        "assigned": dict(table.assigned()),
        "replicas": [table.replicas_of(user) for user in USERS],
        "replicated": set(table.replicated),
        "owners": [table.owner_of(user) for user in USERS],
        "limits": dict(table.limits),
        "at": (table.revision, table.token, table.map_revision, len(table)),
        "known": [
            None if (row := table.get(user)) is None else (row.model_id, row.limits) for user in USERS
        ],
    }


class _Nobody:
    def lookup(self, user_id: str) -> Assignment | None:
        raise AssertionError(user_id)


@given(st.lists(batches, min_size=1, max_size=6))
def test_a_follower_knows_what_its_server_knows(
    sequence: list[tuple[bool, list[Assignment], dict[int, Holding], dict[str, int]]],
) -> None:
    """Whatever changes, in however many answers; and it gives up exactly the same models."""
    server = RoutingTable(_Nobody())
    server.contact.renewed(until_s=boot_clock_s() + 3600)
    feed = Feed(server)
    table, gone = FollowedTable(), set[str]()
    follower = ServerFollower(table, list, _never, discard=gone.add)
    for revision, batch in enumerate([(True, [], {}, {}), *sequence], start=1):
        change = changes(revision, batch)
        left = server.apply(change)[1]
        feed.changed(change)
        feed.heard("pod", follower.cursor)
        body = feed.answer("pod", follower.cursor)
        assert body is not None
        assert follower.take(messages.decode(body), boot_clock_s())
        assert said(table) == said(server)
        assert gone == left
        gone.clear()


async def _never(_url: str, _cursor: str) -> bytes:
    raise ConnectionError


def test_it_says_why_there_is_no_model() -> None:
    table = FollowedTable()
    table.put(Changes(1, True, [Assignment("ann", "uid", 1, None)], {}))
    with pytest.raises(FleetUnreachable):
        table.get_model_id_by_user_id("ann")
    assert table.peek("ann") is None, "no lease"
    table.contact.renewed(until_s=boot_clock_s() + 3600)
    with pytest.raises(ModelNotReady):
        table.peek("ann")
    with pytest.raises(ModelNotAssigned):
        table.peek("bob")
