"""The rate: never more than its rate and burst together, and what it says of waiting is true."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry_server.quotas.rate import Rate

RATES = st.floats(0.01, 1e5)
BURSTS = st.floats(1.0, 1e4)
STEPS_S = st.lists(st.floats(0.0, 3.0), min_size=1, max_size=80)


@given(RATES, BURSTS, STEPS_S)
def test_no_stretch_of_time_has_more_than_rate_and_burst(
    per_second: float, burst: float, steps_s: Sequence[float]
) -> None:
    rate, now_s, allowed = Rate(), 0.0, []
    for step_s in steps_s:
        now_s += step_s
        if rate.take(per_second, burst, now_s=now_s) == 0.0:
            allowed.append(now_s)
    for first, began_s in enumerate(allowed):
        for last, ended_s in enumerate(allowed[first:]):
            assert last + 1 <= burst + per_second * (ended_s - began_s) + 1e-6 * (1 + per_second)


@given(RATES, BURSTS, st.integers(0, 50))
def test_who_waits_as_long_as_it_says_is_answered_and_not_before(
    per_second: float, burst: float, more: int
) -> None:
    rate = Rate()
    for _ in range(int(burst) + more):
        wait_s = rate.take(per_second, burst, now_s=0.0)
    wait_s = rate.wait_s(per_second, burst, now_s=0.0)
    if wait_s > 1e-6:
        assert rate.take(per_second, burst, now_s=wait_s * 0.99) > 0.0
    assert rate.take(per_second, burst, now_s=wait_s + 1e-6) == 0.0


def test_what_is_refused_counts_for_nothing() -> None:
    """A flood must not put off the next answer."""
    rate = Rate()
    assert rate.take(1.0, 1.0, now_s=0.0) == 0.0
    assert [rate.take(1.0, 1.0, now_s=0.5) for _ in range(1000)] == [0.5] * 1000
    assert rate.take(1.0, 1.0, now_s=1.0) == 0.0


def test_a_pause_saves_up_no_more_than_the_burst() -> None:
    rate = Rate()
    rate.take(10.0, 3.0, now_s=0.0)
    assert [rate.take(10.0, 3.0, now_s=1e6) == 0.0 for _ in range(5)] == [True, True, True, False, False]


def test_another_share_of_the_rate_takes_effect_at_once() -> None:
    rate = Rate()
    assert rate.take(10.0, 1.0, now_s=0.0) == 0.0
    assert rate.wait_s(5.0, 1.0, now_s=0.0) == pytest.approx(0.1)
