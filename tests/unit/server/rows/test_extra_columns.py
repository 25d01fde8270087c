"""Columns that a model does not take are left out where it is told to, in whatever form they come."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tenantry import Model
from tenantry.errors import FeatureMismatch
from tenantry.model import Predictions
from tenantry_server.rows import infer_request, json_payload
from tenantry_server.rows.payload import Payload


class Takes(Model):
    """States that it takes a and b."""

    feature_names = ("a", "b")
    feature_count = 2

    def __init__(self, *, numeric: bool, ignores: bool) -> None:
        self.numeric = numeric
        self.ignores_extra = ignores

    def predict(self, data: pd.DataFrame) -> Predictions:
        return np.zeros(len(data))


def native(document: Any) -> Payload:
    return json_payload.parse(json.dumps(document).encode())


def tensors(*names: str) -> Payload:
    inputs = [{"name": name, "datatype": "FP64", "shape": [1], "data": [ord(name)]} for name in names]
    inputs.append({"name": "note", "datatype": "BYTES", "shape": [1], "data": ["a text"]})
    return infer_request.parse(json.dumps({"inputs": inputs}).encode(), None).tensors


ROWS = {
    "records": native([{"a": 97, "c": "a text", "b": 98}]),
    "records as instances": native({"instances": [{"b": 98, "a": 97, "c": None}]}),
    "columns": native({"columns": ["c", "b", "a"], "data": [[[1], 98, 97]]}),
    "tensors": tensors("b", "a"),
}


@pytest.mark.parametrize("payload", ROWS.values(), ids=ROWS)
def test_they_are_left_out_whatever_they_hold(payload: Payload) -> None:
    assert payload.matrix(Takes(numeric=True, ignores=True)).tolist() == [[97.0, 98.0]]
    frame = payload.frame(Takes(numeric=False, ignores=True))
    assert frame.to_dict("list") == {"a": [97], "b": [98]}


@pytest.mark.parametrize("payload", ROWS.values(), ids=ROWS)
def test_they_are_refused_unless_it_is_told_to(payload: Payload) -> None:
    with pytest.raises(FeatureMismatch, match=r"unknown column '(c|note)'; the model takes 'a', 'b'"):
        payload.matrix(Takes(numeric=True, ignores=False))


def test_each_row_may_have_others() -> None:
    payload = native([{"a": 1, "b": 2}, {"x": 0, "a": 3, "b": 4}, {"b": 6, "y": 0, "z": 0, "a": 5}])
    expected = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert payload.matrix(Takes(numeric=True, ignores=True)).tolist() == expected


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (native([{"a": 1, "bee": 2}]), "row 0: missing column 'b' and unknown column 'bee'"),
        (native([{"a": 1, "b": 2}, {"a": 1, "c": 2, "d": 3}]), "row 1: missing column 'b' and unknown"),
        (native({"columns": ["a", "c"], "data": [[1, 2]]}), "missing column 'b' and unknown column 'c'"),
        (tensors("a", "c"), "missing column 'b' and unknown columns 'c', 'note'"),
        (native({"instances": [[1, 2, 3]]}), "row 0 has 3 values, the model takes 2"),
    ],
)
def test_a_missing_one_is_refused_with_what_may_have_been_meant(payload: Payload, words: str) -> None:
    with pytest.raises(FeatureMismatch, match=words):
        payload.matrix(Takes(numeric=True, ignores=True))
