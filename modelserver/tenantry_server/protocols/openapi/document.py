"""The OpenAPI 3.1 document of everything that a model server answers, written by hand."""

from typing import Any

import tenantry
from tenantry_server.protocols.openapi.schemas import SCHEMAS, ref

_TITLE = "Tenantry model server"
_ABOUT = (
    "One model for each user. Every protocol below asks the same models; a model's name is the user id."
)

_MEANING = {
    "400": "the body can't be read, for instance as it is not the gzip that its headers announce",
    "404": "no TenantModel names this user, or its model has no card",
    "408": "the body did not arrive in time",
    "413": "the body is too large, compressed or not",
    "422": "the body can't be understood, or its rows are not what the model takes",
    "500": "the model raised, or ended servers",
    "503": "not now: the model has not loaded yet or can't be loaded, the registry does not answer, or too "
    "many bodies arrive at once",
    "504": "the model took too long",
    "507": "the model is larger than the whole cache",
}
_OF_A_BODY = ("400", "408", "413", "422")
_OF_A_USER = ("404", "503")
_OF_A_MODEL = (*_OF_A_USER, "500", "504", "507")
_USER = {"name": "user_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_OF_USER = {
    "name": "user",
    "in": "query",
    "description": "Describe this user's model alone, as its card has it.",
    "schema": {"type": "string", "minLength": 1},
}
_VERSION = {
    "name": "version",
    "in": "path",
    "required": True,
    "description": "The version that answers, as metadata and answers name it; any other is 404.",
    "schema": {"type": "string", "minLength": 1},
}
_JSON_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "Bytes of the JSON part, where binary tensors follow it.",
    "schema": {"type": "integer", "minimum": 0},
}
_MODEL_ID = {"Tenantry-Model-Id": {"description": "exactly which model", "schema": {"type": "string"}}}
_ROWS = {"instances": [{"km": 12.0, "hour": 8}]}
_TENSORS = {
    "id": "42",
    "inputs": [{"name": "input", "datatype": "FP64", "shape": [1, 2], "data": [12.0, 8.0]}],
}

Operation = dict[str, Any]


def document() -> dict[str, Any]:
    """Return the document, with examples that a client can send."""
    return {
        "openapi": "3.1.0",
        "info": {"title": _TITLE, "version": tenantry.__version__, "description": _ABOUT},
        "tags": [
            {"name": "Tenantry", "description": "The server's own protocol, probes and metrics."},
            {"name": "KServe V1", "description": "As KServe and TensorFlow Serving speak it."},
            {
                "name": "Open Inference Protocol V2",
                "description": "As Triton, KServe and MLServer speak it.",
            },
        ],
        "paths": {**_own(), **_v1(), **_v2(), **_v2_models()},
        "components": {"schemas": SCHEMAS},
    }


def _own() -> dict[str, Any]:
    tag = "Tenantry"
    predict = _operation(
        tag,
        "Predict for rows",
        _json("BareOrNot", [3.5]),
        errors=(*_OF_A_BODY, *_OF_A_MODEL),
        parameters=[_USER],
        body=_json("Rows", [{"km": 12.0, "hour": 8}]),
        of_model=True,
    )
    card = _operation(
        tag,
        "What a user's model takes, and example rows with their answers",
        {"application/json": {"schema": {"type": "object"}}},
        errors=_OF_A_USER,
        parameters=[_USER],
        of_model=True,
    )
    live = _operation(tag, "Whether the server is alive", _json("Status", {"status": "ok"}))
    ready = _operation(
        tag, "Whether to send requests here", _json("Status", {"status": "ready"}), errors=("503",)
    )
    metrics = _operation(tag, "Prometheus metrics", {"text/plain": {"schema": {"type": "string"}}})
    described = _operation(
        tag,
        "This document, or that of one user's model",
        {"application/json": {"schema": {"type": "object"}}},
        errors=_OF_A_USER,
        parameters=[_OF_USER],
    )
    page = _operation(tag, "This document as a page", {"text/html": {"schema": {"type": "string"}}})
    return {
        "/predict/{user_id}": {"post": predict},
        "/cards/{user_id}": {"get": card},
        "/healthz": {"get": live},
        "/readyz": {"get": ready},
        "/metrics": {"get": metrics},
        "/openapi.json": {"get": described},
        "/docs": {"get": page},
    }


def _v1() -> dict[str, Any]:
    tag = "KServe V1"
    alive = _operation(tag, "Whether a V1 server lives", _json("Status", {"status": "alive"}))
    models = _operation(
        tag, "Every user that has a model", _json("V1Models", {"models": ["ann"]}), errors=("503",)
    )
    ready = _operation(
        tag,
        "Whether a user has a model",
        _json("ModelReady", {"name": "ann", "ready": True}),
        errors=_OF_A_USER,
        parameters=[_USER],
        of_model=True,
    )
    predict = _operation(
        tag,
        "Predict for instances",
        _json("Predictions", {"predictions": [3.5]}),
        errors=(*_OF_A_BODY, *_OF_A_MODEL),
        parameters=[_USER],
        body=_json("Rows", _ROWS),
        of_model=True,
    )
    return {
        "/": {"get": alive},
        "/v1/models": {"get": models},
        "/v1/models/{user_id}": {"get": ready},
        "/v1/models/{user_id}:predict": {"post": predict},
    }


