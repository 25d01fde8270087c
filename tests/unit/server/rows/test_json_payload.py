"""From bodies to rows: what is understood, what is refused, and in which words."""

import contextlib
import gc
import math
import tracemalloc
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantry import Model
from tenantry.errors import FeatureMismatch, InvalidRequest
from tenantry.model import Predictions
from tenantry_server.rows import json_payload as payloads


class Takes(Model):
    """A model that only says what it takes."""

    def __init__(
        self,
        names: tuple[str, ...] | None = None,
        count: int | None = None,
        *,
        numeric: bool = True,
        missing: bool = False,
    ) -> None:
        self.feature_names = names
        self.feature_count = count
        self.numeric = numeric
        self.accepts_missing = missing

    def predict(self, data: pd.DataFrame) -> Predictions:
        return np.zeros(len(data))


AB = Takes(("a", "b"), 2)


def matrix(body: Any, model: Model = AB) -> Any:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return payloads.parse(raw).matrix(model).tolist()


def refusal(body: Any, model: Model = AB) -> str:
    with pytest.raises(InvalidRequest) as raised:
        matrix(body, model)
    return str(raised.value)


@pytest.mark.parametrize(
    ("body", "bare"),
    [
        ([{"a": 1, "b": 2}, {"b": 4, "a": 3}], True),
        ({"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}, False),
        ({"columns": ["b", "a"], "data": [[2, 1], [4, 3]]}, False),
        ({"instances": [[1, 2], [3, 4]]}, False),
        ({"instances": [{"a": 1, "b": 2}, {"b": 4, "a": 3}]}, False),
    ],
    ids=["records", "columns", "columns in another order", "instances", "records as instances"],
)
def test_every_form_gives_the_rows_in_the_models_own_order(body: Any, bare: bool) -> None:
    assert matrix(body) == [[1.0, 2.0], [3.0, 4.0]]
    assert payloads.parse(orjson.dumps(body)).bare is bare


def test_a_model_without_names_takes_the_columns_as_they_stand() -> None:
    anything = Takes()
    assert matrix([{"z": 1, "a": 2}, {"a": 4, "z": 3}], anything) == [[1.0, 2.0], [3.0, 4.0]]
    assert matrix({"columns": ["z", "a"], "data": [[1, 2]]}, anything) == [[1.0, 2.0]]
    assert matrix({"instances": [[1, 2, 3]]}, anything) == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize("body", [[], {"instances": []}, {"columns": ["a", "b"], "data": []}])
def test_no_rows_are_no_error(body: Any) -> None:
    assert payloads.parse(orjson.dumps(body)).rows == []
    assert matrix(body) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is not JSON"),
        (b"{nonsense", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b'[{"a": NaN, "b": 1}]', "the body is not JSON"),
        (b'[{"a": Infinity, "b": 1}]', "the body is not JSON"),
        (b'[{"a": 1e999, "b": 1}]', "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"17", "got the number 17"),
        (b'"rows"', "got the string 'rows'"),
        (b"null", "got null"),
        (b"true", "got true"),
        (b"{}", "got an object with no keys"),
        (b'{"rows": []}', "got an object with 'rows'"),
        (b'{"columns": ["a"]}', "got an object with 'columns'"),
        (b"[[1, 2]]", "row 0 must be an object"),
        (b'[{"a": 1, "b": 2}, [1, 2]]', "row 1 must be an object like the others, got a list"),
        (b'{"instances": [[1, 2], {"a": 1}]}', "row 1 must be a list like the others, got an object"),
        (b'{"instances": [{"a": 1}, null]}', "row 1 must be an object like the others, got null"),
        (b'{"instances": {"a": 1}}', "'instances' must be a list, got an object"),
        (b'{"columns": "ab", "data": []}', "'columns' must be a list, got the string 'ab'"),
        (b'{"columns": ["a", 1], "data": []}', "columns[1] must be a string, got the number 1"),
        (b'{"columns": ["a", "a"], "data": []}', "column 'a' is given twice"),
        (b'{"columns": [], "data": [[1]]}', "row 0 has 1 values for 0 columns"),
        (b'{"columns": ["a", "b"], "data": [[1, 2], [1]]}', "row 1 has 1 values for 2 columns"),
    ],
)
def test_what_is_no_table_is_refused_in_words(body: bytes, words: str) -> None:
    assert words in refusal(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([{"a": 1}], "row 0: missing column 'b'; the model takes 'a', 'b'"),
        ([{"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}], "row 1: unknown column 'c'; the model takes"),
        ([{"a": 1, "c": 2}], "row 0: missing column 'b' and unknown column 'c'"),
        ([{}], "row 0: missing columns 'a', 'b'"),
        ({"columns": ["a", "c"], "data": [[1, 2]]}, "missing column 'b' and unknown column 'c'"),
        ({"columns": [], "data": [[]]}, "missing columns 'a', 'b'"),
        ({"instances": [[1, 2], [1]]}, "row 1 has 1 values, the model takes 2"),
        ([{"a": 1, "b": "x"}], "row 0, column 'b' must be a number, got the string 'x'"),
        ([{"a": 1, "b": 2}, {"a": [1], "b": 2}], "row 1, column 'a' must be a number, got a list"),
        ([{"a": {"x": 1}, "b": 2}], "row 0, column 'a' must be a number, got an object"),
        ([{"a": 1, "b": None}], "row 0, column 'b' is missing (null), and this model takes no"),
        ({"instances": [[1, 2], [1, "3"]]}, "row 1, column 'b' must be a number, got the string '3'"),
    ],
)
def test_a_refusal_names_the_column_and_the_row(body: Any, words: str) -> None:
    assert words in refusal(body)


def test_a_misspelt_column_is_answered_with_the_right_one() -> None:
    model = Takes(("distance", "delay"), 2)
    assert "(did you mean 'distance'?)" in refusal([{"distanse": 1, "delay": 2}], model)


def test_a_refusal_by_a_wide_model_stays_short() -> None:
    """8,000 columns named in an answer are 192 kB, and comparing each took the loop 0.2 s."""
    wide = Takes(tuple(f"feature_{n}_{'x' * 100}" for n in range(8000)))
    record = {f"feature_{n}": 1 for n in range(8000)}
    for body in ([record], {"columns": list(record), "data": [[1] * 8000]}, [{"a" * 100_000: 1}]):
        words = refusal(body, wide)
        assert "missing columns 'feature_0_x" in words
        assert "and 7,995 more" in words
        assert "and 7,980 more" in words
        assert len(words) < 2100


@pytest.mark.parametrize("form", ["records", "columns"])
def test_what_a_client_calls_its_columns_is_not_kept(form: str) -> None:
    """A model without names takes any: a name of 8 MB would stay for good."""

    def ask(number: int) -> None:
        name = f"{number}-{'x' * (1 << 20)}"
        body = [{name: 1}] if form == "records" else {"columns": [name], "data": [[1]]}
        assert matrix(body, Takes()) == [[1.0]]

    ask(0)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(8):
            ask(number)
        gc.collect()
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 1 << 20


def test_without_names_a_cell_is_named_by_its_position() -> None:
    assert "row 0, column 1 must be a number" in refusal({"instances": [[1, "x"]]}, Takes(count=2))
    assert "row 0 has 3 values, the model takes 2" in refusal({"instances": [[1, 2, 3]]}, Takes(count=2))
    ragged = refusal({"instances": [[1, 2], [1]]}, Takes())
    assert ragged == "row 1 has 1 values, row 0 has 2"


@pytest.mark.parametrize("numeric", [True, False])
def test_names_alone_say_how_many_values_a_row_has(numeric: bool) -> None:
    """A custom Model states names and seldom the count beside them."""
    model = Takes(("a", "b"), numeric=numeric)
    read = payloads.parse(b'{"instances": [[1, 2, null]]}')
    with pytest.raises(FeatureMismatch, match="row 0 has 3 values, the model takes 2"):
        (read.matrix if numeric else read.frame)(model)


def test_a_model_that_names_a_column_twice_gets_its_value_twice() -> None:
    assert matrix([{"a": 7}], Takes(("a", "a"))) == [[7.0, 7.0]]


def test_null_is_nan_for_a_model_that_takes_missing_values() -> None:
    ((first, second),) = matrix([{"a": None, "b": 2}], Takes(("a", "b"), missing=True))
    assert math.isnan(first)
    assert second == 2.0


def test_true_and_false_are_one_and_zero() -> None:
    """As pandas and scikit-learn have it."""
    assert matrix([{"a": True, "b": False}]) == [[1.0, 0.0]]


def test_integers_beyond_int64_are_floats() -> None:
    huge = 123_456_789_012_345_678_901_234_567_890
    assert matrix(f'{{"instances": [[{huge}, {2**64 - 1}]]}}'.encode()) == [[float(huge), 2.0**64]]


def test_missing_values_by_the_million_are_let_through_at_once() -> None:
    """One look at the matrix, not one at each value."""
    read = payloads.JsonPayload(records=False, columns=None, rows=[[None]] * 300_000, bare=False)
    calls = 0

    class Counting(Takes):
        @property
        def accepts_missing(self) -> bool:
            nonlocal calls
            calls += 1
            return True

        @accepts_missing.setter
        def accepts_missing(self, value: bool) -> None: ...

    assert len(read.matrix(Counting(count=1))) == 300_000
    assert calls == 1


def test_a_refusal_stays_short_whatever_the_client_sent() -> None:
    """It is answered and logged, and a long name must not cost a long search for a similar one."""
    long = "x" * 1_000_000
    for body in (
        [{long: 1, "b": 2}],
        {long: 1},
        {"columns": [long, long], "data": []},
        [{"a": long, "b": 1}],
        long,
    ):
        assert len(refusal(body)) < 500


def test_a_frame_keeps_values_as_they_stood() -> None:
    model = Takes(("city", "km"), numeric=False)
    read = payloads.parse(b'[{"km": 3, "city": "Oslo"}, {"city": null, "km": 1.5}]')
    expected = pd.DataFrame({"city": ["Oslo", None], "km": [3, 1.5]})
    pd.testing.assert_frame_equal(read.frame(model), expected)


NUMBERS = (
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1) | st.booleans()
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[Any]], list[str]]:
    """Columns, rows, and the same columns in a model's own order."""
    columns = draw(st.lists(st.text(max_size=5), min_size=1, max_size=5, unique=True))
    rows = draw(st.lists(st.lists(NUMBERS, min_size=len(columns), max_size=len(columns)), max_size=6))
    return columns, rows, draw(st.permutations(columns))


@given(table=tables())
def test_any_form_reads_as_pandas_reads_it(table: tuple[list[str], list[list[Any]], list[str]]) -> None:
    """Whatever the order of the columns, the matrix is pandas' own in the model's order."""
    columns, rows, order = table
    model = Takes(tuple(order), len(order))
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    sent = orjson.loads(orjson.dumps(rows))
    expected = pd.DataFrame(sent, columns=columns)[order].to_numpy(dtype=np.float64)
    in_order = [[record[name] for name in order] for record in records]
    for body in (
        records,
        {"columns": columns, "data": rows},
        {"instances": in_order},
        {"instances": records},
    ):
        read = payloads.parse(orjson.dumps(body)).matrix(model)
        np.testing.assert_array_equal(read.reshape(expected.shape), expected)


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=3)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "b", "c", "columns", "data", "instances"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)
CELLS = SCALARS | st.integers(0, 3) | JSON
NAMES = st.sampled_from("abc")
ROWS = st.lists(
    st.lists(CELLS, max_size=3)
    | st.lists(CELLS, min_size=2, max_size=2)
    | st.dictionaries(NAMES, CELLS, max_size=3)
    | st.fixed_dictionaries({"a": CELLS, "b": CELLS}),
    max_size=3,
)
BODIES = (
    JSON
    | ROWS
    | ROWS.map(lambda rows: {"instances": rows})
    | st.tuples(st.lists(NAMES | SCALARS, max_size=3) | st.just(["b", "a"]), ROWS).map(
        lambda both: {"columns": both[0], "data": both[1]}
    )
)
MODELS = st.builds(
    Takes,
    st.none() | st.just(("a", "b")),
    st.none() | st.just(2),
    numeric=st.booleans(),
    missing=st.booleans(),
)


