"""Whatever bytes come, a protocol refuses them in words or makes rows of them that are what they say."""

import contextlib
import json
import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import example, given
from hypothesis import strategies as st

from tenantry import Model
from tenantry.errors import FeatureMismatch, InvalidRequest
from tenantry.model import Predictions
from tenantry_server.predicting.answer import Answer
from tenantry_server.protocols.v2 import infer_answer
from tenantry_server.rows import datatypes, json_payload
from tenantry_server.rows.infer_request import InferRequest, parse
from tenantry_server.rows.payload import Payload

LARGEST_ROUND = 1 << 20  # bytes of memory for a body of a few hundred


class Takes(Model):
    """States what it takes, and predicts nothing."""

    def __init__(self, names: tuple[str, ...] | None, *, numeric: bool, missing: bool) -> None:
        self.feature_names = names
        self.numeric = numeric
        self.accepts_missing = missing

    def predict(self, data: pd.DataFrame) -> Predictions:
        raise NotImplementedError


MODELS = [
    Takes(names, numeric=numeric, missing=missing)
    for names in (("a",), ("a", "b"), None)
    for numeric in (True, False)
    for missing in (True, False)
]

NAMES = st.sampled_from(["a", "b", "", 'q"'])
DATATYPES = st.sampled_from([*datatypes.NAMES, "FP128", "fp64"])
COUNTS = st.integers(-1, 4) | st.sampled_from([2**31 - 1, 2**31, 10**9, 10**30])
ODD: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.just([[]]) | st.just({"a": {}})
)
CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


def nearly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what belongs there."""
    return st.one_of(good, good, good, good, good, ODD)


ENTRIES = st.fixed_dictionaries(
    {
        "name": nearly(NAMES),
        "datatype": nearly(DATATYPES),
        "shape": nearly(st.lists(nearly(COUNTS), max_size=3)),
    },
    optional={
        "data": nearly(st.lists(CELLS, max_size=4) | st.lists(st.lists(CELLS, max_size=3), max_size=3)),
        "parameters": nearly(
            st.dictionaries(
                st.sampled_from(["binary_data_size", "binary_data", "x"]),
                nearly(st.integers(-1, 40) | st.just(10**12)),
            )
        ),
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"inputs": nearly(st.lists(nearly(ENTRIES), max_size=3))},
    optional={
        "id": nearly(st.text(max_size=3)),
        "outputs": nearly(st.lists(nearly(ENTRIES), max_size=2)),
        "parameters": nearly(st.dictionaries(st.just("binary_data_output"), nearly(st.booleans()))),
    },
)


def check(payload: Payload) -> None:
    """Rows for any model are refused in words, or as many as the payload says and allowed."""
    for model in MODELS:
        with contextlib.suppress(FeatureMismatch):
            if not model.numeric:
                frame = payload.frame(model)
                assert len(frame) == len(payload)
                continue
            matrix = payload.matrix(model)
            assert matrix.dtype == np.float64
            assert matrix.shape[0] == len(payload)
            if not len(payload):
                continue  # nobody asks a model about no rows
            assert model.feature_names is None or matrix.shape[1] == len(model.feature_names)
            assert not np.isinf(matrix).any()
            assert model.accepts_missing or not np.isnan(matrix).any()


def check_answers(request: InferRequest) -> None:
    with contextlib.suppress(InvalidRequest):
        body, length = infer_answer.render(request, Answer(np.ones(2), "file:///m/a"), "ann")
        document = json.loads(body[:length])
        assert document.get("id") == request.request_id


def check_body(body: bytes, json_length: str | None) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(InvalidRequest):
            request = parse(body, json_length)
            check(request.tensors)
            check_answers(request)
        assert tracemalloc.get_traced_memory()[1] < LARGEST_ROUND
    finally:
        tracemalloc.stop()


@given(document=DOCUMENTS, rest=st.binary(max_size=60), off=st.sampled_from([0, 0, 0, -1, 1, 9]))
@example(
    {"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}]},
    b"\1\0\x80\x7f",
    0,
)
def test_a_body_with_binary_parts_is_refused_or_right(
    document: dict[str, Any], rest: bytes, off: int
) -> None:
    """The signalling NaN of the example makes a processor raise a flag, of which numpy would warn."""
    text = json.dumps(document).encode()
    check_body(text + rest, str(len(text) + off))


@given(document=DOCUMENTS)
def test_a_body_of_json_is_refused_or_right(document: dict[str, Any]) -> None:
    check_body(json.dumps(document).encode(), None)


@given(body=st.binary(max_size=200), json_length=st.none() | st.text(max_size=4))
def test_bytes_without_meaning_are_refused(body: bytes, json_length: str | None) -> None:
    check_body(body, json_length)


@st.composite
def tensors_of_any_type(draw: st.DrawFn) -> tuple[str, Any]:
    datatype = draw(st.sampled_from(datatypes.NAMES))
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    if datatype == datatypes.TEXT:
        texts = draw(st.lists(st.text(max_size=5), min_size=rows * columns, max_size=rows * columns))
        return datatype, np.array(texts, object).reshape(rows, columns)
    size = rows * columns * datatypes.NUMERIC[datatype].itemsize
    data = draw(st.binary(min_size=size, max_size=size))
    if datatype == "BOOL":
        data = bytes(byte & 1 for byte in data)
    return datatype, np.frombuffer(data, datatypes.NUMERIC[datatype]).reshape(rows, columns)


@given(made=tensors_of_any_type())
def test_what_goes_in_as_bytes_comes_out_as_the_same_bytes(made: tuple[str, Any]) -> None:
    """Of every datatype and any values, NaN's payload included."""
    datatype, array = made
    said, values = datatypes.tensor_of(array)
    assert said == datatype
    data = datatypes.pack_texts(values) if isinstance(values, list) else values.tobytes()
    entry = {
        "name": "x",
        "datatype": said,
        "shape": array.shape,
        "parameters": {"binary_data_size": len(data)},
    }
    text = json.dumps({"inputs": [entry]}).encode()
    payload = parse(text + data, str(len(text))).tensors
    check(payload)
    (tensor,) = payload.inputs
    if datatype == datatypes.TEXT:
        assert tensor.objects(MODELS[0]) == array.ravel().tolist()
    else:
        assert np.asarray(tensor.values).tobytes() == data


JSON = st.recursive(
    CELLS | st.just(float("nan")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "instances", "columns", "data"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(document=JSON)
def test_the_rows_of_v1_are_refused_or_right(document: Any) -> None:
    with contextlib.suppress(InvalidRequest):
        check(json_payload.parse(json.dumps(document).encode()))
