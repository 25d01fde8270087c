"""Whether a peer lives: every state, and what each event makes of it."""

from collections.abc import Callable

import pytest

from tenantry_server.peers.health import Health, PeerHealth

EVENTS: dict[str, Callable[[PeerHealth], object]] = {
    "doubt": PeerHealth.doubt,
    "failed": PeerHealth.failed,
    "answered": PeerHealth.answered,
    "close": PeerHealth.close,
}
UP, DOUBTED, DOWN, CLOSED = Health.BELIEVED_UP, Health.DOUBTED, Health.DOWN, Health.CLOSED
TABLE = {
    (UP, "doubt"): (DOUBTED, None),
    (UP, "failed"): (DOWN, True),
    (UP, "answered"): (UP, False),
    (DOUBTED, "doubt"): (DOUBTED, None),
    (DOUBTED, "failed"): (DOWN, True),
    (DOUBTED, "answered"): (UP, False),
    (DOWN, "doubt"): (DOWN, None),
    (DOWN, "failed"): (DOWN, False),
    (DOWN, "answered"): (UP, True),
    (CLOSED, "doubt"): (CLOSED, None),
    (CLOSED, "failed"): (CLOSED, False),
    (CLOSED, "answered"): (CLOSED, False),
    **{(state, "close"): (CLOSED, None) for state in Health},
}


def test_the_table_is_complete() -> None:
    assert TABLE.keys() == {(state, event) for state in Health for event in EVENTS}


@pytest.mark.parametrize(("before", "event"), TABLE)
def test_each_event_leads_to_one_state_and_news_is_reported_once(before: Health, event: str) -> None:
    health = PeerHealth()
    health.state = before
    news = EVENTS[event](health)
    assert (health.state, news) == TABLE[before, event]


@pytest.mark.parametrize(
    ("state", "live", "usable"),
    [
        (UP, True, True),
        (DOUBTED, True, True),
        (DOWN, True, False),
        (CLOSED, True, False),
        (UP, False, False),
        (DOUBTED, False, False),
    ],
)
def test_a_peer_is_asked_while_it_lives_and_is_at_most_doubted(
    state: Health, live: bool, usable: bool
) -> None:
    health = PeerHealth()
    health.state, health.live = state, live
    assert health.usable is usable


def test_a_peer_that_lost_its_lease_is_left_out_for_a_second() -> None:
    health = PeerHealth()
    assert health.leased(now_s=100.0)
    health.lease_over(now_s=100.0)
    assert [health.leased(now_s) for now_s in (100.0, 100.9, 101.0)] == [False, False, True]
