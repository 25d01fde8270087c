"""The counters of one tenant, and quantiles from counts."""

import random

import pytest

from tenantry_server.accounts.account import BOUNDS_S, Account, quantile_s


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "client_errors"),
        (404, "client_errors"),
        (422, "client_errors"),
        (429, "limited"),
        (500, "server_errors"),
        (503, "server_errors"),
        (507, "server_errors"),
        (504, "timeouts"),
    ],
)
def test_an_error_counts_as_one_kind(status: int, kind: str) -> None:
    """A tenant beyond its limits is not one whose model fails."""
    account = Account()
    account.failed(status)
    kinds = ("client_errors", "limited", "server_errors", "timeouts")
    assert {each: getattr(account, each) for each in kinds} == dict.fromkeys(kinds, 0) | {kind: 1}
    assert account.errors == (0 if kind == "limited" else 1)


def test_a_quantile_is_right_to_the_width_of_its_bucket() -> None:
    dice = random.Random(7)  # noqa: S311 - the same each time
    account = Account()
    taken = sorted(dice.lognormvariate(-6, 1.5) for _ in range(5000))
    for seconds in taken:
        account.took(seconds)
    edges = (0.0, *BOUNDS_S)
    for share in (0.5, 0.9, 0.99):
        exact = taken[int(share * len(taken)) - 1]
        estimate = quantile_s(account.latencies, share)
        assert estimate is not None
        least = max(edge for edge in edges if edge <= exact)
        most = min(edge for edge in edges if edge > exact)
        assert least <= estimate <= most


def test_a_quantile_above_the_last_bound_is_that_bound_and_of_nothing_there_is_none() -> None:
    account = Account()
    assert quantile_s(account.latencies, 0.5) is None
    assert quantile_s([0] * (len(BOUNDS_S) + 1), 0.5) is None
    account.took(60.0)
    assert quantile_s(account.latencies, 0.5) == BOUNDS_S[-1]


def test_accounts_add_up() -> None:
    one, two = Account(), Account()
    for account, seconds in ((one, 0.2), (two, 0.002)):
        account.requests += 2
        account.cpu_s += 0.25
        account.failed(504)
        account.failed(429)
        account.took(seconds, weight=3)
    one.add(two)
    one.add(Account())
    assert (one.requests, one.cpu_s, one.timeouts, one.limited, one.errors) == (4, 0.5, 2, 2, 2)
    assert one.latencies is not None
    assert sorted(one.latencies)[-2:] == [3, 3]
    assert two.requests == 2
