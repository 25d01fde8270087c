"""After Ready, no follower answers with anything older: whatever is lost, late, paused or ended."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tenantry.errors import FleetUnreachable
from tenantry.registry import Assignment, Changes, ServerRegistry, open_engine
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.sidecars import messages
from tenantry_server.sidecars.feed import Feed
from tenantry_server.sidecars.followed_table import FollowedTable
from tenantry_server.sidecars.following import ServerFollower
from tests.support.tenants.following import LEASE_S, Clock

_MARGIN_S = 1.0
_USER = "ann"
servers = st.integers(0, 1)
followers = st.integers(0, 2)


def no_registry() -> ServerRegistry:
    """Never asked: every lookup of these tests is from memory."""
    return ServerRegistry(open_engine("sqlite://"), "x", endpoint="http://127.0.0.1:1", capacity_bytes=1)


def changes(revision: int, *, complete: bool) -> Changes:
    row = Assignment(_USER, "uid", 1, str(revision), revision=revision)
    return Changes(revision, complete, [row], {}, token=f"t{revision}")


class Server:
    """A server as the registry sees it, stepped by hand."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.table = RoutingTable(no_registry(), clock_s=clock)
        self.feed = Feed(self.table, clock_s=clock)
        self.acked = -1
        self.waited_for_until_s = 0.0

    def read(self, revision: int) -> None:
        trusted = self.table.lease_held
        if not trusted:
            self.renew()
        if not trusted or revision > self.table.revision:
            change = changes(revision, complete=not trusted)
            self.table.apply(change)
            self.feed.changed(change)
        if not trusted:
            self.table.contact.renewed(until_s=self.clock.now_s + LEASE_S - _MARGIN_S)

    def renew(self) -> None:
        self.acked = self.feed.in_force()[0]
        self.waited_for_until_s = self.clock.now_s + LEASE_S
        if self.table.lease_held:
            self.table.contact.renewed(until_s=self.clock.now_s + LEASE_S - _MARGIN_S)


class Follower:
    """A sidecar with at most one question under way; those that it gave up may still arrive."""

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock = clock
        self.name = name
        self.table = FollowedTable(clock_s=clock)
        self.follower = ServerFollower(self.table, list, _never, clock_s=clock)
        self.asked: list[tuple[Server, str]] = []
        self.began_s = 0.0
        self.answer: bytes | None = None

    def ask(self, server: Server) -> None:
        self.asked.append((server, self.follower.cursor))
        self.began_s = self.clock.now_s
        self.answer = None

    def arrive(self, at: int) -> None:
        server, cursor = self.asked.pop(at)
        server.feed.heard(self.name, cursor)
        body = server.feed.answer(self.name, cursor)
        if at == len(self.asked):  # the last one, for which it still waits
            self.answer = body

    def hear(self) -> None:
        if self.answer is not None:
            self.follower.take(messages.decode(self.answer), self.began_s)
        self.answer = None


async def _never(_url: str, _cursor: str) -> bytes:
    raise ConnectionError


class Promise(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.revision = 1
        self.ready = 0
        self.servers = [Server(self.clock) for _ in range(2)]
        self.followers = [Follower(self.clock, f"pod-{n}") for n in range(3)]

        for server in self.servers:
            server.read(self.revision)
        for n in range(3):
            self.follow(n, 0)

    @rule(reading=st.sets(servers))
    def update(self, reading: set[int]) -> None:
        """A new model, which some servers put in force and acknowledge at once."""
        self.revision += 1
        for server in reading:
            self.servers[server].read(self.revision)
            self.servers[server].renew()
        self.say_ready()

    @rule(server=servers)
    def read(self, server: int) -> None:
        self.servers[server].read(self.revision)

    @rule(server=servers)
    def renew(self, server: int) -> None:
        self.servers[server].renew()

    @rule(follower=followers, server=servers)
    def ask(self, follower: int, server: int) -> None:
        self.followers[follower].ask(self.servers[server])

    @rule(follower=followers, late=st.booleans())
    def arrive(self, follower: int, late: bool) -> None:
        asked = self.followers[follower].asked
        if asked:
            self.followers[follower].arrive(0 if late else len(asked) - 1)

    @rule(follower=followers)
    def hear(self, follower: int) -> None:
        self.followers[follower].hear()

    @rule(follower=followers, server=servers)
    def follow(self, follower: int, server: int) -> None:
        """One exchange with nothing in between, so that followers get somewhere."""
        one = self.followers[follower]
        one.ask(self.servers[server])
        one.arrive(len(one.asked) - 1)
        one.hear()

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 2.9, 3.0, 8.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule()
    def say_ready(self) -> None:
        waits = [each for each in self.servers if each.waited_for_until_s > self.clock.now_s]
        self.ready = max(self.ready, min((each.acked for each in waits), default=self.revision))

    @invariant()
    def nothing_older_is_answered(self) -> None:
        tables = [each.table for each in self.servers] + [each.table for each in self.followers]
        for table in tables:
            if table.lease_held:
                assert int(table.peek(_USER) or 0) >= self.ready


TestPromise = Promise.TestCase
TestPromise.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def test_a_follower_out_of_touch_trusts_nothing_and_says_so() -> None:
    """The caller then passes the request on."""
    clock = Clock()
    server, follower = Server(clock), Follower(clock, "pod-0")
    server.read(1)
    follower.ask(server)
    follower.arrive(0)
    follower.hear()
    assert follower.table.peek(_USER) == "1"
    clock.now_s += 3.0
    assert follower.table.peek(_USER) is None
    follower.table.contact.fell_silent()
    with pytest.raises(FleetUnreachable):
        follower.table.get_model_id_by_user_id(_USER)


def test_a_lease_counts_from_before_the_question() -> None:
    """The server waits from when it answered, which is later, however long the answer was under way."""
    clock = Clock()
    server, follower = Server(clock), Follower(clock, "pod-0")
    server.read(1)
    follower.ask(server)
    follower.arrive(0)
    clock.now_s += 2.9
    follower.hear()
    assert follower.table.lease_held
    clock.now_s += 0.1
    assert not follower.table.lease_held


def test_a_question_acknowledges_what_its_sender_has_and_not_what_came_since() -> None:
    clock = Clock()
    server, follower = Server(clock), Follower(clock, "pod-0")
    server.read(1)
    for revision in (2, 3):
        follower.ask(server)
        follower.arrive(0)
        follower.hear()
        server.read(revision)
    follower.ask(server)
    assert server.feed.in_force() == (1, "t1")
    server.read(4)
    follower.arrive(0)
    assert server.feed.in_force() == (2, "t2")
