"""The form that a card asks for, and the request that it makes."""

import json
from typing import Any

import pytest

from tenantry_operator.ui.pages import trial
from tenantry_operator.ui.pages.trial import Unfit, body_of, filled, of_card

KINDS = ["number", "integer", "boolean", "text", "category", "time", "any"]


def _card(**over: Any) -> dict[str, Any]:
    columns: list[dict[str, Any]] = [{"name": kind, "kind": kind, "dtype": kind} for kind in KINDS]
    columns[4] |= {"categories": ["UA", "DL", 3, None]}
    row = {"number": 1.5, "integer": 2, "boolean": True, "text": "a", "category": 3, "any": [1]}
    return {"form": "frame", "columns": columns, "rows": [row, {}]} | over


def test_each_column_has_a_field_with_the_example_in_it() -> None:
    form = of_card(_card())
    assert [field.name for field in form.fields] == [f"c{n}" for n in range(7)]
    assert [field.column for field in form.fields] == KINDS
    assert [field.value for field in form.fields] == ["1.5", "2", "true", "a", "3", "", "[1]"]
    assert form.fields[2].options == (True, False)
    assert form.fields[4].options == ("UA", "DL", 3, None)


def test_the_form_as_it_is_sends_the_example_row() -> None:
    form = of_card(_card())
    given = {field.name: field.value for field in form.fields}
    assert json.loads(body_of(form, given)) == [_card()["rows"][0] | {"time": None}]
    assert json.loads(body_of(form, {trial.ROWS: form.rows})) == _card()["rows"][:1]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("c0", "x", "'number' must be a number, got 'x'"),
        ("c0", "nan", "must be a number"),
        ("c0", "1e999", "must be a number"),
        ("c1", "1.5", "'integer' must be a whole number"),
        ("c2", "yes", "none of its categories"),
        ("c4", "ZZ", "none of its categories: 'ZZ'"),
        (trial.ROWS, "[", "the rows are not JSON"),
        (trial.ROWS, "[" * 100_000, "the rows are not JSON"),
    ],
)
def test_what_does_not_fit_is_said_by_field(name: str, value: str, words: str) -> None:
    with pytest.raises(Unfit, match="^.*" + words.replace("[", r"\[")):
        body_of(of_card(_card()), {name: value})


def test_what_was_given_stays_in_the_form() -> None:
    form = filled(of_card(_card()), {"c0": "9", trial.ROWS: "[1"})
    assert (form.fields[0].value, form.fields[1].value, form.rows) == ("9", "2", "[1")


@pytest.mark.parametrize(
    "card",
    [
        None,
        [],
        "card",
        {},
        {"form": "frame", "columns": 3},
        {"form": "frame", "columns": [{"name": 1}]},
        {"form": "frame", "columns": ["km"], "rows": 7},
        {"form": "frame", "columns": [{"name": f"c{n}", "kind": "number"} for n in range(5000)]},
        {"form": "array", "columns": [{"name": "0", "kind": "number"}], "rows": [[1.0]]},
    ],
)
def test_a_card_that_has_no_columns_for_a_form_leaves_json(card: Any) -> None:
    form = of_card(card)
    assert form.fields == ()
    assert not form.is_forecast
    json.loads(form.rows)


def test_rows_without_names_and_forecasts_are_asked_for_as_servers_take_them() -> None:
    array = of_card({"form": "array", "rows": [[1.0, 2.0], [3.0, 4.0]]})
    assert json.loads(array.rows) == {"instances": [[1.0, 2.0]]}
    forecast = of_card({"form": "series", "rows": [], "forecast": {"horizon": 3}})
    assert forecast.is_forecast
    assert json.loads(body_of(forecast, {trial.ROWS: forecast.rows})) == {"horizon": 3}


def test_names_of_columns_never_become_names_of_fields() -> None:
    """A column called `token` or `rows` would else stand in for the page's own fields."""
    columns = [{"name": name, "kind": "text"} for name in ("token", "rows", "c1")]
    form = of_card({"form": "frame", "columns": columns, "rows": [{"c1": "x"}]})
    assert [field.name for field in form.fields] == ["c0", "c1", "c2"]
    assert json.loads(body_of(form, {"c0": "a", "c1": "b", "c2": "c"})) == [
        {"token": "a", "rows": "b", "c1": "c"}
    ]
