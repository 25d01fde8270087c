"""Reasons and figures in words."""

import json
import re
from pathlib import Path

import pytest

from tenantry_operator.ui.pages import usage, words

DOCUMENT = Path(__file__).parents[4] / "docs" / "tenantmodel.md"
METRICS = """\
# TYPE tenantry_requests_total counter
tenantry_requests_total{code="200"} 98.0
tenantry_requests_total{code="500"} 2.0
# TYPE tenantry_request_seconds histogram
tenantry_request_seconds_bucket{le="0.001"} 60.0
tenantry_request_seconds_bucket{le="0.25"} 98.0
tenantry_request_seconds_bucket{le="+Inf"} 100.0
"""


def test_every_reason_of_the_documents_has_an_advice_and_no_other_has() -> None:
    table = DOCUMENT.read_text().partition("| reason | state |")[2]
    rows = [row.split("|") for row in table.splitlines() if row.startswith("| `")]
    known = {name for row in rows for name in re.findall(r"`(\w+)`", row[1])} - {"Ready"}
    assert len(known) > 25
    assert set(words.ADVICE) - known == {words.UNDECIDED}
    assert known - set(words.ADVICE) == set()
    assert words.advice("") == words.ADVICE[words.UNDECIDED]
    assert words.advice("OfANewerRelease") == ""


def test_what_a_server_counted_is_read_from_its_metrics() -> None:
    figures = {each.title: each for each in usage.of_server(usage.read(METRICS))}
    assert figures["Requests"].value == "100"
    assert figures["Requests"].note == "200: 98, 500: 2"
    assert figures["Errors"].value == "2.00%"
    assert figures["Half of them within"].value == "1.00 ms"
    assert figures["99 % within"].value == "more than 250 ms"


def test_a_server_that_was_not_asked_yet_has_no_times() -> None:
    assert [each.title for each in usage.of_server(usage.read(""))] == ["Requests"]


def _top(**over: object) -> bytes:
    counted = {
        "requests": 100,
        "errors": 4,
        "clientErrors": 3,
        "serverErrors": 1,
        "timeouts": 0,
        "limited": 2,
    }
    tenant = {"userId": "ann", "latency": {"counts": [60, 39, 1]}} | counted | over
    return json.dumps({"latencyBoundsSeconds": [0.001, 0.25], "tenants": [tenant]}).encode()


def test_what_servers_counted_of_a_tenant_is_added_up() -> None:
    figures = {each.title: each for each in usage.counted("ann", [_top(), _top()])}
    assert figures["Requests"].value == "200"
    assert figures["Errors"].value == "4.00%"
    assert figures["Errors"].note == "4xx: 6, 5xx: 2, over limits: 4"
    assert figures["Half of them within"].value == "1.00 ms"
    assert figures["99 % within"].value == "250 ms"
    assert usage.counted("ann", []) == usage.counted("bob", [_top()]) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        _top(requests="x"),
        _top(latency=[]),
        _top(latency={"counts": [1]}),
    ],
)
def test_an_answer_of_another_form_is_said_so(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        usage.counted("ann", [answer])
