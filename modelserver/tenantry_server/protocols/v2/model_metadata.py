"""V2 metadata of a model: the tensors that it takes and those that it gives."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tenantry import Model, ModelId, TenantryError
from tenantry.errors import PredictionFailed, UnknownFormat
from tenantry.model import Predictions
from tenantry_server import formats
from tenantry_server.cards.card import Card
from tenantry_server.protocols.service import Service
from tenantry_server.protocols.v2.infer_answer import output_names, version_of
from tenantry_server.rows import datatypes
from tenantry_server.rows.columns import Column, Kind
from tenantry_server.rows.tensors import Tensor, Tensors
from tenantry_server.scoring import results

MATRIX = "input"  # a name for the one tensor that may have any name
_ANY = -1
_DATATYPES = {Kind.NUMBER: "FP64", Kind.INTEGER: "INT64", Kind.BOOLEAN: "BOOL"}


async def describe(
    service: Service, user_id: str, model: Model, model_id: str, *, timeout_s: float
) -> dict[str, Any]:
    """Return a $metadata_model_response, with ``feature_names`` where the model has some.

    Names and datatypes are those of the model's card. Without one, the datatype of the answer is that of
    one row of zeros, where the model only computes, and else FP64.
    """
    card, _ = await service.plane.models.card_of(user_id)
    outputs = None if card is None else _answered(card, model_id)
    described: dict[str, Any] = {
        "name": user_id,
        "versions": [version_of(model_id)],
        "platform": _platform(model_id),
        "inputs": _inputs(model) if card is None or card.names is None else tensors_of(card),
        "outputs": outputs or await _outputs(service, user_id, model, model_id, timeout_s),
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


def tensors_of(card: Card) -> list[dict[str, Any]]:
    """Return a tensor for each column of the training frame; of an array, one for all."""
    if card.names is None:
        datatype = "FP64" if card.is_numeric else datatypes.TEXT
        return [{"name": MATRIX, "datatype": datatype, "shape": [_ANY, len(card.columns)]}]
    return [
        {"name": column.name, "datatype": _datatype(column), "shape": [_ANY, 1]} for column in card.columns
    ]


def _datatype(column: Column) -> str:
    example = next(iter(column.categories), "")
    if column.kind is Kind.CATEGORY and not isinstance(example, str):
        return "BOOL" if isinstance(example, bool) else "FP64" if isinstance(example, float) else "INT64"
    return _DATATYPES.get(column.kind, datatypes.TEXT)


def _answered(card: Card, model_id: str) -> list[dict[str, Any]] | None:
    """Return the outputs as the card's answers have them; None: of other methods, or irregular."""
    names = output_names(model_id)
    if card.method != ",".join(names) or not card.answers:
        return None
    try:
        return _tensors(results.by_method(results.as_array(card.answers), names))
    except (ValueError, PredictionFailed):
        return None


def _tensors(outputs: Mapping[str, Predictions]) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": datatypes.tensor_of(given)[0], "shape": [_ANY, *given.shape[1:]]}
        for name, given in outputs.items()
    ]


async def _outputs(
    service: Service, user_id: str, model: Model, model_id: str, timeout_s: float
) -> list[dict[str, Any]]:
    names = output_names(model_id)
    width = _width(model)
    if model.numeric and width and not model.may_block:
        zeros = Tensors([Tensor(MATRIX, 1, width, np.zeros(width))])
        try:
            given = (await service.predict(user_id, zeros, timeout_s=timeout_s)).predictions
            return _tensors(results.by_method(given, names))
        except TenantryError:
            pass  # zeros may lie outside what it takes
    return [{"name": name, "datatype": "FP64", "shape": [_ANY]} for name in names]


def _width(model: Model) -> int | None:
    if model.feature_count is None and model.feature_names is not None:
        return len(model.feature_names)
    return model.feature_count