@settings(max_examples=500)
@given(body=BODIES, model=MODELS)
def test_any_json_is_read_or_refused_as_an_invalid_request(body: Any, model: Takes) -> None:
    """Nothing that a client sends is an error of the server."""
    with contextlib.suppress(InvalidRequest):
        read = payloads.parse(orjson.dumps(body))
        if read.rows:
            (read.matrix if model.numeric else read.frame)(model)


@given(body=st.binary())
def test_any_bytes_are_read_or_refused_as_an_invalid_request(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        payloads.parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b'[{"a": 1, "b": 2, "a": 3}]',
        b'[{"a": 1, "\\u0061": 3, "b": 2}]',
        b'{"instances": [{"a": 1, "b": 2, "b": 2}]}',
        b'{"instances": [[1, 2]], "instances": [[3, 4]]}',
        b'{"columns": ["a", "b"], "data": [[1, 2]], "data": [[3, 4]]}',
    ],
)
def test_a_key_that_stands_twice_is_refused(body: bytes) -> None:
    """The parser keeps the last one: half of what the client said would be dropped without a word."""
    assert "is repeated in one object" in refusal(body)


def test_text_values_and_deep_nesting_are_no_double_keys() -> None:
    """Their quotation marks make the body be read once more, which must not fail on them."""
    model = Takes(("a", "b"), numeric=False)
    assert payloads.parse(b'[{"a": "\\"x\\"", "b": "y"}]').frame(model).to_dict("list") == {
        "a": ['"x"'],
        "b": ["y"],
    }
    deep = b'[{"a": "x", "b": ' + b"[" * 900 + b"]" * 900 + b"}]"
    with contextlib.suppress(InvalidRequest):
        payloads.parse(deep)
