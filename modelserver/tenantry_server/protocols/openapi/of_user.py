"""The OpenAPI document of one user's model, as its card has it: names, types, and rows that can be sent."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from tenantry import ModelId
from tenantry_server.cards.card import Card, Form
from tenantry_server.protocols.openapi.operations import SECURITY
from tenantry_server.protocols.openapi.schemas import SCHEMAS, Schema, ref
from tenantry_server.protocols.v2.model_metadata import tensors_of
from tenantry_server.rows.columns import Column, Kind

_JSON = "application/json"
_NATIVE, _V1, _V2 = "Tenantry", "KServe V1", "Open Inference Protocol V2"
_FEW_CATEGORIES = 20
_TYPES: dict[Kind, str] = {
    Kind.NUMBER: "number",
    Kind.INTEGER: "integer",
    Kind.BOOLEAN: "boolean",
    Kind.TEXT: "string",
    Kind.TIME: "string",
}
_ERRORS = {
    "401": "no valid API key or token is shown, where the server asks for one",
    "403": "the key or token is not for this user",
    "404": "no TenantModel names this user any more",
    "422": "the rows are not what the model takes; the message names row and column",
    "429": "more requests than the user's limits allow",
    "500": "the model raised",
    "503": "not now",
    "504": "the model took too long",
}


def document(user_id: str, card: Card, model_id: str) -> dict[str, Any]:
    """Return how this user's model is asked in each protocol, with the card's first row as the example.

    The schemas are those of this model: names of columns, types, and the form of an answer.
    """
    row, answer = card.rows[:1], card.answers[:1]
    named = card.form in (Form.FRAME, Form.RECORDS)
    instances = {"instances": row}
    name = quote(user_id, safe="")
    paths = {
        f"/predict/{name}": _predict(
            _NATIVE, "BareOrNot" if named else "Predictions", row if named else instances,
            answer if named else {"predictions": answer},
        ),
        f"/v1/models/{name}:predict": _predict(
            _V1, "Predictions", instances, {"predictions": answer}, rows="Instances"
        ),
    }  # fmt: skip
    inputs = _inputs(card)
    if inputs:
        paths[f"/v2/models/{name}/infer"] = _predict(
            _V2, "InferResponse", {"inputs": inputs}, None, rows="InferRequest"
        )
    versions = ", ".join(f"{library} {version}" for library, version in card.versions.items())
    exact = ModelId.parse(model_id)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"The model of user {user_id}",
            "version": exact.short,
            "description": f"{card.method} of {exact.uri}, trained with {versions or 'unknown versions'}.",
        },
        "tags": [{"name": each, "description": ""} for each in (_NATIVE, _V1, _V2)],
        "paths": paths,
        "security": [{}, {"bearer": []}],
        "components": {
            "securitySchemes": SECURITY,
            "schemas": SCHEMAS | _schemas(card, exact, named=named),
        },
    }


def _predict(
    tag: str, answered: str, body: Any, example: Any, *, rows: str = "Rows"
) -> dict[str, dict[str, Any]]:
    content: dict[str, Any] = {"schema": ref(answered)}
    if example is not None:
        content["example"] = example
    error = "Error" if tag == _NATIVE else "KServeError"
    errors = {
        status: {"description": words, "content": {_JSON: {"schema": ref(error)}}}
        for status, words in _ERRORS.items()
    }
    return {
        "post": {
            "tags": [tag],
            "summary": "Predict for rows",
            "requestBody": {
                "required": True,
                "content": {_JSON: {"schema": ref(rows), "example": body}},
            },
            "responses": {"200": {"description": "one answer a row", "content": {_JSON: content}}} | errors,
        }
    }


def _schemas(card: Card, exact: ModelId, *, named: bool) -> dict[str, Schema]:
    """Return the schemas of rows and answers that go before the general ones."""
    rows: Schema = {"type": "array", "items": ref("Row")}
    instances: Schema = {
        "type": "object",
        "required": ["instances"],
        "properties": {"instances": rows},
        "additionalProperties": False,
    }
    predictions: Schema = {
        "type": "object",
        "required": ["predictions"],
        "properties": {"predictions": {"type": "array", "items": ref("Prediction")}},
    }
    bare: Schema = {"type": "array", "items": ref("Prediction")}
    return {
        "Row": _row(card, exact),
        "Rows": {"anyOf": [rows, ref("Instances")]} if named else ref("Instances"),
        "Instances": instances,
        "Prediction": _form_of(card.answers) | {"description": f"What {card.method} gives."},
        "Predictions": predictions,
        "BareOrNot": {"anyOf": [bare, ref("Predictions")]},
    }


def _row(card: Card, exact: ModelId) -> Schema:
    if card.form is Form.RECORDS:
        names = ", ".join(column.name for column in card.columns)
        return {"type": "object", "description": f"Any names; where it was trained: {names}."}
    properties = {column.name: _cell(column, card) for column in card.columns}
    if card.form is Form.FRAME:
        return {
            "type": "object",
            "description": "null is a missing value, for models that take one.",
            "required": list(properties),
            "properties": properties,
            "additionalProperties": exact.extra_columns == "ignore",
        }
    cells = [_cell(column, card) for column in card.columns]
    return {"type": "array", "prefixItems": cells, "minItems": len(cells), "maxItems": len(cells)}


def _cell(column: Column, card: Card) -> Schema:
    """Return the type of a column, and what it held where the model was trained."""
    seen = card.statistics.get(column.name, {})
    words = [column.dtype] if column.dtype else []
    if "min" in seen and "max" in seen:
        words.append(f"{seen['min']:g} to {seen['max']:g} where it was trained")
    if column.kind is Kind.TIME:
        words.append("ISO 8601")
    schema: Schema = {}
    if column.kind is Kind.CATEGORY:
        schema = {
            "type": _type_of(column.categories),
            "examples": list(column.categories[:_FEW_CATEGORIES]),
        }
        words.append("anything but its categories is a missing value")
    elif column.kind in _TYPES:
        schema = {"type": [_TYPES[column.kind], "null"]}
    return schema | ({"description": "; ".join(words)} if words else {})


def _type_of(categories: Sequence[Any]) -> list[str]:
    first = next(iter(categories), "")
    if isinstance(first, bool):
        return ["boolean", "null"]
    return ["string" if isinstance(first, str) else "number", "null"]


def _form_of(answers: Sequence[Any]) -> Schema:
    """Return the form that all of these answers have; an empty one where they differ."""
    if not answers:
        return {}
    if all(isinstance(answer, dict) for answer in answers):
        names = list(answers[0])
        properties = {name: _form_of([answer.get(name) for answer in answers]) for name in names}
        return {"type": "object", "required": names, "properties": properties}
    if all(isinstance(answer, list) for answer in answers):
        counts = {len(answer) for answer in answers}
        items = _form_of([each for answer in answers for each in answer])
        width = {"minItems": counts.pop(), "maxItems": len(answers[0])} if len(counts) == 1 else {}
        return {"type": "array", "items": items} | width
    kinds = {_kind_of(answer) for answer in answers} - {"null"}
    return {"type": [*sorted(kinds), "null"]} if kinds and "" not in kinds else {}


def _kind_of(answer: Any) -> str:
    if answer is None:
        return "null"
    if isinstance(answer, bool):
        return "boolean"
    if isinstance(answer, int | float):
        return "number"
    return "string" if isinstance(answer, str) else ""


def _inputs(card: Card) -> list[dict[str, Any]]:
    """Return the first row as tensors; none where it has no such form."""
    if not card.rows or card.form is Form.RECORDS:
        return []
    tensors = tensors_of(card)
    if card.form is not Form.FRAME:
        (tensor,) = tensors
        return [tensor | {"shape": [1, len(card.columns)], "data": card.rows[0]}]
    return [tensor | {"shape": [1, 1], "data": [card.rows[0][tensor["name"]]]} for tensor in tensors]
