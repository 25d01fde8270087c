"""V2: its bodies become the rows that a model takes."""

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tenantry import Model
from tenantry.errors import FeatureMismatch, InvalidRequest
from tenantry.model import Predictions
from tenantry_server.rows import datatypes
from tenantry_server.rows.infer_request import InferRequest, parse


class Takes(Model):
    """States what it takes, and predicts nothing."""

    def __init__(
        self, names: Sequence[str] | None = ("a", "b"), *, numeric: bool = True, missing: bool = False
    ) -> None:
        self.feature_names = names
        self.feature_count = None if names is None else len(names)
        self.numeric = numeric
        self.accepts_missing = missing

    def predict(self, data: pd.DataFrame) -> Predictions:
        raise NotImplementedError


AB = Takes()
TEXTS = Takes(numeric=False, missing=True)


def tensor(shape: Any, data: Any, datatype: str = "FP64", name: str = "input") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def asked(*inputs: dict[str, Any], **more: Any) -> InferRequest:
    return parse(json.dumps({"inputs": inputs} | more).encode(), None)


def in_binary(document: dict[str, Any], *sections: bytes, length: Any = None) -> InferRequest:
    text = json.dumps(document).encode()
    return parse(text + b"".join(sections), str(len(text)) if length is None else length)


def section(shape: Any, size: Any, datatype: str = "FP64", name: str = "input") -> dict[str, Any]:
    parameters = {"binary_data_size": size}
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": parameters}


def numbers(datatype: str, values: Any) -> InferRequest:
    data = np.array(values).astype(datatypes.NUMERIC[datatype]).tobytes()
    return in_binary({"inputs": [section([1, len(values)], len(data), datatype)]}, data)


def refusal(call: Any) -> str:
    with pytest.raises(InvalidRequest) as refused:
        call()
    return str(refused.value)


# One matrix


@pytest.mark.parametrize("data", [[1.0, 2, 3, 4], [[1, 2], [3, 4]]])
def test_a_matrix_may_be_flat_or_nested(data: Any) -> None:
    payload = asked(tensor([2, 2], data, name="whatever")).tensors
    assert len(payload) == 2
    assert payload.matrix(AB).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert payload.frame(TEXTS).to_dict("list") == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


@pytest.mark.parametrize("datatype", list(datatypes.NUMERIC))
def test_every_numeric_datatype_comes_in_json_and_in_binary(datatype: str) -> None:
    values = [True, False] if datatype == "BOOL" else [1, 100]
    expected = [[float(value) for value in values]]
    assert asked(tensor([1, 2], values, datatype)).tensors.matrix(AB).tolist() == expected
    binary = numbers(datatype, values).tensors
    assert binary.matrix(AB).tolist() == expected
    frame = binary.frame(TEXTS)
    assert frame.to_numpy().tolist() == [values]
    assert set(frame.dtypes) == {datatypes.NUMERIC[datatype]}


def test_fp32_in_json_is_what_it_would_be_in_binary() -> None:
    matrix = asked(tensor([1, 2], [0.1, 0.2], "FP32")).tensors.matrix(AB)
    assert matrix.tolist() == numbers("FP32", [0.1, 0.2]).tensors.matrix(AB).tolist()
    assert matrix[0, 0] == np.float32(0.1)


def test_a_model_may_work_in_place_on_a_binary_matrix() -> None:
    """The body that it came from is read-only, and its numbers begin at any byte."""
    data = np.array([1.0, 2.0]).tobytes()
    text = json.dumps({"inputs": [section([1, 2], 16)]}).encode()
    for padding in range(8):
        body = text + b" " * padding + data
        matrix = parse(body, str(len(text) + padding)).tensors.matrix(AB)
        assert matrix.flags.aligned
        matrix += 1
        assert matrix.tolist() == [[2.0, 3.0]]


def test_a_vector_is_the_one_column_of_a_model_with_one() -> None:
    assert asked(tensor([3], [1, 2, 3])).tensors.matrix(Takes(["km"])).tolist() == [[1], [2], [3]]
    with pytest.raises(FeatureMismatch, match="row 0 has 1 values, the model takes 2"):
        asked(tensor([3], [1, 2, 3])).tensors.matrix(AB)


