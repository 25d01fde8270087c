"""The bounded tables: exact below the bound, true totals above it, and the heaviest are never lost."""

import random
import sys
from collections import Counter

import pytest

from tenantry_server.accounts.accounts import Accounts, By


def counted(accounts: Accounts) -> dict[str, int]:
    """The requests of each tenant, and of all others under the empty name."""
    found = {user_id: account.requests for user_id, account in accounts.heaviest(By.REQUESTS, 10**6)}
    return found | {"": accounts.of_others().requests}


def test_below_the_bound_every_count_is_exact() -> None:
    accounts, dice = Accounts(most=100), random.Random(1)  # noqa: S311 - the same each time
    asked = Counter(f"user-{int(dice.paretovariate(0.5)) % 100}" for _ in range(5000))
    for user_id, times in asked.items():
        for _ in range(times):
            accounts.spent(user_id, 1e-6, 1)
    assert counted(accounts) == {**asked, "": 0}
    best = [user_id for user_id, _ in accounts.heaviest(By.REQUESTS, 5)]
    assert [asked[user_id] for user_id in best] == [times for _, times in asked.most_common(5)]


def test_each_order_has_its_own_first() -> None:
    accounts = Accounts()
    for _ in range(9):
        accounts.spent("asks", 0.0, 1)
    for status in (500, 504, 422, 429):
        accounts.ended("fails", status, 0.1)
    accounts.ended("computes", 200, 0.1)
    accounts.spent("computes", 2.5)
    assert [name for name, _ in accounts.heaviest(By.REQUESTS, 2)] == ["asks", "fails"]
    assert [(name, found.errors) for name, found in accounts.heaviest(By.ERRORS, 5)] == [("fails", 3)]
    assert [(name, found.cpu_s) for name, found in accounts.heaviest(By.CPU, 5)] == [("computes", 2.5)]


def test_beyond_the_bound_the_table_stays_small_and_the_totals_stay_true() -> None:
    accounts, dice = Accounts(most=100), random.Random(2)  # noqa: S311 - the same each time
    for _ in range(20_000):
        accounts.spent(f"user-{dice.randrange(5000)}", 1e-6, 1)
        assert len(accounts.now) <= 100
    assert sum(counted(accounts).values()) == 20_000
    assert counted(accounts)[""] > 0


@pytest.mark.parametrize("heavy", [By.REQUESTS, By.ERRORS, By.CPU])
def test_who_does_more_than_six_parts_of_the_bound_is_never_given_up(heavy: By) -> None:
    """Whatever it does much of, and although many thousands come by who each do a little of everything."""
    accounts, dice = Accounts(most=100), random.Random(3)  # noqa: S311 - the same each time
    for number in range(30_000):
        accounts.ended(f"user-{number}", dice.choice((200, 500)), 0.001)
        accounts.spent(f"user-{number}", 0.001)
        if number % 10 == 0:  # a tenth: more than 6 %
            accounts.ended("heavy", 500 if heavy is By.ERRORS else 200, 0.001)
            accounts.spent("heavy", 0.001 if heavy is By.CPU else 0.0)
    [(user_id, account)] = accounts.heaviest(heavy, 1)
    assert user_id == "heavy"
    assert account.requests == 3000


def test_of_quick_answers_a_sixteenth_is_measured_and_stands_for_all() -> None:
    accounts = Accounts()
    for number in range(160):
        accounts.sampled = number % 16 == 0
        accounts.spent("ann", 1e-6, 1)
        if accounts.sampled:
            accounts.recorded("ann", 200, 0.0003)
            assert not accounts.sampled
    accounts.ended("ann", 200, 0.3)
    latencies = accounts.of_user("ann").latencies
    assert latencies is not None
    assert sorted(latencies)[-2:] == [1, 160]
    assert accounts.of_user("ann").requests == 161
    accounts.recorded("ann", 429, 0.0003)
    assert accounts.of_user("ann").limited == 1
    assert accounts.of_user("ann").requests == 162


