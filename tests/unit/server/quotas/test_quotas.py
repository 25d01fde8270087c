"""What is counted, for whom, and how several servers share a limit."""

from contextlib import AbstractContextManager

import pytest

from tenantry.errors import ModelOverLimit, QuotaExceeded, RowsTooMany
from tenantry.manifest.limits import Limits
from tenantry_server.quotas.quotas import ALL, Left, Quotas, Share


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def allowed(quotas: Quotas, user_id: str, requests: int) -> int:
    """How many of so many requests at once are answered."""
    answered = 0
    for _ in range(requests):
        try:
            quotas.take(user_id, rows=1)
        except QuotaExceeded:
            continue
        answered += 1
    return answered


def test_users_without_limits_are_not_counted(clock: Clock) -> None:
    quotas = Quotas({"ann": Limits(requests_per_second=1)}, clock_s=clock)
    assert allowed(quotas, "bob", 1000) == 1000
    assert quotas._rates.get("bob") is quotas._rates.get("ann") is None
    assert quotas.left("bob") is Left.UNLIMITED
    assert not quotas.is_elsewhere("bob")


def test_a_refusal_says_what_is_allowed_and_when_to_ask_again(clock: Clock) -> None:
    quotas = Quotas({"ann": Limits(requests_per_second=4, burst=2)}, clock_s=clock)
    assert allowed(quotas, "ann", 2) == 2
    with pytest.raises(QuotaExceeded, match=r"'ann' has 4 requests a second, 2 at once, and more") as seen:
        quotas.take("ann", rows=1)
    assert seen.value.wait_s == pytest.approx(0.25)
    clock.now_s += 0.25
    assert allowed(quotas, "ann", 5) == 1
    assert quotas.refused == {"requests_per_second": 5, "concurrency": 0, "rows": 0}


@pytest.mark.parametrize(("per_second", "at_once"), [(0.1, 1), (1.0, 1), (2.5, 2), (50.0, 50)])
def test_without_a_burst_a_second_comes_at_once(per_second: float, at_once: int, clock: Clock) -> None:
    quotas = Quotas({"ann": Limits(requests_per_second=per_second)}, clock_s=clock)
    assert allowed(quotas, "ann", 200) == at_once


def test_defaults_hold_field_by_field(clock: Clock) -> None:
    quotas = Quotas(
        {"ann": Limits(rows=5)}, Limits(rows=100, requests_per_second=1, burst=3), clock_s=clock
    )
    assert allowed(quotas, "ann", 10) == allowed(quotas, "bob", 10) == 3
    clock.now_s += 100
    with pytest.raises(RowsTooMany, match=r"6 rows; user 'ann' may send 5 in one request"):
        quotas.take("ann", rows=6)
    quotas.take("bob", rows=6)


def test_rows_that_are_too_many_use_up_no_rate(clock: Clock) -> None:
    quotas = Quotas({"ann": Limits(requests_per_second=1, burst=1, rows=1)}, clock_s=clock)
    with pytest.raises(RowsTooMany):
        quotas.take("ann", rows=2)
    assert allowed(quotas, "ann", 1) == 1


def test_as_many_requests_as_may_be_are_under_way() -> None:
    quotas = Quotas({"ann": Limits(concurrency=2)})
    with quotas.entered("ann", rows=1), quotas.entered("ann", rows=1):
        assert quotas.left("ann") is Left.NONE
        with pytest.raises(QuotaExceeded, match="2 requests under way"), quotas.entered("ann", rows=1):
            pass
    assert quotas._under_way == {}
    with pytest.raises(ZeroDivisionError), quotas.entered("ann", rows=1):
        _ = 1 / 0
    assert quotas._under_way == {}
    assert quotas.left("ann") is Left.SOME


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("concurrency", [1, 2, 7])
def test_holders_together_allow_what_one_would(count: int, concurrency: int, clock: Clock) -> None:
    limits = {"ann": Limits(requests_per_second=30, burst=30, concurrency=concurrency)}
    holders = [
        Quotas(limits, share=lambda _, place=place: Share(place, count), clock_s=clock)  # type: ignore[misc]
        for place in range(count)
    ]
    assert sum(allowed(each, "ann", 100) for each in holders) == pytest.approx(30, abs=count)
    clock.now_s += 10
    places = 0
    for each in holders:
        entered: list[AbstractContextManager[None]] = []
        while each.left("ann") is not Left.NONE and len(entered) < 20:
            context = each.entered("ann", rows=1)
            context.__enter__()
            entered.append(context)
        places += len(entered)
    assert places == concurrency


def test_who_does_not_hold_the_model_leaves_the_counting_to_others(clock: Clock) -> None:
    limits = {"ann": Limits(requests_per_second=1), "bob": Limits(rows=1)}
    quotas = Quotas(limits, share=lambda _: None, clock_s=clock)
    assert quotas.is_elsewhere("ann")
    assert not quotas.is_elsewhere("bob"), "rows can be counted anywhere"
    assert allowed(quotas, "ann", 5) == 1, "where no holder lives, this server stands in for it"


def test_what_a_holder_said_holds_until_its_time(clock: Clock) -> None:
    quotas = Quotas({"ann": Limits(requests_per_second=5)}, share=lambda _: None, clock_s=clock)
    quotas.told("ann", 0.5)
    with pytest.raises(QuotaExceeded) as seen:
        quotas.check_told("ann")
    assert seen.value.wait_s == pytest.approx(0.5)
    quotas.check_told("bob")
    clock.now_s += 0.5
    quotas.check_told("ann")


def test_nobody_can_close_a_user_for_ever(clock: Clock) -> None:
    """Another server is believed for a minute; and not at all about a user who has no limits."""
    quotas = Quotas({"ann": Limits(requests_per_second=5)}, share=lambda _: None, clock_s=clock)
    quotas.told("ann", 1e12)
    quotas.told("bob", 1e12)
    quotas.check_told("bob")
    clock.now_s += 60
    quotas.check_told("ann")


def test_a_limit_that_is_declared_later_holds_from_the_next_request_on(clock: Clock) -> None:
    declared: dict[str, Limits] = {}
    quotas = Quotas(declared, clock_s=clock)
    assert allowed(quotas, "ann", 50) == 50
    declared["ann"] = Limits(requests_per_second=3)
    assert allowed(quotas, "ann", 50) == 3
    declared.clear()
    assert allowed(quotas, "ann", 50) == 50


def test_memory_for_users_who_ask_no_more_is_given_back(clock: Clock) -> None:
    quotas = Quotas({}, Limits(requests_per_second=1000), clock_s=clock)
    for number in range(35_000):
        clock.now_s += 0.001
        quotas.take(f"user-{number}", rows=1)
    assert sum(quotas._rates.get(f"user-{number}") is not None for number in range(35_000)) <= 10_000


def test_a_model_that_is_too_large_for_its_user() -> None:
    quotas = Quotas({"ann": Limits(cache_bytes=1000)})
    quotas.check_size("ann", 1000)
    quotas.check_size("bob", 10**9)
    with pytest.raises(ModelOverLimit, match=r"takes 1,001 bytes in memory, .* allow cacheBytes 1,000"):
        quotas.check_size("ann", 1001)


def test_all_is_one_of_one() -> None:
    assert (ALL.place, ALL.count) == (0, 1)
