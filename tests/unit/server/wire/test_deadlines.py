"""The time that a request has: the smaller of the server's and its own, and never an error."""

import time

import pytest
from aiohttp.test_utils import make_mocked_request

from tenantry_server.wire import deadlines


def test_without_a_word_a_request_has_the_servers_time() -> None:
    assert deadlines.left_s(make_mocked_request("POST", "/"), 10.0) == 10.0


@pytest.mark.parametrize(
    ("value", "limit_s"),
    [
        ("250", 0.25),
        ("0", 0.0),
        ("999999999", 10.0),
        ("9999999999", 10.0),
        ("", 10.0),
        ("-5", 10.0),
        ("1.5", 10.0),
        ("1_0", 10.0),
        ("²", 10.0),
        ("soon", 10.0),
    ],
)
def test_a_request_may_name_less_and_what_is_no_number_is_none(value: str, limit_s: float) -> None:
    request = make_mocked_request("POST", "/", headers={"Tenantry-Timeout-Ms": value})
    assert deadlines.left_s(request, 10.0) == limit_s


def test_what_was_spent_elsewhere_is_taken_off() -> None:
    request = make_mocked_request("POST", "/")
    deadlines.begin(request, time.monotonic() + 5.0)
    assert 0.0 < deadlines.left_s(request, 10.0) <= 5.0
    assert deadlines.left_s(request, 1.0) == 1.0
    deadlines.begin(request, time.monotonic() - 1.0)
    assert deadlines.left_s(request, 10.0) == 0.0