def test_a_request_for_few_tenants_is_exact() -> None:
    accounts = Accounts()
    accounts.together(["ann", "bob"], [3, 1], 0.5)
    assert [(name, found.requests, found.cpu_s) for name, found in accounts.heaviest(By.CPU, 9)] == [
        ("ann", 1, 1.5),
        ("bob", 1, 0.5),
    ]


def test_requests_for_many_tenants_are_drawn_from_and_right_on_average() -> None:
    accounts = Accounts()
    users = [f"user-{number}" for number in range(1000)]
    for _ in range(2000):
        accounts.together(users, [1] * 1000, 0.001)
    found = [accounts.of_user(user_id).requests for user_id in users]
    assert sum(found) == pytest.approx(2_000_000, rel=0.01)
    # 4 x a binomial of 2,000 draws with p = 1/4: standard deviation 77; 7 of these are out of reach.
    assert min(found) > 2000 - 7 * 78
    assert max(found) < 2000 + 7 * 78


def test_two_periods_are_shown_and_the_one_before_is_handed_out() -> None:
    now_s = 1000.0
    accounts = Accounts(clock_s=lambda: now_s)
    gone: list[float] = []
    accounts.forgotten = lambda period: gone.append(period.began_s)
    accounts.spent("ann", 1e-6, 1)
    now_s = 2000.0
    first = accounts.turn()
    assert (first.began_s, first.tenants["ann"].requests) == (1000.0, 1)
    accounts.spent("ann", 1e-6, 1)
    assert (accounts.since_s, accounts.of_user("ann").requests) == (1000.0, 2)
    now_s = 3000.0
    assert accounts.turn().tenants["ann"].requests == 1
    assert (accounts.since_s, accounts.of_user("ann").requests) == (2000.0, 1)
    accounts.turn()
    assert accounts.of_user("ann").requests == 0
    assert gone == [1000.0, 1000.0, 2000.0]


def test_who_is_busy_stays_so_where_an_account_is_opened_again_within_the_second() -> None:
    accounts = Accounts(most=2)
    once = Accounts()
    for each in (accounts, once):
        each.spent("ann", 0.25)
    assert accounts.busy_s() == once.busy_s(), "asked for, they are counted from nothing"
    accounts.spent("ann", 0.25)
    accounts.turn()
    accounts.spent("ann", 0.25)
    once.spent("ann", 0.25)
    once.spent("ann", 0.25)
    assert accounts.busy_s() == once.busy_s()


def test_of_very_many_tenants_most_open_no_account_and_the_heavy_ones_do() -> None:
    accounts, dice = Accounts(most=100), random.Random(4)  # noqa: S311 - the same each time
    opened = 0
    for number in range(40_000):
        user_id = "heavy" if number >= 20_000 and dice.random() < 0.06 else f"user-{number}"
        opened += user_id not in accounts.now
        accounts.spent(user_id, 0.001, 1)
        opened -= user_id not in accounts.now
    assert opened < 10_000, "each would cost as much as a prediction"
    assert accounts.of_user("heavy").requests > 1000
    assert max(accounts.busy_s().values()) < 10, "nobody is charged for the others"
    assert sum(counted(accounts).values()) == 40_000
    accounts.spent("seldom and slow", 100.0, 1)
    assert accounts.of_user("seldom and slow").cpu_s == 100.0
    accounts.recorded("fails", 500, 0.1)
    assert accounts.of_user("fails").errors == 1


def test_no_new_tenant_makes_the_others_wait_while_all_are_weighed() -> None:
    """The table was once sorted whole, which held the event loop for 82 ms. Counts calls of functions."""
    accounts, calls = Accounts(most=20_000), [0]

    def called(*_: object) -> None:
        calls[0] += 1

    worst = 0
    for number in range(50_000):
        before = calls[0]
        sys.setprofile(called)
        accounts.spent(f"user-{number}", 1e-6, 1)
        sys.setprofile(None)
        worst = max(worst, calls[0] - before)
    print(f"    {calls[0] / 50_000:.0f} calls for a tenant, {worst} at most")
    assert worst < 30_000
    assert len(accounts.now) <= 20_000 * 1.01
    assert sum(counted(accounts).values()) == 50_000
