"""Where a request is answered: holders by their load, then others in one order for all, then here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry import placement
from tenantry.placement import shard_of
from tenantry.registry import Holding
from tenantry_server.assignments.contact import Contact
from tenantry_server.peers.choice import Ask, Here, Request, Route, belongs_here, choose, rescue
from tenantry_server.predicting.answer import Pace
from tenantry_server.quotas.quotas import Left

ME = "me"
USER = "ann"


@dataclass
class Peer:
    """One peer as the choice sees it."""

    usable: bool = True
    leased: bool = True
    busyness: float = 0.0


@dataclass
class View:
    """A fleet in which `ranking` is the rendezvous order of every shard."""

    owner: str | None = "b"
    next_owner: str | None = None
    replicas: int = 1
    ranking: Sequence[str] = ("b", "c", ME, "d")
    peers: Mapping[str, Peer] = field(default_factory=lambda: {name: Peer() for name in "bcd"})
    contact: Contact = Contact.FRESH
    own_load: float = 0.0
    said: Pace | None = Pace.UNKNOWN
    me: str = ME
    limits: Left = Left.UNLIMITED

    def holding(self, shard: int) -> Holding | None:
        assert shard == shard_of(USER)
        return None if self.owner is None else Holding(self.owner, self.next_owner)

    def replicas_of(self, user_id: str) -> int:
        assert user_id == USER
        return self.replicas

    def holders(self, shard: int, owner_id: str, count: int) -> Sequence[str]:
        return placement.holders(owner_id, self.order(shard), count)

    def order(self, shard: int) -> Sequence[str]:
        assert shard == shard_of(USER)
        return self.ranking

    def pace(self, user_id: str) -> Pace | None:
        assert user_id == USER
        return self.said

    def left(self, user_id: str) -> Left:
        assert user_id == USER
        return self.limits

    def with_peers(self, **peers: Peer) -> "View":
        return replace(self, peers={**self.peers, **peers})


def asked(route: Route) -> list[Sequence[str]]:
    """The peers of each step of a route."""
    steps: list[Sequence[str]] = []
    while isinstance(route, Ask):
        steps.append(list(route.peers))
        route = route.then
    return steps


LEASELESS, DOWN = Peer(leased=False), Peer(usable=False)
NOBODY: dict[str, Peer] = {}
CASES: dict[str, tuple[View, Request, list[list[str]]]] = {
    "the owner, then those that come before this server": (View(), Request(USER), [["b", "c"]]),
    "an owner out of order comes first": (View("d"), Request(USER), [["d", "b", "c"]]),
    "the owner answers itself": (View(ME), Request(USER), []),
    "a holder answers itself": (View("d", replicas=4), Request(USER), []),
    "no shard map": (View(None), Request(USER), []),
    "no peers": (View(peers=NOBODY), Request(USER), []),
    "a quick model in memory": (View(said=Pace.QUICK), Request(USER), []),
    "a usual model in memory": (View(said=Pace.USUAL), Request(USER), [["b", "c"]]),
    "a slow model in memory": (View(said=Pace.SLOW), Request(USER), [["b", "c"]]),
    "what is in memory is the holder's to say": (
        View(said=Pace.QUICK),
        Request(USER, about_memory=True),
        [["b", "c"]],
    ),
    "a user without a model": (View(said=None), Request(USER), []),
    "a copy of a limited user's quick model": (
        View(said=Pace.QUICK, limits=Left.SOME),
        Request(USER),
        [["b", "c"]],
    ),
    "a holder's share is left": (
        View("d", replicas=4, limits=Left.SOME, said=Pace.QUICK),
        Request(USER),
        [],
    ),
    "a holder's share is used up: the other holders": (
        View("d", replicas=3, ranking=("b", ME, "c", "d"), limits=Left.NONE, said=Pace.QUICK),
        Request(USER),
        [["d", "b"]],
    ),
    "the only holder's share is used up": (View(ME, limits=Left.NONE), Request(USER), []),
    "a passed-on request of a limited user": (
        View(limits=Left.NONE),
        Request(USER, from_client=False),
        [],
    ),
    "a peer that is down": (View().with_peers(c=DOWN), Request(USER), [["b"]]),
    "the owner is down, the next one answers": (View().with_peers(b=DOWN), Request(USER), [["c"]]),
    "all before this server are down": (View().with_peers(b=DOWN, c=DOWN), Request(USER), [[]]),
    "a peer that the registry does not know": (View("gone"), Request(USER), [["b", "c"]]),
    "a peer without a lease is left out": (View().with_peers(b=LEASELESS), Request(USER), [["c"]]),
    "passed on already": (View(), Request(USER, from_client=False), []),
    "asked in vain already": (View(), Request(USER, asked_in_vain=True), []),
    "two holders before the others": (View("d", replicas=2), Request(USER), [["d", "b", "c"]]),
    "lapsed, but the registry answers": (View(contact=Contact.LAPSED), Request(USER), [["b", "c"]]),
    "silent: everybody with a lease, then the nearest": (
        View(contact=Contact.SILENT).with_peers(b=LEASELESS),
        Request(USER),
        [["c", "d"], ["b", "c"]],
    ),
    "silent, and the owner itself": (
        View(ME, contact=Contact.SILENT),
        Request(USER),
        [["b", "c", "d"]],
    ),
    "silent, and without a shard map": (
        View(None, contact=Contact.SILENT),
        Request(USER),
        [["b", "c", "d"]],
    ),
}


@pytest.mark.parametrize(("view", "request_", "steps"), CASES.values(), ids=CASES.keys())
def test_peers_are_asked_in_order(view: View, request_: Request, steps: list[list[str]]) -> None:
    assert asked(choose(request_, view)) == steps


def test_without_a_lease_anywhere_only_the_first_step_demands_one() -> None:
    """The registry is out of reach: fresh knowledge is looked for first, then the model in a memory."""
    route = choose(Request(USER), View(contact=Contact.SILENT))
    assert isinstance(route, Ask)
    assert isinstance(route.then, Ask)
    assert (route.fresh, route.at_most, route.share) == (True, 3, 0.5)
    assert (route.then.fresh, route.then.at_most, route.then.share) == (False, 2, 1.0)
    demanding = choose(Request(USER, wants_fresh=True), View(contact=Contact.SILENT))
    assert asked(demanding) == [["b", "c", "d"]]


@pytest.mark.parametrize(("load", "first"), [(0.5, "b"), (0.0, "d")])
def test_of_two_holders_the_less_busy_is_asked_first(load: float, first: str) -> None:
    view = View("d", replicas=2).with_peers(d=Peer(busyness=load), b=Peer(busyness=0.3))
    assert {asked(choose(Request(USER, draw=draw), view))[0][0] for draw in range(20)} == {first}


def test_of_equal_holders_each_gets_its_part() -> None:
    view = View("d", replicas=3)
    firsts = [asked(choose(Request(USER, draw=draw), view))[0][0] for draw in range(300)]
    assert {name: firsts.count(name) for name in "bcd"} == dict.fromkeys("bcd", 100)


def test_the_busiest_of_three_is_never_first() -> None:
    """Of any two that the draw picks, it is the busier one."""
    view = View("d", replicas=3).with_peers(c=Peer(busyness=0.9))
    assert {asked(choose(Request(USER, draw=draw), view))[0][0] for draw in range(60)} == {"b", "d"}


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
    view = View(ME, replicas=2, own_load=own, said=pace).with_peers(b=Peer(busyness=other))
    assert asked(choose(Request(USER), view)) == ([["b"]] if given_away else [])


def test_a_rescue_asks_every_other_server_once_the_holders_first() -> None:
    view = View("d").with_peers(b=LEASELESS)
    assert asked(rescue(Request(USER), view, ())) == [["d", "c"]]
    assert asked(rescue(Request(USER), view, {"d"})) == [["c"]]


@pytest.mark.parametrize(
    ("route", "may_rescue"),
    [
        (choose(Request(USER), View(ME)), True),
        (choose(Request(USER, asked_in_vain=True), View()), True),
        (choose(Request(USER, about_memory=True), View(ME)), False),
        (choose(Request(USER, from_client=False), View()), False),
        (choose(Request(USER), View(peers=NOBODY)), False),
    ],
)
def test_peers_may_rescue_a_prediction_of_a_client(route: Route, may_rescue: bool) -> None:
    assert route == Here(may_rescue=may_rescue)


@pytest.mark.parametrize(
    ("view", "belongs"),
    [
        (View(None), True),
        (View(ME), True),
        (View("b", next_owner=ME), True),
        (View("b"), False),
        (View("b", replicas=2), False),
        (View("b", replicas=3), True),
    ],
)
def test_a_model_belongs_where_its_user_is_or_will_be_answered(view: View, belongs: bool) -> None:
    assert belongs_here(USER, view) is belongs


NAMES = ("b", "c", "d", "e")
states = st.builds(Peer, st.booleans(), st.booleans(), st.floats(0, 1))
views = st.builds(
    View,
    owner=st.sampled_from([None, ME, *NAMES, "gone"]),
    next_owner=st.sampled_from([None, ME, *NAMES]),
    replicas=st.integers(1, 8),
    ranking=st.permutations((ME, *NAMES)).map(lambda order: order[:4] if ME in order[:4] else [ME]),
    peers=st.dictionaries(st.sampled_from(NAMES), states),
    contact=st.sampled_from(Contact),
    own_load=st.floats(0, 1),
    said=st.sampled_from([None, *Pace]),
    limits=st.sampled_from(Left),
)
requests = st.builds(
    Request,
    st.just(USER),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32),
)


@given(requests, views)
def test_a_route_never_asks_this_server_nor_twice_and_ends_here(request_: Request, view: View) -> None:
    route = choose(request_, view)
    questions = []
    while isinstance(route, Ask):
        assert ME not in route.peers
        assert all(view.peers[name].usable for name in route.peers)
        questions += [(name, route.fresh) for name in route.peers]
        assert route.at_most >= 1
        route = route.then
    assert len(questions) == len(set(questions)), "no peer is asked the same question twice"
    assert isinstance(route, Here)
    assert request_.from_client or not questions
