"""Values become what they were in the training frame, whatever other rows hold."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tenantry.errors import FeatureMismatch
from tenantry_server.rows.columns import Column, Kind, cast

NUMBER = Column("x", Kind.NUMBER, "float64")
INTEGER = Column("x", Kind.INTEGER, "int64")
SMALL = Column("x", Kind.INTEGER, "int8")
NULLABLE = Column("x", Kind.INTEGER, "Int64")
BOOLEAN = Column("x", Kind.BOOLEAN, "bool")
TEXT = Column("x", Kind.TEXT, "str")
OBJECT = Column("x", Kind.TEXT, "object")
NONE = Column("x", Kind.TEXT, "object", none=True)
CATEGORY = Column("x", Kind.CATEGORY, "category", ("low", "high"), ordered=True)
GRADES = Column("x", Kind.CATEGORY, "category", (1, 2, 3))
TIME = Column("x", Kind.TIME, "datetime64[us]")
SECONDS = Column("x", Kind.TIME, "datetime64[s]")
OSLO = Column("x", Kind.TIME, "datetime64[us, Europe/Oslo]")
ANY = Column("x", Kind.ANY)


def read(values: list[Any], column: Column) -> "pd.Series[Any]":
    frame = pd.DataFrame([[value] for value in values], columns=["x"])
    return cast(frame, [column])["x"]


CASES: list[tuple[Column, list[Any]]] = [
    (NUMBER, [1, 2.5, None, True]),
    (INTEGER, [1, 2, 3.0]),
    (SMALL, [1, -128]),
    (NULLABLE, [1, None, 3]),
    (BOOLEAN, [True, False, 1]),
    (TEXT, ["a", None, ""]),
    (OBJECT, ["a", None]),
    (NONE, ["a", None]),
    (CATEGORY, ["low", "high", None, "unheard of"]),
    (GRADES, [1, 3.0, None, 9]),
    (TIME, ["2026-01-02", None, "2026-01-02T03:04:05.000006+01:00"]),
    (SECONDS, ["2026-01-02T03:04:05Z"]),
    (OSLO, ["2026-07-01T12:00:00", "2026-07-01T12:00:00Z", None]),
    (ANY, ["a", None, "b"]),
]


@pytest.mark.parametrize(("column", "values"), CASES, ids=[f"{c.kind} {c.dtype}" for c, _ in CASES])
def test_a_row_alone_is_what_it_is_beside_others(column: Column, values: list[Any]) -> None:
    together = read(values, column)
    for row, value in enumerate(values):
        alone = read([value], column)
        if column.dtype:
            assert alone.dtype == together.dtype
        assert repr(alone.iloc[0]) == repr(together.iloc[row])


def test_each_column_has_the_type_of_the_training_frame() -> None:
    for column, values in CASES:
        if column is not ANY:
            assert str(read(values, column).dtype) == column.dtype


def test_a_missing_text_is_nan_unless_the_training_frame_had_none() -> None:
    assert np.isnan(read([None], OBJECT).iloc[0])
    assert np.isnan(read([None], ANY).iloc[0])
    assert read([None], NONE).iloc[0] is None


def test_times_keep_the_moment_or_the_wall_clock_of_their_zone() -> None:
    """A text without a zone is read in the column's, and one with a zone is the same moment there."""
    wall, moment, _ = read(["2026-07-01T12:00:00", "2026-07-01T12:00:00Z", None], OSLO)
    assert str(wall) == "2026-07-01 12:00:00+02:00"
    assert str(moment) == "2026-07-01 14:00:00+02:00"
    assert str(read(["2026-01-02T03:04:05+01:00"], TIME).iloc[0]) == "2026-01-02 02:04:05"


def test_whole_numbers_that_are_not_are_read_as_pandas_reads_them() -> None:
    assert read([1, 2.5], INTEGER).tolist() == [1.0, 2.5]
    assert read([1, None], INTEGER).isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        (NUMBER, "x", "row 1, column 'x' must be a number, got the string 'x'"),
        (NUMBER, [1], "must be a number, got a list"),
        (INTEGER, "3", "must be a whole number, got the string '3'"),
        (SMALL, 300, "must be a whole number from -128 to 127, got the number 300"),
        (BOOLEAN, "yes", "must be true or false, got the string 'yes'"),
        (BOOLEAN, 2, "must be true or false, got the number 2"),
        (TEXT, 3, "must be a text, got the number 3"),
        (CATEGORY, 3, "must be a text, got the number 3"),
        (GRADES, "low", "must be a number, got the string 'low'"),
        (TIME, 17, "must be a time in ISO 8601, such as 2026-11-29T08:30:00, got the number 17"),
        (TIME, "soon", "got the string 'soon'"),
        (OSLO, "2026-03-29T02:30:00", "got the string '2026-03-29T02:30:00'"),  # no such wall clock
    ],
)
def test_another_type_is_refused_with_its_place(column: Column, value: Any, words: str) -> None:
    good = next(values[0] for known, values in CASES if known is column)
    with pytest.raises(FeatureMismatch) as refused:
        read([good, value], column)
    assert words in str(refused.value)


def test_without_types_a_missing_value_is_nan_alone_and_beside_text() -> None:
    alone = cast(pd.DataFrame([[None, 4]], columns=["city", "km"]), None)
    beside = cast(pd.DataFrame([["oslo", 4], [None, 4]], columns=["city", "km"]), None)
    assert np.isnan(alone["city"].iloc[0])
    assert np.isnan(beside["city"].iloc[1])
    assert alone["km"].dtype == beside["km"].dtype


def test_another_number_of_columns_is_refused() -> None:
    with pytest.raises(FeatureMismatch, match="there are 1 columns, the model takes 2"):
        cast(pd.DataFrame([[1]]), [NUMBER, NUMBER])
