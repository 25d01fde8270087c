"""The body of a V2 inference response: JSON, or JSON with the output's bytes behind it. Knows no HTTP."""

from typing import Any

import numpy as np
import orjson

from tenantry import ModelId
from tenantry.errors import InvalidRequest
from tenantry_server.predicting.dataplane import Answer
from tenantry_server.protocols.v2.infer_request import InferRequest
from tenantry_server.rows import datatypes
from tenantry_server.rows.payload import short

_DEFAULT_OUTPUT = "predict"
_METHOD_MARK = "method="


def output_name(model_id: str) -> str:
    """The one output of a model: the method that is called on it."""
    if _METHOD_MARK not in model_id:  # parsing takes longer than most small models
        return _DEFAULT_OUTPUT
    return ModelId.parse(model_id).method or _DEFAULT_OUTPUT


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
    name = output_name(answer.model_id)
    binary = asked.binary if asked.outputs is None else _wanted(asked.outputs, name)
    datatype, values = datatypes.tensor_of(answer.predictions)
    output: dict[str, Any] = {"name": name, "shape": answer.predictions.shape, "datatype": datatype}
    data = b""
    if binary:
        data = values.tobytes() if isinstance(values, np.ndarray) else datatypes.pack_texts(values)
        output["parameters"] = {"binary_data_size": len(data)}
    else:
        output["data"] = values.reshape(-1) if isinstance(values, np.ndarray) else values
    document = {"model_name": user_id, "model_version": version_of(answer.model_id), "outputs": [output]}
    if asked.request_id is not None:
        document["id"] = asked.request_id
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return (text + data, len(text)) if binary else (text, None)


def _wanted(outputs: list[tuple[str, bool]], name: str) -> bool:
    """Return whether the one output is to be binary."""
    for asked, _ in outputs:
        if asked != name:
            raise InvalidRequest(f"there is no output {short(asked)}; this model has {name!r}")
    if len(outputs) > 1:
        raise InvalidRequest(f"output {name!r} is requested twice")
    return outputs[0][1]
