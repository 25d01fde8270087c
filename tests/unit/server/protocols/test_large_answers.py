"""Large answers are written in pieces, and are what one call of orjson writes."""

import asyncio
import gc

import numpy as np
import orjson
import pytest

from tenantry_server.kernels import arrays
from tenantry_server.memory import garbage
from tenantry_server.predicting.answer import Answer
from tenantry_server.protocols.v2.infer_answer import render
from tenantry_server.rows.infer_request import InferRequest
from tenantry_server.rows.tensors import Tensors, from_json
from tenantry_server.scoring.results import joined, to_json

MANY = 40_000
NUMBERS = np.arange(2.0 * MANY).reshape(MANY, 2) / 7
TEXTS = np.array([f"class {number}" for number in range(MANY)])
ONE = Tensors([from_json("x", "FP64", [1, 1], [1.0])])


@pytest.mark.parametrize(
    "predictions", [NUMBERS, NUMBERS.astype(np.float32), TEXTS], ids=["f8", "f4", "text"]
)
def test_predictions(predictions: np.ndarray) -> None:
    listed = predictions.tolist()
    if predictions.dtype == np.float32:
        listed = orjson.loads(orjson.dumps(predictions, option=orjson.OPT_SERIALIZE_NUMPY))
    assert to_json(predictions, bare=True) == orjson.dumps(listed)
    assert to_json(predictions, bare=False) == orjson.dumps({"predictions": listed})


@pytest.mark.parametrize("request_id", [None, "7"])
def test_tensors(request_id: str | None) -> None:
    asked = InferRequest(ONE, request_id, None, False)
    body, json_bytes = render(asked, Answer(NUMBERS, "file:///a.joblib"), "ann")
    output = {"name": "predict", "shape": [MANY, 2], "datatype": "FP64", "data": NUMBERS.ravel().tolist()}
    wanted = {"model_name": "ann", "model_version": "unpinned", "outputs": [output]}
    assert json_bytes is None
    assert body == orjson.dumps(wanted | ({} if request_id is None else {"id": request_id}))


def test_an_output_in_json_beside_one_in_bytes() -> None:
    """The text ends where the header says, and the bytes follow."""
    both = np.empty(MANY, object)
    both[:] = [{"predict": text, "decision_function": 0.5} for text in TEXTS.tolist()]
    asked = InferRequest(ONE, None, [("predict", False), ("decision_function", True)], False)
    body, json_bytes = render(
        asked, Answer(both, "file:///a.joblib#method=predict,decision_function"), "ann"
    )
    texts, numbers = orjson.loads(body[:json_bytes])["outputs"]
    assert texts["data"] == TEXTS.tolist()
    assert numbers["parameters"] == {"binary_data_size": 8 * MANY}
    assert body[json_bytes:] == np.full(MANY, 0.5).tobytes()


@pytest.mark.parametrize(
    "values",
    [TEXTS, TEXTS.reshape(-1, 2), np.array([None, 1, 2.5, "x"] * MANY, object)],
    ids=["texts", "a table", "objects"],
)
def test_many_texts_and_objects_come_from_a_worker(values: np.ndarray) -> None:
    _, (read, after) = arrays.decode(b"".join(arrays.encode({}, [values, np.arange(3)])))
    assert (read.dtype, read.shape, read.tolist()) == (values.dtype, values.shape, values.tolist())
    assert after.tolist() == [0, 1, 2]


@pytest.mark.parametrize("change", [(b'"pieces":[', b'"pieces":[-'), (b'"pieces":[', b'"pieces":[1')])
def test_pieces_that_are_not_there_are_refused(change: tuple[bytes, bytes]) -> None:
    whole = b"".join(arrays.encode({}, [TEXTS]))
    assert change[0] in whole
    with pytest.raises(arrays.Malformed):
        arrays.decode(whole.replace(*change))


def test_nothing_is_joined_to_nothing() -> None:
    assert [joined(b"[", parts, b"]") for parts in ([], [b"1"], [b"1", b"2"])] == [b"[]", b"[1]", b"[1,2]"]


async def test_nothing_old_is_collected_while_large_batches_are_answered() -> None:
    """A collection of everything visits each row of a batch; what is young is collected as ever."""
    before = gc.get_threshold()
    with garbage.spared(1 << 20):
        await asyncio.sleep(0)
        with garbage.spared(1 << 20):
            assert gc.isenabled()
            assert gc.get_threshold()[:2] == before[:2]
            assert gc.get_threshold()[2] > 1 << 20
        assert gc.get_threshold() != before, "the outer one goes on"
    assert gc.get_threshold() == before
    with garbage.spared(100):
        assert gc.get_threshold() == before, "a small one is not worth it"
