"""A large body gives what a small one gives: the same numbers, values and words, by way of arrays."""

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.errors import FeatureMismatch, InvalidRequest
from tenantry_server.kernels import arrays
from tenantry_server.rows import infer_request, json_payload
from tenantry_server.rows.large import written
from tenantry_server.rows.large.grid import Grid
from tests.unit.server.rows.test_json_payload import Takes

AB = Takes(("a", "b"), 2)
MODELS = [
    AB,
    Takes(("b", "a"), 2, missing=True),
    Takes(None, 2),
    Takes(None, None, missing=True),
    Takes(("b",), 1),
]
EXTRA = Takes(("b", "a"), 2)
EXTRA.ignores_extra = True

numbers = st.one_of(st.floats(-1e9, 1e9), st.integers(-(2**62), 2**62), st.booleans(), st.none())
cells = st.one_of(numbers, st.text(max_size=3), st.just([1]), st.just({"x": None}))
values = st.sampled_from([st.floats(-1e9, 1e9), numbers, cells]).flatmap(
    lambda kind: st.lists(st.tuples(kind, kind), max_size=7)
)
KEYS = st.sampled_from([("a", "b"), ("b", "a"), ("a", "c"), ("a",), ("a", "b", "c")])


def sent(body: bytes) -> Any:
    """Return a payload as it comes from the other process."""
    buffers = arrays.encode(*written.write_rows(body))
    return written.read_rows(body, *arrays.decode(b"".join(buffers)))


def outcome(call: Callable[[], Any]) -> Any:
    """Return numbers as bytes, values with their types, errors as their words."""
    found = said(call)
    if isinstance(found, np.ndarray):
        return found.shape, found.tobytes()
    return found if isinstance(found, tuple) else [[(type(value), value) for value in row] for row in found]


def said(call: Callable[[], Any]) -> Any:
    """Return what came of it, errors as their words."""
    try:
        return call()
    except InvalidRequest as error:
        return type(error), str(error)


def check_same(body: bytes) -> None:
    plain, large = said(partial(json_payload.parse, body)), said(partial(sent, body))
    if isinstance(plain, tuple):
        assert large == plain
        return
    assert (len(large), large.bare) == (len(plain), plain.bare)
    if not len(plain):
        return  # nothing of a model is asked
    for model in (*MODELS, EXTRA):
        assert outcome(partial(large.matrix, model)) == outcome(partial(plain.matrix, model)), model
        assert outcome(partial(large.values, model)) == outcome(partial(plain.values, model)), model


@given(values, st.lists(KEYS, min_size=7, max_size=7), st.booleans())
def test_records(rows: list[tuple[Any, ...]], keys: list[tuple[str, ...]], uniform: bool) -> None:
    """Rows may differ in their columns, and in the order of these."""
    records = [
        dict(zip(keys[0] if uniform else each, (*row, 0.5), strict=False))
        for each, row in zip(keys, rows, strict=False)
    ]
    check_same(orjson.dumps(records))
    check_same(orjson.dumps({"instances": records}))


@given(values, st.integers(0, 6))
def test_lists(rows: list[tuple[Any, ...]], odd: int) -> None:
    lists = [list(row) for row in rows]
    for columns in (["a", "b"], ["b", "a"], ["b", "c"]):
        check_same(orjson.dumps({"columns": columns, "data": lists}))
    check_same(orjson.dumps({"instances": lists}))
    if odd < len(lists):
        lists[odd] = lists[odd][:1]
        check_same(orjson.dumps({"instances": lists}))


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"[1]",
        b'[{"a": 1, "b": 2}, {"a": 1, "a": 2}]',
        b'[{"a": 1, "b": 2}, 3]',
        b'{"columns": ["a", "a"], "data": []}',
        b'[{"a": 1, "b": 18446744073709551615}]',
        b'[{"a": 1, "b": ' + b"[" * 300 + b"]" * 300 + b"}]",
        b"[{}, {}]",
        b'[{"a": 1, "b": 2}',
        b'{"instances": [[], []]}',
    ],
)
def test_what_is_odd(body: bytes) -> None:
    check_same(body)


def test_a_value_that_is_no_number_is_named_in_any_piece() -> None:
    """Texts come in pieces of 64 KiB, and rows are counted through."""
    rows = [{"a": float(row), "b": "x" if row == 9_000 else 0.5} for row in range(10_000)]
    body = orjson.dumps(rows)
    with pytest.raises(FeatureMismatch) as raised:
        sent(body).matrix(AB)
    assert str(raised.value) == "row 9000, column 'b' must be a number, got the string 'x'"
    taken = sent(body).values(AB)
    assert list(taken[8_999:9_002]) == [[8999.0, 0.5], [9000.0, "x"], [9001.0, 0.5]]
    assert taken[9_000] == [9000.0, "x"]


def test_many_columns() -> None:
    """Their names come in pieces, too."""
    wide = dict.fromkeys(map(str, range(10_000)), 0.5)
    check_same(orjson.dumps([wide, wide]))
    check_same(orjson.dumps([wide, wide | {"a": 1}]))
    check_same(orjson.dumps({"columns": list(wide), "data": [list(wide.values())]}))


def test_a_worker_that_holds_the_model_gets_the_body_itself() -> None:
    body = orjson.dumps([{"a": 1.0, "b": None}])
    large = sent(body)
    assert isinstance(large, Grid)
    assert pickle.loads(pickle.dumps(large)) == json_payload.parse(body)


@pytest.mark.parametrize(
    "inputs",
    [
        [{"name": "x", "datatype": "FP64", "shape": [2, 2], "data": [1, 2.5, None, 4]}],
        [{"name": "x", "datatype": "FP16", "shape": [2, 1], "data": [1, 2.5]}],
        [{"name": "x", "datatype": "UINT64", "shape": [1], "data": [2**64 - 1]}],
        [{"name": "x", "datatype": "BOOL", "shape": [2], "data": [True, False]}],
        [
            {"name": "a", "datatype": "BYTES", "shape": [2], "data": ["ä", ""]},
            {"name": "b", "datatype": "BYTES", "shape": [2, 1], "data": [["x"], [None]]},
        ],
        [{"name": "x", "datatype": "FP64", "shape": [2, 2], "data": [1]}],
        [{"name": "x", "datatype": "FP64", "shape": [1], "data": ["x"]}],
    ],
)
def test_v2(inputs: list[dict[str, Any]]) -> None:
    asked = {
        "id": "7",
        "inputs": inputs,
        "outputs": [{"name": "predict", "parameters": {"binary_data": True}}],
    }
    body = orjson.dumps(asked)

    def read(infer: infer_request.InferRequest) -> Any:
        tensors = [
            (each.name, each.rows, each.columns, list(each.objects(MODELS[1])))
            for each in infer.tensors.inputs
        ]
        return repr((tensors, infer.request_id, infer.outputs, infer.binary))

    def apart() -> infer_request.InferRequest:
        buffers = arrays.encode(*written.write_infer(body, None))
        return written.read_infer(*arrays.decode(b"".join(buffers)))

    assert said(lambda: read(apart())) == said(lambda: read(infer_request.parse(body, None)))
