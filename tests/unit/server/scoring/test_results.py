"""Whatever form a model gives its predictions, a client reads one entry a row."""

import datetime as dt
import decimal
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from scipy import sparse

from tenantry.errors import PredictionFailed
from tenantry_server.scoring import results

NOON = dt.datetime(2026, 7, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))


def as_read(returned: Any, rows: int = 2) -> Any:
    return orjson.loads(results.to_json(results.of(returned, rows, "It"), bare=True))


@pytest.mark.parametrize(
    ("returned", "read"),
    [
        ([1, 2.5], [1, 2.5]),
        (np.array([1, 2], ">i4"), [1, 2]),
        (np.array([True, False]), [True, False]),
        (np.array(["yes", "no"]), ["yes", "no"]),
        (pd.Series(["yes", None]), ["yes", None]),
        (pd.Series([1.5, 2.5], index=[7, 3]), [1.5, 2.5]),
        (pd.DataFrame({"a": [1, 2], "b": [3, 4]}), [[1, 3], [2, 4]]),
        (sparse.csr_matrix([[0.0, 1.0], [2.0, 0.0]]), [[0, 1], [2, 0]]),
        (sparse.csr_array([[0.0, 1.0], [2.0, 0.0]]), [[0, 1], [2, 0]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
        ([["a"], []], [["a"], []]),
        ([["a", 1.5], ["b", 2]], [["a", 1.5], ["b", 2]]),
        ([decimal.Decimal("1.5"), None], [1.5, None]),
        ([np.float32(1.5), np.int64(2)], [1.5, 2]),
        ([np.array([1, 2]), np.array([3])], [[1, 2], [3]]),
        ([{"label": "a", "p": np.float64(0.5)}, {}], [{"label": "a", "p": 0.5}, {}]),
        (np.array(["2026-01-02", "NaT"], "datetime64[s]"), ["2026-01-02T00:00:00Z", None]),
        (np.array(["2026-01-02T03", "2026-01-03T04"], "datetime64[h]"),
         ["2026-01-02T03:00:00Z", "2026-01-03T04:00:00Z"]),
        (np.array([1, 2], "datetime64[ns]"),
         ["1970-01-01T00:00:00.000000001Z", "1970-01-01T00:00:00.000000002Z"]),
        (pd.Series(pd.to_datetime(["2026-07-01T12:00"] * 2)).dt.tz_localize("Europe/Oslo"),
         ["2026-07-01T10:00:00Z"] * 2),
        ([NOON, NOON.date()], ["2026-07-01T10:00:00Z", "2026-07-01"]),
        ([np.nan, pd.NaT], [None, None]),
    ],
)  # fmt: skip
def test_every_form_is_read_row_by_row(returned: Any, read: Any) -> None:
    assert as_read(returned) == read


def test_outputs_with_as_many_classes_become_one_array() -> None:
    first, second = np.array([[0.1, 0.9], [0.2, 0.8]]), np.array([[0.3, 0.7], [0.4, 0.6]])
    assert results.by_row([first, second]).tolist() == [[[0.1, 0.9], [0.3, 0.7]], [[0.2, 0.8], [0.4, 0.6]]]


def test_outputs_with_other_classes_become_lists() -> None:
    first, second = np.array([[0.1, 0.9], [0.2, 0.8]]), np.array([[1.0], [1.0]])
    assert as_read(results.by_row([first, second])) == [[[0.1, 0.9], [1.0]], [[0.2, 0.8], [1.0]]]


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (7.0, r"shape \(\) for 2 rows"),
        ([1, 2, 3], r"shape \(3,\) for 2 rows"),
        ([b"a", b"b"], "which JSON has no form for"),
        (np.array([1, 2], "timedelta64[s]"), "which JSON has no form for"),
        (np.array([1j, 2j]), "complex128, which JSON has no form for"),
        ([object(), 1], "returned a object, which JSON has no form for"),
    ],
)
def test_what_json_has_no_form_for_is_refused_in_words(returned: Any, words: str) -> None:
    with pytest.raises(PredictionFailed, match=words):
        results.of(returned, 2, "It")