def test_null_is_a_missing_number_where_the_model_takes_one() -> None:
    payload = asked(tensor([1, 2], [1.0, None])).tensors
    assert np.isnan(payload.matrix(Takes(missing=True))[0, 1])
    with pytest.raises(FeatureMismatch, match="row 0, column 'b' is missing"):
        payload.matrix(AB)


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_nan_and_infinities_are_named_by_row_and_column(value: float, count: int) -> None:
    values = np.zeros((count, 2))
    values[-1, 1] = value
    data = values.tobytes()
    payload = in_binary({"inputs": [section([count, 2], len(data))]}, data).tensors
    with pytest.raises(FeatureMismatch, match=f"row {count - 1}, column 'b'"):
        payload.matrix(AB)
    if np.isinf(value):
        with pytest.raises(FeatureMismatch, match=f"row {count - 1}, column 1"):
            payload.frame(TEXTS)


def test_no_rows_are_rows() -> None:
    assert len(asked(tensor([0, 2], [])).tensors) == 0
    assert in_binary({"inputs": [section([0, 2], 0)]}).tensors.matrix(AB).shape == (0, 2)


# One tensor a column


def test_columns_are_found_by_name_in_any_order() -> None:
    payload = asked(tensor([2], [3, 4], "INT8", "b"), tensor([2, 1], [[1], [2]], "FP32", "a")).tensors
    assert payload.matrix(AB).tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert payload.frame(TEXTS).to_dict("list") == {"a": [1.0, 2.0], "b": [3, 4]}


def test_columns_stand_in_their_order_where_the_model_knows_no_names() -> None:
    payload = asked(tensor([1], [3], name="x"), tensor([1], [1], name="y")).tensors
    assert payload.matrix(Takes(None)).tolist() == [[3.0, 1.0]]
    assert list(payload.frame(Takes(None, numeric=False))) == ["x", "y"]


def test_a_wrong_name_is_told_with_the_right_ones() -> None:
    payload = asked(tensor([1], [3], name="a"), tensor([1], [1], name="bb")).tensors
    for take in (lambda: payload.matrix(AB), lambda: payload.frame(TEXTS)):
        with pytest.raises(FeatureMismatch, match="missing column 'b' and unknown column 'bb'"):
            take()


@pytest.mark.parametrize("binary", [True, False])
def test_text_reaches_models_that_take_a_dataframe(binary: bool) -> None:
    if binary:
        data = datatypes.pack_texts(["Oslo", "Zürich"])
        document = {"inputs": [section([2, 1], len(data), "BYTES", "a"), tensor([2], [1, 2], "INT64", "b")]}
        payload = in_binary(document, data).tensors
    else:
        payload = asked(
            tensor([2], ["Oslo", "Zürich"], "BYTES", "a"), tensor([2], [1, 2], "INT64", "b")
        ).tensors
    frame = payload.frame(TEXTS)
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"a": ["Oslo", "Zürich"], "b": [1, 2]}))
    with pytest.raises(FeatureMismatch, match="input 'a' is text"):
        payload.matrix(AB)


def test_a_matrix_of_text_keeps_its_missing_ones() -> None:
    frame = asked(tensor([2, 2], [["x", None], ["y", "z"]], "BYTES")).tensors.frame(TEXTS)
    assert frame.isna().to_numpy().tolist() == [[False, True], [False, False]]
    assert frame["a"].tolist() == ["x", "y"]


# What a body claims

LIES: list[tuple[str, dict[str, Any], bytes, str]] = [
    ("longer than the body", section([1, 2], 17), b"x" * 16, "16 bytes are left"),
    ("1e9 rows", section([10**9, 2], 16 * 10**9), b"", "0 bytes are left"),
    ("1e9 rows of nothing", section([10**9, 0], 0), b"", "1000000000 rows without columns"),
    ("1e9 texts", section([10**9], 8, "BYTES"), b"\0" * 8, "can't hold"),
    ("a product that overflows", section([2**31 - 1, 2**31 - 1], 8), b"x" * 8, "are not"),
    ("a negative size", section([1], -8), b"", "must be a count of bytes"),
    ("a size in words", section([1], "8"), b"x" * 8, "must be a count of bytes"),
    ("a true size", section([1], True, "BOOL"), b"\1", "must be a count of bytes"),
    ("another shape", section([3], 16), b"x" * 16, "16 bytes are not 3 values of FP64"),
    ("another datatype", section([2], 16, "FP32"), b"x" * 16, "16 bytes are not 2 values of FP32"),
    ("a rest", section([1], 8), b"x" * 9, "1 bytes at the end of the body belong to no input"),
    ("truth of 2", section([2], 2, "BOOL"), b"\1\2", "a byte of 0 or 1"),
    ("unknown", section([1], 8, "FP128"), b"x" * 8, "no datatype 'FP128'; this server knows FP64"),
    ("text of no elements", section([0], 4, "BYTES"), b"\0" * 4, "can't hold"),
]


