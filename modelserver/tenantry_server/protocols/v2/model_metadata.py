"""V2 metadata of a model: the tensors that it takes and the one that it gives."""

from typing import Any

import numpy as np

from tenantry import Model, ModelId, TenantryError
from tenantry.errors import UnknownFormat
from tenantry_server import formats
from tenantry_server.protocols.service import Service
from tenantry_server.protocols.v2.infer_answer import output_name, version_of
from tenantry_server.rows import datatypes
from tenantry_server.rows.tensors import Tensor, Tensors

MATRIX = "input"  # a name for the one tensor that may have any name
_ANY = -1


async def describe(
    service: Service, user_id: str, model: Model, model_id: str, *, timeout_s: float
) -> dict[str, Any]:
    """Return a $metadata_model_response, with ``feature_names`` where the model has some.

    The datatype of the answer is that of one row of zeros, where the model only computes, and else
    FP64.
    """
    described: dict[str, Any] = {
        "name": user_id,
        "versions": [version_of(model_id)],
        "platform": _platform(model_id),
        "inputs": _inputs(model),
        "outputs": [await _output(service, user_id, model, model_id, timeout_s)],
    }
    if model.feature_names is not None:
        described["feature_names"] = list(model.feature_names)
    return described


def _platform(model_id: str) -> str:
    try:
        return f"tenantry_{formats.format_of(ModelId.parse(model_id)).name}"
    except UnknownFormat:
        return "tenantry"  # a custom repository, whose ids have no suffix


def _inputs(model: Model) -> list[dict[str, Any]]:
    """Return one matrix of numbers, or a tensor for each column of a model that takes a DataFrame."""
    if model.numeric or model.feature_names is None:
        width = _width(model)
        datatype = "FP64" if model.numeric else datatypes.TEXT
        return [{"name": MATRIX, "datatype": datatype, "shape": [_ANY, width or _ANY]}]
    return [{"name": name, "datatype": datatypes.TEXT, "shape": [_ANY, 1]} for name in model.feature_names]


async def _output(
    service: Service, user_id: str, model: Model, model_id: str, timeout_s: float
) -> dict[str, Any]:
    datatype, shape = "FP64", [_ANY]
    width = _width(model)
    if model.numeric and width and not model.may_block:
        zeros = Tensors([Tensor(MATRIX, 1, width, np.zeros(width))])
        try:
            given = (await service.predict(user_id, zeros, timeout_s=timeout_s)).predictions
            datatype, shape = datatypes.tensor_of(given)[0], [_ANY, *given.shape[1:]]
        except TenantryError:
            pass  # zeros may lie outside what it takes
    return {"name": output_name(model_id), "datatype": datatype, "shape": shape}


def _width(model: Model) -> int | None:
    if model.feature_count is None and model.feature_names is not None:
        return len(model.feature_names)
    return model.feature_count
