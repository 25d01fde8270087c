"""Whom a server turns to: holders by their load, then the rest in one order for all, itself at last."""

import random

import pytest

from tenantry.errors import ModelNotAssigned
from tenantry.placement import rendezvous, shard_of
from tenantry.registry import Assignment, Changes, Holding, Server, ServerReport, open_engine
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.peers.choice import Holders
from tenantry_server.peers.directory import Peers
from tenantry_server.peers.peer import Peer
from tenantry_server.predicting.dataplane import DataPlane, Pace
from tests.support.processes.cluster import Silent, user_for

USER = user_for("b", "c", "me", "d")
OTHERS = ("b", "c", "d")


class Plane(DataPlane):
    """Says what a test says of a user's model."""

    def __init__(self) -> None:
        self.said: Pace | Exception = Pace.UNKNOWN

    def pace(self, user_id: str) -> Pace:  # noqa: ARG002 - the interface
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


class Choice:
    """One server named "me" among others, and its choice for USER."""

    def __init__(self, owner: str | None = "b", *, replicas: int = 1) -> None:
        registry = Silent(open_engine("sqlite://"), "me", endpoint="", capacity_bytes=1)
        self.table = RoutingTable(registry)
        shards = {} if owner is None else {shard_of(USER): Holding(owner)}
        row = Assignment(USER, "uid", 1, "model", replicas=replicas)
        self.table.take(Changes(1, complete=True, assignments=[row], shards=shards))
        self.peers = Peers("me")
        self.plane = Plane()
        self.holders = Holders(self.table, self.peers, self.plane)
        self.hear()

    def hear(self, dead: str = "", **reports: ServerReport) -> None:
        """What the registry says of the servers; `dead` has no lease."""
        self.peers.take(
            [
                Server(
                    name,
                    f"http://{name}",
                    1,
                    -1.0 if name == dead else 9.0,
                    1,
                    reports.get(name, ServerReport()),
                )
                for name in ("me", *OTHERS)
            ]
        )

    def peer(self, server_id: str) -> Peer:
        peer = self.peers.get(server_id)
        assert peer is not None
        return peer

    @property
    def order(self) -> list[str] | None:
        steps = self.holders.elsewhere(USER)
        return None if steps is None else [peer.server_id for peer in steps]


@pytest.fixture(autouse=True)
def chance() -> None:
    random.seed(1)


def test_the_holder_is_asked_and_then_those_that_come_before_this_server() -> None:
    assert rendezvous(shard_of(USER), ["me", *OTHERS]) == ["b", "c", "me", "d"]
    assert Choice().order == ["b", "c"]


def test_a_holder_out_of_order_comes_first_all_the_same() -> None:
    """The cap on bytes gave it the shard."""
    assert Choice("d").order == ["d", "b", "c"]


def test_a_holder_answers_itself() -> None:
    assert Choice("me").order is None
    assert Choice("d", replicas=4).order is None


def test_without_a_shard_map_everybody_answers_itself() -> None:
    assert Choice(None).order is None


def test_a_quick_model_in_memory_needs_nobody_else() -> None:
    choice = Choice()
    choice.plane.said = Pace.QUICK
    assert choice.order is None
    assert choice.holders.elsewhere(USER, held_only=True) is not None
    for pace in (Pace.USUAL, Pace.SLOW):
        choice.plane.said = pace
        assert choice.order == ["b", "c"]


def test_nobody_else_knows_a_user_whom_the_registry_does_not_know() -> None:
    choice = Choice()
    choice.plane.said = ModelNotAssigned(USER)
    assert choice.order is None


def test_who_has_no_lease_by_the_registry_is_not_asked() -> None:
    choice = Choice()
    choice.hear(dead="b")
    assert choice.order == ["c"]


def test_who_is_down_is_not_asked() -> None:
    choice = Choice()
    choice.peer("c").up = False
    assert choice.order == ["b"]


def test_who_said_that_its_lease_is_over_is_asked_only_where_nobody_has_one() -> None:
    choice = Choice()
    choice.peer("b").has_no_lease()
    assert choice.order == ["c"]
    steps = choice.holders.elsewhere(USER, leased=False)
    assert steps is not None
    assert [peer.server_id for peer in steps] == ["b", "c"]