def _v2() -> dict[str, Any]:
    tag = "Open Inference Protocol V2"
    about = {"name": "tenantry", "version": tenantry.__version__, "extensions": ["binary_tensor_data"]}
    server = _operation(tag, "About this server", _json("ServerMetadata", about))
    live = _operation(tag, "Whether the server is alive", _json("Live", {"live": True}))
    ready = _operation(
        tag, "Whether to send requests here", _json("Ready", {"ready": True}), errors=("503",)
    )
    entry = {"name": "ann", "version": "9f86d081", "state": "READY", "reason": ""}
    index = _operation(
        tag,
        "Every user that has a model, and whether it is in memory",
        _json("Index", [entry]),
        errors=(*_OF_A_BODY, "503"),
        body=_json("IndexRequest", {"ready": True}),
        body_required=False,
    )
    load, unload = (
        _operation(
            tag,
            summary,
            {},
            errors=(*_OF_A_BODY, *_OF_A_USER, *more),
            parameters=[_USER],
            body=_json("RepositoryRequest", {}),
            body_required=False,
            of_model=True,
        )
        for summary, more in (
            ("Load a model before it is asked for", ("507",)),
            ("Drop a model until it is asked for again", ()),
        )
    )
    return {
        "/v2": {"get": server},
        "/v2/health/live": {"get": live},
        "/v2/health/ready": {"get": ready},
        "/v2/repository/index": {"post": index},
        "/v2/repository/models/{user_id}/load": {"post": load},
        "/v2/repository/models/{user_id}/unload": {"post": unload},
    }


def _v2_models() -> dict[str, Any]:
    """Return the path with and without a version."""
    tag = "Open Inference Protocol V2"
    output = {"name": "predict", "datatype": "FP64", "shape": [1], "data": [3.5]}
    answered = {"model_name": "ann", "model_version": "9f86d081", "id": "42", "outputs": [output]}
    binary = {"application/octet-stream": {"schema": {"type": "string", "contentEncoding": "binary"}}}
    tensors = {"datatype": "FP64", "shape": [-1, 2]}
    described = {
        "name": "ann",
        "versions": ["9f86d081"],
        "platform": "tenantry_sklearn",
        "inputs": [{"name": "input"} | tensors],
        "outputs": [{"name": "predict", "datatype": "FP64", "shape": [-1]}],
        "feature_names": ["km", "hour"],
    }
    paths: dict[str, Any] = {}
    for suffix, parameters in (("", [_USER]), ("/versions/{version}", [_USER, _VERSION])):
        base = f"/v2/models/{{user_id}}{suffix}"
        paths[f"{base}/infer"] = {
            "post": _operation(
                tag,
                "Predict for tensors",
                _json("InferResponse", answered) | binary,
                errors=(*_OF_A_BODY, *_OF_A_MODEL),
                parameters=[*parameters, _JSON_LENGTH],
                body=_json("InferRequest", _TENSORS) | binary,
                of_model=True,
            )
        }
        paths[base] = {
            "get": _operation(
                tag,
                "The inputs and outputs of a model",
                _json("ModelMetadata", described),
                errors=(*_OF_A_USER, "507"),
                parameters=parameters,
                of_model=True,
            )
        }
        paths[f"{base}/ready"] = {
            "get": _operation(
                tag,
                "Whether a user has a model",
                _json("ModelReady", {"name": "ann", "ready": True}),
                errors=_OF_A_USER,
                parameters=parameters,
                of_model=True,
            )
        }
    return paths


def _operation(  # noqa: PLR0913 - each by name, and most have a default
    tag: str,
    summary: str,
    content: dict[str, Any],
    *,
    errors: tuple[str, ...] = (),
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
    body_required: bool = True,
    of_model: bool = False,
) -> Operation:
    answered: dict[str, Any] = {"description": summary}
    if content:
        answered["content"] = content
    if of_model:
        answered["headers"] = _MODEL_ID
    error = "Error" if tag == "Tenantry" else "KServeError"
    responses = {"200": answered} | {
        status: {
            "description": _MEANING[status],
            "content": {"application/json": {"schema": ref(error)}},
        }
        for status in sorted(errors)
    }
    operation: Operation = {"tags": [tag], "summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if body:
        operation["requestBody"] = {"required": body_required, "content": body}
    return operation


def _json(schema: str, example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": ref(schema), "example": example}}
