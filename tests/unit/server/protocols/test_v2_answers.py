"""V2: predictions become the tensors that were asked for."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tenantry.errors import PredictionFailed
from tenantry_server.predicting.answer import Answer
from tenantry_server.protocols.v2 import infer_answer
from tenantry_server.rows import datatypes
from tenantry_server.scoring import results
from tests.unit.server.protocols.test_v2 import asked, refusal, tensor

MODEL_ID = "s3://models/a.joblib#sha256=" + "9f86d081" * 8


def answer(predictions: Any, *, model_id: str = MODEL_ID, **more: Any) -> tuple[dict[str, Any], bytes]:
    """The JSON part of the answer, and what follows it."""
    request = asked(tensor([1], [1]), **more)
    body, length = infer_answer.render(request, Answer(np.asarray(predictions), model_id), "ann")
    return json.loads(body[:length]), b"" if length is None else body[length:]


ANSWERS: list[tuple[Any, str, list[int], Any]] = [
    (np.array([1.5, 2.5]), "FP64", [2], [1.5, 2.5]),
    (np.array([[1, 2], [3, 4]]).T, "INT64", [2, 2], [1, 3, 2, 4]),
    (np.arange(4.0)[::2], "FP64", [2], [0.0, 2.0]),
    (np.array([1.5], np.float32), "FP32", [1], [1.5]),
    (np.array([1.5], np.float16), "FP16", [1], [1.5]),
    (np.array([1.5], np.longdouble), "FP64", [1], [1.5]),
    (np.array([1.5], ">f8"), "FP64", [1], [1.5]),
    (np.array([7], ">i2"), "INT16", [1], [7]),
    (np.array([7], np.longlong), "INT64", [1], [7]),
    (np.array([7], np.ulonglong), "UINT64", [1], [7]),
    (np.array([7], np.uint8), "UINT8", [1], [7]),
    (np.array([True, False]), "BOOL", [2], [True, False]),
    (np.array(["a", "ä"]), "BYTES", [2], ["a", "ä"]),
    (np.array(["a", "b"], object), "BYTES", [2], ["a", "b"]),
    (np.array([["a", "b"]], object), "BYTES", [1, 2], ["a", "b"]),
    (np.array([1, 2.5], object), "FP64", [2], [1.0, 2.5]),
    (np.empty(0), "FP64", [0], []),
]


@pytest.mark.parametrize(("predictions", "datatype", "shape", "data"), ANSWERS)
def test_whatever_array_a_model_returns_becomes_a_tensor(
    predictions: npt.NDArray[Any], datatype: str, shape: list[int], data: Any
) -> None:
    document, rest = answer(predictions)
    output = {"name": "predict", "shape": shape, "datatype": datatype, "data": data}
    assert document == {"model_name": "ann", "model_version": "9f86d081", "outputs": [output]}
    assert rest == b""
    document, rest = answer(predictions, parameters={"binary_data_output": True})
    (output,) = document["outputs"]
    assert output["parameters"] == {"binary_data_size": len(rest)}
    assert "data" not in output
    seen = (
        datatypes.unpack_texts(rest, len(data))
        if datatype == "BYTES"
        else np.frombuffer(rest, datatypes.NUMERIC[datatype]).tolist()
    )
    assert seen == data


def test_missing_answers_are_null_in_json_and_empty_texts_in_binary() -> None:
    assert answer([1.0, np.nan])[0]["outputs"][0]["data"] == [1.0, None]
    labels = np.array(["a", None], object)
    assert answer(labels)[0]["outputs"][0]["data"] == ["a", None]
    assert answer(labels, parameters={"binary_data_output": True})[1] == b"\1\0\0\0a\0\0\0\0"


@pytest.mark.parametrize(
    "predictions", [np.array([1j]), np.array(["2026-01-01"], "M8[D]"), np.array([{}, 1], object)]
)
def test_what_no_tensor_holds_is_the_models_failure(predictions: npt.NDArray[Any]) -> None:
    with pytest.raises(PredictionFailed, match="can't be written as a tensor"):
        answer(predictions)


def test_an_output_is_binary_where_it_or_the_request_says_so() -> None:
    def is_binary(own: bool | None, of_all: bool | None) -> bool:
        output: dict[str, Any] = {"name": "predict"}
        if own is not None:
            output["parameters"] = {"binary_data": own}
        more: dict[str, Any] = {} if of_all is None else {"parameters": {"binary_data_output": of_all}}
        return bool(answer([1.0], outputs=[output], **more)[1])

    assert [is_binary(True, None), is_binary(True, False), is_binary(None, True)] == [True] * 3
    assert [is_binary(False, True), is_binary(False, None), is_binary(None, None)] == [False] * 3


def test_the_output_is_named_after_the_method_and_no_other_is_there() -> None:
    chances = f"{MODEL_ID}&method=predict_proba"
    document, _ = answer([[0.2, 0.8]], model_id=chances, outputs=[{"name": "predict_proba"}])
    assert document["outputs"][0]["name"] == "predict_proba"
    told = refusal(lambda: answer([1.0], outputs=[{"name": "predict_proba"}]))
    assert told == "there is no output 'predict_proba'; this model has 'predict'"
    assert "requested twice" in refusal(lambda: answer([1.0], outputs=[{"name": "predict"}] * 2))
    classes = [{"name": "predict", "parameters": {"classification": 3}}]
    assert "'classification' is not offered" in refusal(lambda: answer([1.0], outputs=classes))
    assert answer([1.0], outputs=[])[0]["outputs"][0]["name"] == "predict"


def test_several_methods_are_several_outputs() -> None:
    both = f"{MODEL_ID}&method=predict%2Cpredict_proba"
    labels, chances = np.array(["a", "b"]), np.array([[0.25, 0.75], [np.nan, 1.0]])
    given = results.together({"predict": labels, "predict_proba": chances})
    document, _ = answer(given, model_id=both)
    assert document["outputs"] == [
        {"name": "predict", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
        {"name": "predict_proba", "shape": [2, 2], "datatype": "FP64", "data": [0.25, 0.75, None, 1.0]},
    ]
    one = [{"name": "predict_proba", "parameters": {"binary_data": True}}, {"name": "predict"}]
    document, data = answer(given, model_id=both, outputs=one)
    assert [output["name"] for output in document["outputs"]] == ["predict_proba", "predict"]
    assert document["outputs"][0]["parameters"] == {"binary_data_size": 32}
    np.testing.assert_array_equal(np.frombuffer(data).reshape(2, 2), chances)
    assert document["outputs"][1]["data"] == ["a", "b"]
    _, data = answer(given, model_id=both, parameters={"binary_data_output": True})
    assert data.startswith(b"\1\0\0\0a\1\0\0\0b")
    assert len(data) == 10 + 32
    only, _ = answer(given, model_id=both, outputs=one[:1])
    assert [output["name"] for output in only["outputs"]] == ["predict_proba"]
    unknown = [{"name": "decision_function"}]
    assert "'predict' and 'predict_proba'" in refusal(lambda: answer(given, model_id=both, outputs=unknown))
    with pytest.raises(PredictionFailed, match="no answer of each method"):
        answer([1.0], model_id=both)


def test_the_id_comes_back_as_it_was() -> None:
    assert answer([1.0], id='7"ä')[0]["id"] == '7"ä'
    assert "id" not in answer([1.0])[0]


@pytest.mark.parametrize(
    ("model_id", "version"),
    [
        (MODEL_ID, "9f86d081"),
        ("s3://m/a?versionId=v7-long-name#sha256=abcdef0123&method=predict", "abcdef01"),
        ("s3://m/a?versionId=v7-long-name", "v7-long-"),
        ("s3://m/a#etag=0011223344&sha256=aabbccddeeff", "aabbccdd"),
        ("file:///m/a", "unpinned"),
    ],
)
def test_a_version_is_the_beginning_of_what_pins_it(model_id: str, version: str) -> None:
    assert infer_answer.version_of(model_id) == version