@pytest.mark.parametrize(("entry", "data", "told"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES])
def test_a_binary_section_that_lies_is_refused(entry: dict[str, Any], data: bytes, told: str) -> None:
    assert told in refusal(lambda: in_binary({"inputs": [entry]}, data))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (struct.pack("<I", 2**32 - 1) + b"abcd", "element 0 claims to be longer than the data"),
        (struct.pack("<I", 1) + b"a" + b"\0\0\0", "element 1 has no length"),
        (struct.pack("<I", 4) + b"\xff\xff\xff\xff", "element 0 is not UTF-8"),
        (struct.pack("<I", 4) + b"abcd", "it holds 1 elements, its shape says 2"),
    ],
)
def test_text_whose_lengths_lie_is_refused(data: bytes, told: str) -> None:
    payload = in_binary({"inputs": [section([2], len(data), "BYTES")]}, data).tensors
    with pytest.raises(FeatureMismatch, match=told):
        payload.frame(Takes(["a"], numeric=False))


@pytest.mark.parametrize("length", ["-1", "+2", "1_0", "", "abc", "²", "9" * 30, "1e3", " 2"])
def test_a_length_of_the_json_must_be_a_number(length: str) -> None:
    assert "must be a number" in refusal(lambda: in_binary({"inputs": []}, length=length))


def test_a_length_of_the_json_may_not_lead_out_of_the_body_or_into_it() -> None:
    document = {"inputs": [section([1], 8)]}
    assert "is 1000, the body has" in refusal(lambda: in_binary(document, b"x" * 8, length="1000"))
    assert "the JSON part is not JSON" in refusal(lambda: in_binary(document, b"x" * 8, length="10"))
    assert "does not say where the JSON ends" in refusal(lambda: asked(section([1], 8)))


@pytest.mark.parametrize(
    "shape", [None, [], [1, 2, 3], 2, "[2]", [1.0], [-1], [True], [None], [[1]], [2**31], [10**30]]
)
def test_a_shape_is_one_or_two_counts(shape: Any) -> None:
    assert "'shape' must" in refusal(lambda: asked(tensor(shape, [1.0])))


@pytest.mark.parametrize(
    ("shape", "data", "datatype", "told"),
    [
        ([2], [1.0], "FP64", "'data' holds 1 values"),
        ([10**9, 10**9], [1.0], "FP64", "'data' holds 1 values"),
        ([2, 2], [[1, 2], [3]], "FP64", "lists in 'data' are of another"),
        ([2, 2], [[1, 2], 3], "FP64", "lists in 'data' are of another"),
        ([2, 1], [[1, 2]], "FP64", "lists in 'data' are of another"),
        ([1, 1], [[[1]]], "FP64", "value 0 is not an FP64"),
        ([1], [[1]], "FP64", "value 0 is not an FP64"),
        ([2], ["1", 2], "FP64", "value 0 is not an FP64: '1'"),
        ([2], [1, True], "FP32", "value 1 is not an FP32: True"),
        ([2], [1, 2.5], "INT64", "value 1 is not an INT64: 2.5"),
        ([1], [None], "INT64", "value 0 is not an INT64: None"),
        ([1], [300], "UINT8", "does not fit into UINT8"),
        ([1], [-1], "UINT64", "does not fit into UINT64"),
        ([1], [2**64], "UINT64", "is not a UINT64"),
        ([1], [1], "BOOL", "value 0 is not a BOOL: 1"),
        ([1], [1], "BYTES", "value 0 is not a BYTES: 1"),
        ([1], [1], "fp64", "no datatype 'fp64'"),
        ([1], {"0": 1}, "FP64", "'data' must be a list"),
        ([1], "1", "FP64", "'data' must be a list"),
        ([1], None, "FP64", "'data' must be a list"),
    ],
)
def test_data_that_is_not_what_its_tensor_says_is_refused(
    shape: Any, data: Any, datatype: str, told: str
) -> None:
    assert told in refusal(lambda: asked(tensor(shape, data, datatype)))


