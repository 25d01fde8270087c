"""One forecaster on one request: the steps of its answer, and which times and columns are refused."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tenantry.errors import (
    FeatureMismatch,
    InvalidRequest,
    NotAForecaster,
    OnlyForecasts,
    PredictionFailed,
    TenantryError,
    TimelineMismatch,
)
from tenantry_server.rows.forecast_request import of_document
from tenantry_server.rows.json_payload import parse
from tenantry_server.scoring.calls import score
from tenantry_server.toys import DriftForecaster, SumModel

LAST = pd.Timestamp("2026-11-29")


def asked(model: Any, horizon: int = 2, /, **more: Any) -> list[list[Any]]:
    answer: list[list[Any]] = score(model, of_document({"horizon": horizon, **more})).tolist()
    return answer


def days(*numbers: int, value: Any = 5.0) -> dict[str, list[Any]]:
    return {"time": [f"2026-12-{day:02}" for day in numbers], "value": [value] * len(numbers)}


def hours(*times: str) -> dict[str, list[Any]]:
    return {"time": [f"2026-12-01T{time}" for time in times], "value": [5.0] * len(times)}


@pytest.mark.parametrize(
    ("frequency", "last", "labels"),
    [
        ("D", LAST, ["2026-11-30", "2026-12-01"]),
        ("h", pd.Timestamp("2026-11-29 23:00"), ["2026-11-30", "2026-11-30T01:00:00"]),
        ("MS", pd.Timestamp("2026-11-01"), ["2026-12-01", "2027-01-01"]),
        ("W-SUN", LAST, ["2026-12-06", "2026-12-13"]),
        ("QE-DEC", pd.Timestamp("2026-09-30"), ["2026-12-31", "2027-03-31"]),
        ("B", pd.Timestamp("2026-11-27"), ["2026-11-30", "2026-12-01"]),
        (None, 99, [100, 101]),
        (None, None, [0, 1]),
        # A day of 25 hours lies between the two.
        (
            "D",
            pd.Timestamp("2026-10-24", tz="Europe/Oslo"),
            ["2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"],
        ),
    ],
)
def test_steps_follow_the_series(frequency: str | None, last: Any, labels: list[Any]) -> None:
    answer = asked(DriftForecaster(frequency, last), quantiles=[0.1, 0.5])
    assert answer == [[labels[0], 11.0, 11.1, 11.5], [labels[1], 12.0, 12.1, 12.5]]


def test_a_later_beginning_leaves_out_what_lies_between() -> None:
    model = DriftForecaster("D", LAST)
    assert asked(model, **{"from": "2026-12-05"}) == asked(model, 7)[-2:]
    assert asked(DriftForecaster(None, 9), **{"from": 12}) == [[12, 13.0], [13, 14.0]]


def test_a_history_goes_before_the_models_own() -> None:
    model = DriftForecaster("D", LAST)
    assert asked(model, history=days(1, 2, 3)) == [["2026-12-04", 6.0], ["2026-12-05", 7.0]]
    earlier = {"time": ["2026-11-01", "2026-11-02"], "value": [1, 2]}
    assert asked(model, history=earlier)[0] == ["2026-11-03", 3.0]
    utc = DriftForecaster("D", pd.Timestamp("2026-11-29", tz="Europe/Oslo"))
    midnights = {"time": ["2026-11-30T23:00Z", "2026-12-01T23:00Z"], "value": [1, 2]}
    assert asked(utc, history=midnights)[0] == ["2026-12-03T00:00:00+01:00", 3.0]
    quarters = DriftForecaster("QE-DEC", pd.Timestamp("2026-09-30"))
    assert asked(quarters, history={"time": ["2026-06-30"], "value": [1]})[0] == ["2026-09-30", 2.0]
    numbered = {"time": [20, 21], "value": [1, 2]}
    assert asked(DriftForecaster(None, 9), history=numbered) == [[22, 3.0], [23, 4.0]]


def test_exogenous_columns_are_given_by_step() -> None:
    model = DriftForecaster("D", LAST, exog_names=("price",))
    by_order = asked(model, exog={"price": [1.0, 2.0]})
    assert by_order == [["2026-11-30", 12.0], ["2026-12-01", 14.0]]
    assert asked(model, exog={"price": [1, 2], "time": ["2026-11-30", "2026-12-01"]}) == by_order


def test_the_same_moment_in_another_zone_is_the_same_step() -> None:
    model = DriftForecaster("D", pd.Timestamp("2026-11-29", tz="Europe/Oslo"))
    assert asked(model, **{"from": "2026-11-30T23:00:00Z"})[0][0] == "2026-12-01T00:00:00+01:00"


PRICED = DriftForecaster("D", LAST, exog_names=("price",))
ZONED = DriftForecaster("D", pd.Timestamp("2026-11-29", tz="UTC"))


@pytest.mark.parametrize(
    ("model", "more", "kind", "words"),
    [
        (
            None,
            {"history": days(1, 2, 4)},
            TimelineMismatch,
            "row 2, column 'time': 2026-12-03 is missing between 2026-12-02 and",
        ),
        (
            None,
            {"history": days(1, 2, 2)},
            TimelineMismatch,
            "history: row 2, column 'time': 2026-12-02 is repeated; wanted 2026-12-03",
        ),
        (
            None,
            {"history": days(2, 1)},
            TimelineMismatch,
            "row 1, column 'time': 2026-12-01 is earlier than row 0; wanted 2026-12-03",
        ),
        (
            None,
            {"history": {"time": ["2026-12-01T00:00", "2026-12-01T06:00"], "value": [1, 2]}},
            TimelineMismatch,
            "row 1, column 'time': 2026-12-01T06:00:00 follows 2026-12-01 too soon for the model's",
        ),
        (
            DriftForecaster("MS", pd.Timestamp("2026-11-01")),
            {"history": days(2, 3)},
            TimelineMismatch,
            "row 0, column 'time': 2026-12-02 is not a step of the model's series: frequency 'MS', last at",
        ),
        (
            None,
            {"history": {"time": ["2026-12-01T00:00Z"], "value": [1]}},
            TimelineMismatch,
            "row 0, column 'time': 2026-12-01T00:00Z has a time zone, and the model's series has none",
        ),
        (
            ZONED,
            {"history": days(1)},
            TimelineMismatch,
            "has no time zone, and the model's series is in UTC",
        ),
        (
            ZONED,
            {"from": "2026-12-01T00:00:00+01:00"},
            TimelineMismatch,
            "2026-11-30T23:00:00+00:00 is not a step of the model's series: frequency 'D'",
        ),
        # Regular, and of another frequency than the model's.
        (
            None,
            {"history": days(1, 8, 15)},
            TimelineMismatch,
            "follows 2026-12-01: all times are 7 days 00:00:00 apart, and the model's frequency is 'D'",
        ),
        (
            None,
            {"history": hours("00", "01", "02")},
            TimelineMismatch,
            "all times are 0 days 01:00:00 apart",
        ),
        # Days, and others than the model's: the same days in another time zone are not the same sums.
        (
            None,
            {"history": {"time": ["2026-12-01T06:00", "2026-12-02T06:00"], "value": [1, 2]}},
            TimelineMismatch,
            "row 0, column 'time': 2026-12-01T06:00:00 is not a step of the model's series: frequency 'D'",
        ),
        (
            DriftForecaster("D", pd.Timestamp("2026-11-29", tz="Europe/Oslo")),
            {"history": {"time": ["2026-12-01T00:00Z", "2026-12-02T00:00Z"], "value": [1, 2]}},
            TimelineMismatch,
            "last at 2026-11-29T00:00:00+01:00; wanted one such as 2026-11-30T00:00:00+01:00",
        ),
        (
            DriftForecaster("h", LAST),
            {"history": hours("00:30", "01:30")},
            TimelineMismatch,
            "frequency 'h', l",
        ),
        (DriftForecaster("2D", LAST), {"history": days(2, 4)}, TimelineMismatch, "frequency '2D', last at"),
        (
            None,
            {"from": "now"},
            TimelineMismatch,
            "from: wanted a time such as '2026-11-29', got the string",
        ),
        (
            None,
            {"from": "10:00"},
            TimelineMismatch,
            "from: wanted a time such as '2026-11-29', got the string",
        ),
        (
            None,
            {"from": "2026-12-01T06:00"},
            TimelineMismatch,
            "from: 2026-12-01T06:00:00 is not a step of the",
        ),
        (
            None,
            {"history": {"time": [1], "value": [1]}},
            TimelineMismatch,
            "wanted a time such as '2026-11-29', got",
        ),
        (None, {"history": {"time": ["soon"], "value": [1]}}, TimelineMismatch, "got the string 'soon'"),
        (None, {"history": {"value": [1]}}, TimelineMismatch, "history: its column 'time' is missing"),
        (None, {"history": {"time": ["2026-12-01"]}}, FeatureMismatch, "history: missing column 'value'"),
        (None, {"history": days(1, value=None)}, InvalidRequest, "row 0, column 'value' is missing (null)"),
        (
            None,
            {"history": days(1, value="x")},
            InvalidRequest,
            "column 'value' must be a number, got the string",
        ),
        (
            None,
            {"from": "2026-11-29"},
            TimelineMismatch,
            "from: 2026-11-29 is not after the end of the series",
        ),
        (
            None,
            {"from": "9999-01-01"},
            TimelineMismatch,
            "from: 9999-01-01 is too far after the end of the series",
        ),
        (DriftForecaster("B", LAST), {"from": "9998-01-01"}, TimelineMismatch, "is too far after the end"),
        (DriftForecaster("s", LAST), {"from": "2027-11-29"}, TimelineMismatch, "is too far after the end"),
        (DriftForecaster(None, 3), {"from": "2026-12-01"}, TimelineMismatch, "wanted the number of a step"),
        (DriftForecaster(None, 3), {"from": 10**18}, TimelineMismatch, "is too far after the end"),
        (
            None,
            {"exog": {"price": [1, 2]}},
            FeatureMismatch,
            "the model takes no exogenous columns, got price",
        ),
        (
            PRICED,
            {},
            FeatureMismatch,
            "exog is missing: column price; the model needs price for 2 steps, 2026-11-30 to 2026-12-01",
        ),
        (
            PRICED,
            {"exog": {"prise": [1, 2]}},
            FeatureMismatch,
            "missing column 'price' and unknown column 'prise'",
        ),
        (
            PRICED,
            {"exog": {"price": [1]}},
            FeatureMismatch,
            "exog has 1 rows, and the model needs price for 2 steps",
        ),
        (PRICED, {"exog": {"price": [1]}}, FeatureMismatch, "2026-12-01 is the first one missing"),
        (
            PRICED,
            {"exog": {"price": [1, None]}},
            InvalidRequest,
            "exog: row 1, column 'price' is missing (null)",
        ),
        (
            PRICED,
            {"exog": {"price": [1, 2], "time": ["2026-12-01", "2026-12-02"]}},
            TimelineMismatch,
            "exog: row 0, column 'time': 2026-12-01, wanted 2026-11-30",
        ),
        (
            PRICED,
            {"from": "2026-12-01", "exog": {"price": [1, 2]}},
            FeatureMismatch,
            "needs price for 3 steps",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    model: DriftForecaster | None, more: dict[str, Any], kind: type[TenantryError], words: str
) -> None:
    with pytest.raises(kind) as refused:
        asked(model or DriftForecaster("D", LAST), **more)
    assert words in str(refused.value)


def test_what_a_model_does_not_do_is_not_asked_of_it() -> None:
    plain = DriftForecaster("D", LAST)
    plain.takes_quantiles = plain.takes_history = False
    with pytest.raises(InvalidRequest, match="forecasts no quantiles"):
        asked(plain, quantiles=[0.5])
    with pytest.raises(InvalidRequest, match="takes no other history"):
        asked(plain, history=days(1))


def test_each_kind_of_model_names_the_path_of_the_other() -> None:
    with pytest.raises(NotAForecaster, match="POST /predict"):
        asked(SumModel())
    with pytest.raises(OnlyForecasts, match="POST /forecast"):
        score(DriftForecaster("D", LAST), parse(b'[{"a": 1}]'))


class Answers(DriftForecaster):
    """Answers what it was made with, or raises it."""

    def __init__(self, given: Any) -> None:
        super().__init__("D", LAST)
        self.given = given

    def forecast(self, horizon: int, **_: Any) -> pd.DataFrame:  # noqa: ARG002
        if isinstance(self.given, BaseException):
            raise self.given
        answer: pd.DataFrame = self.given
        return answer


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (pd.DataFrame({"mean": [1.0]}), PredictionFailed, "returned 1 rows for 2 steps"),
        (
            pd.DataFrame({"y": [1.0, 2.0]}),
            PredictionFailed,
            "returned a DataFrame without the column 'mean'",
        ),
        (np.ones(2), PredictionFailed, "returned a ndarray for a forecast"),
        (None, PredictionFailed, "returned a NoneType for a forecast"),
        (pd.DataFrame({"mean": ["a", "b"]}), PredictionFailed, "a forecast that is not numbers"),
        (SystemExit(3), PredictionFailed, "raised SystemExit"),
        (ValueError("too short"), FeatureMismatch, "the model refused this request: too short"),
    ],
)
def test_what_a_forecaster_returns_is_checked(given: Any, kind: type[TenantryError], words: str) -> None:
    with pytest.raises(kind) as failed:
        asked(Answers(given))
    assert words in str(failed.value)


def test_a_step_without_a_number_is_null() -> None:
    assert asked(Answers(pd.DataFrame({"mean": [1.0, np.nan]})))[1] == ["2026-12-01", None]
