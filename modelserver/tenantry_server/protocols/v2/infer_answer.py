"""The body of a V2 inference response: JSON, or JSON with the outputs' bytes behind it. Knows no HTTP."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from tenantry import ModelId
from tenantry.errors import InvalidRequest
from tenantry.model import Predictions
from tenantry.model_id import DEFAULT_METHOD
from tenantry_server.predicting.answer import Answer
from tenantry_server.rows import datatypes
from tenantry_server.rows.infer_request import InferRequest
from tenantry_server.rows.payload import short
from tenantry_server.scoring import results

_DEFAULT_OUTPUTS = (DEFAULT_METHOD,)
_METHOD_MARK = "method="


def output_names(model_id: str) -> tuple[str, ...]:
    """The outputs of a model: the methods that are called on it."""
    if _METHOD_MARK not in model_id:  # parsing takes longer than most small models
        return _DEFAULT_OUTPUTS
    return ModelId.parse(model_id).methods


def version_of(model_id: str) -> str:
    """Return the version that a client sees: the start of the pinned digest, or of the store's version.

    Example:
        >>> version_of("s3://models/a.joblib#sha256=" + "9f86d081" * 8)
        '9f86d081'
        >>> version_of("file:///models/a.joblib")
        'unpinned'
    """
    digest = model_id.rfind("#sha256=")
    if digest >= 0:  # the operator pins most of them; the same as below, in a fiftieth of the time
        return model_id[digest + 8 : digest + 16]
    return ModelId.parse(model_id).short


def render(asked: InferRequest, answer: Answer, user_id: str) -> tuple[bytes, int | None]:
    """Write an answer in the requested form.

    Returns:
        the body, and the length of its JSON part where bytes follow it, else None.

    Raises:
        InvalidRequest: the request names an output that the model does not have.
        PredictionFailed: the predictions are of a type that no tensor has.
    """
    names = output_names(answer.model_id)
    wanted = dict.fromkeys(names, asked.binary) if asked.outputs is None else _wanted(asked.outputs, names)
    given = results.by_method(answer.predictions, names)
    outputs, binary, in_pieces = [], [], False
    for name, is_binary in wanted.items():
        output, data = _tensor(name, given[name], binary=is_binary)
        outputs.append(output)
        if data is not None:
            binary.append(data)
        elif type(output["data"]) is bytes:
            in_pieces = True
    document = {"model_name": user_id, "model_version": version_of(answer.model_id), "outputs": outputs}
    if asked.request_id is not None:
        document["id"] = asked.request_id
    text = _joined(document) if in_pieces else orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([text, *binary]), len(text)) if binary else (text, None)


def _tensor(name: str, predictions: Predictions, *, binary: bool) -> tuple[dict[str, Any], bytes | None]:
    """Return one output, and its bytes where it is to be binary."""
    datatype, values = datatypes.tensor_of(predictions)
    output: dict[str, Any] = {"name": name, "shape": predictions.shape, "datatype": datatype}
    if binary:
        data = values.tobytes() if isinstance(values, np.ndarray) else datatypes.pack_texts(values)
        output["parameters"] = {"binary_data_size": len(data)}
        return output, data
    flat = values.reshape(-1) if isinstance(values, np.ndarray) else values
    text = results.list_as_json(flat) if len(flat) > results.AT_ONCE else None
    output["data"] = flat if text is None else text
    return output, None


def _joined(document: dict[str, Any]) -> bytes:
    """Write a document, some of whose outputs have data that is JSON already."""
    outputs = []
    for output in document["outputs"]:
        data = output.get("data")
        if type(data) is bytes:
            about = {name: value for name, value in output.items() if name != "data"}
            outputs.append(b"".join((orjson.dumps(about)[:-1], b',"data":', data, b"}")))
        else:
            outputs.append(orjson.dumps(output, option=orjson.OPT_SERIALIZE_NUMPY))
    rest = {name: value for name, value in document.items() if name != "outputs"}
    before = {name: rest.pop(name) for name in ("model_name", "model_version")}
    end = b"]," + orjson.dumps(rest)[1:] if rest else b"]}"
    return results.joined(orjson.dumps(before)[:-1] + b',"outputs":[', outputs, end)


def _wanted(outputs: list[tuple[str, bool]], names: Sequence[str]) -> dict[str, bool]:
    """Return which outputs are requested, and whether each is to be binary."""
    wanted: dict[str, bool] = {}
    for asked, binary in outputs:
        if asked not in names:
            has = " and ".join(map(repr, names))
            raise InvalidRequest(f"there is no output {short(asked)}; this model has {has}")
        if asked in wanted:
            raise InvalidRequest(f"output {asked!r} is requested twice")
        wanted[asked] = binary
    return wanted