def test_a_value_too_large_for_fp32_is_infinite() -> None:
    with pytest.raises(FeatureMismatch, match="row 0, column 'b' is infinite"):
        asked(tensor([1, 2], [1.0, 1e300], "FP32")).tensors.matrix(AB)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ([tensor([1], [1], name="a"), tensor([1], [1], name="a")], "input 'a' is given twice"),
        ([tensor([1], [1], name="a"), tensor([2], [1, 2], name="b")], "has 2 rows, 'a' has 1"),
        ([tensor([1], [1], name="a"), tensor([1, 2], [1, 2], name="b")], "has 2 columns"),
        ([{"name": "a", "datatype": "FP64", "shape": [1]}], "neither 'data' nor"),
        ([section([1], 8) | {"data": [1]}], "either 'data' or"),
        ([{"datatype": "FP64", "shape": [1], "data": [1]}], "must have a 'name'"),
        ([{"name": "a", "shape": [1], "data": [1]}], "must have a 'datatype'"),
        ([tensor([1], [1]) | {"parameters": []}], "'parameters' must be an object"),
        ([], "one tensor at least"),
        ([1], "must be a list of objects"),
        ({}, "must be a list of objects"),
        (None, "must be a list of objects"),
    ],
)
def test_inputs_that_are_no_tensors_are_refused(inputs: Any, told: str) -> None:
    text = json.dumps({"inputs": inputs}).encode()
    assert told in refusal(lambda: parse(text, str(len(text))))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "'inputs' must be a list"),
        (b"[" * 100_000, "not JSON"),
        (b'{"inputs":' * 2000, "not JSON"),
        (b'{"inputs": [{"name": NaN}]}', "not JSON"),
        (b'{"inputs": [], "x": "\xff"}', "not JSON"),
        (json.dumps({"inputs": [tensor([1], [1])], "id": 7}).encode(), "'id' must be a string"),
        (json.dumps({"inputs": [tensor([1], [1])], "outputs": {}}).encode(), "'outputs' must be a list"),
        (json.dumps({"inputs": [tensor([1], [1])], "outputs": [{}]}).encode(), "must have a 'name'"),
    ],
)
def test_a_body_that_is_no_request_is_refused(body: bytes, told: str) -> None:
    assert told in refusal(lambda: parse(body, None))


@pytest.mark.parametrize(
    ("where", "twice"),
    [
        ('"inputs": [', '"inputs": [], "inputs": ['),
        ('"shape": [1]', '"shape": [1], "shape": [1]'),
        ('"id": "7"', '"id": "7", "id": "8"'),
        ('"x": 1', '"x": 1, "x": 2'),
        ('"y": "z"', '"y": "z", "y": "z"'),
        ('"name": "p"', '"name": "p", "name": "q"'),
    ],
)
def test_a_key_that_stands_twice_is_refused(where: str, twice: str) -> None:
    document = {
        "id": "7",
        "inputs": [
            tensor(
                [1],
                [
                    "q\"'",
                ],
                "BYTES",
            )
            | {"parameters": {"x": 1, "y": "z"}}
        ],
        "outputs": [{"name": "p"}],
    }
    text = json.dumps(document)
    parse(text.encode(), None)
    assert "is repeated" in refusal(lambda: parse(text.replace(where, twice).encode(), None))


def test_a_missing_text_hides_no_key_that_stands_twice() -> None:
    """The check counts quotation marks, and null has none."""
    text = json.dumps({"inputs": [tensor([2], ["x", None], "BYTES")]})
    parse(text.encode(), None)
    twice = text.replace('"shape": [2]', '"shape": [2], "shape": [2]')
    assert "is repeated" in refusal(lambda: parse(twice.encode(), None))


def test_unknown_keys_and_parameters_are_left_alone() -> None:
    """Clients send more than the protocol has; deep values in it don't fail either."""
    parse(
        json.dumps(
            {
                "inputs": [tensor([1], [1]) | {"content_type": "np", "parameters": {"content_type": "np"}}],
                "parameters": {"priority": 1, "deep": {"a": {"b": ["c"]}}},
                "outputs": [{"name": "x", "datatype": "BYTES", "data": {"a": 1}, "parameters": None}],
            }
        ).encode(),
        None,
    )
