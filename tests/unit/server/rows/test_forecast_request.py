"""What a request for a forecast may say, and how it is told what it may not."""

import json
from typing import Any

import pytest

from tenantry.errors import InvalidRequest
from tenantry_server.rows.forecast_request import ForecastRequest, of_document, of_query, parse

H = {"horizon": 2}


def test_a_body_in_full() -> None:
    body = {
        "horizon": 2,
        "from": "2026-12-01",
        "exog": [{"price": 1}, {"price": 2}],
        "quantiles": [0.9, 0.1],
    }
    asked = parse(json.dumps(body).encode())
    assert asked == ForecastRequest(
        horizon=2, start="2026-12-01", exog={"price": [1, 2]}, quantiles=(0.1, 0.9)
    )
    assert of_document(asked.document()) == asked
    assert len(asked) == 2


def test_columns_and_records_are_the_same() -> None:
    by_columns = of_document(H | {"history": {"time": [1, 2], "value": [3.0, 4.0]}})
    assert (
        of_document(H | {"history": [{"time": 1, "value": 3.0}, {"value": 4.0, "time": 2}]}) == by_columns
    )


def test_a_query_says_what_a_body_says() -> None:
    query = [("horizon", "3"), ("from", "2026-12-01"), ("quantiles", "0.1,0.5")]
    assert of_query(query) == of_document({"horizon": 3, "from": "2026-12-01", "quantiles": [0.1, 0.5]})
    assert of_query([("horizon", "3"), ("from", "17")]).start == 17


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "horizon must be a whole number from 1 to 10,000, got nothing"),
        ({"horizon": 0}, "horizon must be a whole number from 1 to 10,000, got the number 0"),
        ({"horizon": 10**9}, "horizon must be a whole number from 1 to 10,000, got the number 1000000000"),
        ({"horizon": -1}, "got the number -1"),
        ({"horizon": 1.5}, "got the number 1.5"),
        ({"horizon": True}, "got true"),
        ({"horizon": "14"}, "got the string '14'"),
        ([], "the body must be an object"),
        (H | {"horizn": 3}, "unknown 'horizn' (did you mean 'horizon'?)"),
        (H | {"from": 1.5}, "from must be a time or the number of a step, got the number 1.5"),
        (H | {"quantiles": 0.1}, "quantiles must be a list such as [0.1, 0.9], got the number 0.1"),
        (H | {"quantiles": [1]}, "a quantile must be a number between 0 and 1, got the number 1"),
        (H | {"quantiles": [0.1, 0.1]}, "a quantile is repeated"),
        (H | {"quantiles": [n / 100 for n in range(1, 60)]}, "there are 59 quantiles; at most 50"),
        (H | {"history": 5}, "history must be columns"),
        (H | {"history": []}, "history has no rows"),
        (H | {"history": {}}, "history has no rows"),
        (H | {"history": {"time": 1}}, "history: column 'time' must be a list"),
        (H | {"history": {"time": [1, 2], "value": [1]}}, "differ in length: 'time' 2, 'value' 1"),
        (H | {"exog": [{"a": 1}, 5]}, "exog: row 1 must be an object, got the number 5"),
        (H | {"exog": [{"a": 1}, {"b": 1}]}, "exog: row 1 and row 0 do not both have"),
    ],
)
def test_what_is_refused(document: Any, words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        of_document(document)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ([("horizon", "many")], "got the string 'many'"),
        ([("horizon", "1"), ("horizon", "2")], "repeated"),
        ([("horizon", "1"), ("history", "[]")], "unknown 'history'"),
        ([("horizon", "1"), ("quantiles", "0.1,")], "got the string ''"),
        ([("horizon", "1"), ("quantiles", "nan")], "got the number nan"),
    ],
)
def test_what_is_refused_of_a_query(query: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        of_query(query)
    assert words in str(refused.value)


def test_a_repeated_key_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="'horizon' is repeated"):
        parse(b'{"horizon": 1, "horizon": 2}')