def test_who_leaves_is_asked_for_what_it_still_holds() -> None:
    choice = Choice()
    choice.hear(b=ServerReport(leaving=True), c=ServerReport(leaving=True))
    assert choice.order == ["b"]


def test_who_goes_down_while_another_is_asked_is_passed_by() -> None:
    choice = Choice()
    steps = choice.holders.elsewhere(USER)
    assert steps is not None
    assert next(steps).server_id == "b"
    choice.peer("c").up = False
    assert list(steps) == []


def test_several_holders_are_asked_before_the_others() -> None:
    order = Choice("d", replicas=2).order
    assert order is not None
    assert (set(order[:2]), order[2:]) == ({"d", "b"}, ["c"])


@pytest.mark.parametrize(("load", "first"), [(0.5, "b"), (0.0, "d")])
def test_of_two_holders_the_less_busy_is_asked_first(load: float, first: str) -> None:
    choice = Choice("d", replicas=2)
    choice.hear(d=ServerReport(load=load), b=ServerReport(load=0.3))
    assert {(choice.order or [""])[0] for _ in range(20)} == {first}


def test_requests_that_are_there_and_unanswered_count_before_the_next_report() -> None:
    choice = Choice("d", replicas=2)
    choice.hear(d=ServerReport(load=0.3))
    choice.peer("b").in_flight = 4
    assert {(choice.order or [""])[0] for _ in range(20)} == {"d"}


def test_of_equal_holders_each_gets_its_part() -> None:
    choice = Choice("d", replicas=3)
    firsts = [(choice.order or [""])[0] for _ in range(300)]
    assert min(firsts.count(name) for name in ("b", "c", "d")) > 50


def test_the_most_busy_of_three_is_never_first() -> None:
    """Of any two that chance picks it is the busier one."""
    choice = Choice("d", replicas=3)
    choice.hear(c=ServerReport(load=0.9))
    assert {(choice.order or [""])[0] for _ in range(50)} == {"b", "d"}


@pytest.mark.parametrize(
    ("pace", "own", "other", "given_away"),
    [
        (Pace.SLOW, 0.9, 0.2, True),
        (Pace.SLOW, 0.9, 0.95, False),
        (Pace.SLOW, 0.7, 0.2, False),
        (Pace.USUAL, 0.9, 0.2, False),
        (Pace.UNKNOWN, 0.9, 0.2, False),
    ],
)
def test_a_busy_holder_gives_slow_models_away(
    pace: Pace, own: float, other: float, given_away: bool
) -> None:
    choice = Choice("me", replicas=2)
    choice.plane.said = pace
    choice.hear(me=ServerReport(load=own), b=ServerReport(load=other))
    assert choice.order == (["b"] if given_away else None)


def test_whoever_may_know_more_is_asked_the_holders_first() -> None:
    """Those that leave, too; who said that it knows no more is not."""
    choice = Choice("d")
    choice.hear(c=ServerReport(leaving=True))
    assert [peer.server_id for peer in choice.holders.everybody(USER)] == ["d", "b", "c"]
    choice.peer("b").has_no_lease()
    assert [peer.server_id for peer in choice.holders.everybody(USER)] == ["d", "c"]


async def test_a_server_whose_address_is_none_hurts_no_other() -> None:
    """Its operator's mistake is read by every server, once a second."""
    peers = Peers("me")
    names = {
        "b": "http://host:port",
        "c": "http://[::1",
        "d": f"http://{'x' * 70}.example:80",
        "e": "http://e",
    }
    peers.take([Server(name, url, 1, 9.0, 1, ServerReport()) for name, url in names.items()])
    assert [name for name in names if peers.get(name) is not None] == ["d", "e"]
    unlikely = peers.get("d")
    assert unlikely is not None
    assert not await unlikely._answers()
    peers.close()


def test_a_server_at_a_new_address_is_another_peer() -> None:
    choice = Choice()
    before = choice.peer("b")
    before.up = False
    choice.peers.take([Server("b", "http://elsewhere", 1, 9.0, 1, ServerReport())])
    assert choice.peer("b") is not before
    assert choice.peers.get("c") is None, "it was forgotten by the registry"
