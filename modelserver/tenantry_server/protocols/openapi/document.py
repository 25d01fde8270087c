"""The OpenAPI 3.1 document of everything that a model server answers, written by hand."""

from typing import Any

import tenantry
from tenantry_server.protocols.openapi import batches, forecasts, tenants
from tenantry_server.protocols.openapi.operations import (
    OF_A_BODY,
    OF_A_MODEL,
    OF_A_USER,
    SECURITY,
    USER,
    json_content,
    operation,
)
from tenantry_server.protocols.openapi.schemas import SCHEMAS

_TITLE = "Tenantry model server"
_ABOUT = (
    "One model for each user. Every protocol below asks the same models; a model's name is the user id."
)

_OF_USER = {
    "name": "user",
    "in": "query",
    "description": "Describe this user's model alone, as its card has it.",
    "schema": {"type": "string", "minLength": 1},
}
_CLASSES = {
    "name": "classes",
    "in": "query",
    "description": "An object for each list of probabilities, with the names of classes that the card has.",
    "schema": {"const": "names"},
}
_VERSION = {
    "name": "version",
    "in": "path",
    "required": True,
    "description": "The version that answers, as metadata and answers name it; any other is 404.",
    "schema": {"type": "string", "minLength": 1},
}
_KNOWN_MAP = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag of the map that the client has; 304 while it is the same.",
    "schema": {"type": "string"},
}
_JSON_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "Bytes of the JSON part, where binary tensors follow it.",
    "schema": {"type": "integer", "minimum": 0},
}
_ROWS = {"instances": [{"km": 12.0, "hour": 8}]}
_TENSORS = {
    "id": "42",
    "inputs": [{"name": "input", "datatype": "FP64", "shape": [1, 2], "data": [12.0, 8.0]}],
}


def document() -> dict[str, Any]:
    """Return the document, with examples that a client can send."""
    return {
        "openapi": "3.1.0",
        "info": {"title": _TITLE, "version": tenantry.__version__, "description": _ABOUT},
        "tags": [
            {"name": "Tenantry", "description": "The server's own protocol, probes and metrics."},
            {"name": "Forecasts", "description": "Models of one series, asked for a horizon."},
            {"name": "KServe time series", "description": "As KServe's forecasting runtime speaks it."},
            {"name": "KServe V1", "description": "As KServe and TensorFlow Serving speak it."},
            {
                "name": "Open Inference Protocol V2",
                "description": "As Triton, KServe and MLServer speak it.",
            },
        ],
        "paths": {**_own(), **tenants.paths(), **_models()},
        "components": {"schemas": SCHEMAS, "securitySchemes": SECURITY},
        "security": [{}, {"bearer": []}],  # TENANTRY_AUTH says which of them
    }


def _models() -> dict[str, Any]:
    return {**batches.paths(), **forecasts.paths(), **_v1(), **_v2(), **_v2_models()}


def _own() -> dict[str, Any]:
    tag = "Tenantry"
    described = operation(
        tag,
        "This document, or that of one user's model",
        {"application/json": {"schema": {"type": "object"}}},
        errors=OF_A_USER,
        parameters=[_OF_USER],
    )
    shards = operation(
        tag,
        "Which server answers for which user",
        json_content("Shards", {"revision": 7, "servers": [{"id": "a", "url": "http://a"}], "owners": [0]}),
        parameters=[_KNOWN_MAP],
    )
    shards["responses"]["304"] = {"description": "the map is still the one that If-None-Match names"}
    page = operation(tag, "This document as a page", {"text/html": {"schema": {"type": "string"}}})
    return {
        **_of_users(tag),
        **_probes(tag),
        "/openapi.json": {"get": described},
        "/docs": {"get": page},
        "/shards": {"get": shards},
    }


def _of_users(tag: str) -> dict[str, Any]:
    predict = operation(
        tag,
        "Predict for rows",
        json_content("BareOrNot", [3.5]),
        errors=(*OF_A_BODY, *OF_A_MODEL),
        parameters=[USER, _CLASSES],
        body=json_content("Rows", [{"km": 12.0, "hour": 8}]),
        of_model=True,
    )
    card = operation(
        tag,
        "What a user's model takes, and example rows with their answers",
        {"application/json": {"schema": {"type": "object"}}},
        errors=OF_A_USER,
        parameters=[USER],
        of_model=True,
    )
    return {"/predict/{user_id}": {"post": predict}, "/cards/{user_id}": {"get": card}}


def _probes(tag: str) -> dict[str, Any]:
    live = operation(
        tag, "Whether the server is alive", json_content("Status", {"status": "ok"}), guarded=False
    )
    ready = operation(
        tag,
        "Whether to send requests here",
        json_content("Status", {"status": "ready"}),
        errors=("503",),
        guarded=False,
    )
    metrics = operation(tag, "Prometheus metrics", {"text/plain": {"schema": {"type": "string"}}})
    return {"/healthz": {"get": live}, "/readyz": {"get": ready}, "/metrics": {"get": metrics}}


def _v1() -> dict[str, Any]:
    tag = "KServe V1"
    alive = operation(
        tag, "Whether a V1 server lives", json_content("Status", {"status": "alive"}), guarded=False
    )
    models = operation(
        tag, "Every user that has a model", json_content("V1Models", {"models": ["ann"]}), errors=("503",)
    )
    ready = operation(
        tag,
        "Whether a user has a model",
        json_content("ModelReady", {"name": "ann", "ready": True}),
        errors=OF_A_USER,
        parameters=[USER],
        of_model=True,
    )
    predict = operation(
        tag,
        "Predict for instances",
        json_content("Predictions", {"predictions": [3.5]}),
        errors=(*OF_A_BODY, *OF_A_MODEL),
        parameters=[USER, _CLASSES],
        body=json_content("Rows", _ROWS),
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
    server = operation(tag, "About this server", json_content("ServerMetadata", about))
    live = operation(
        tag, "Whether the server is alive", json_content("Live", {"live": True}), guarded=False
    )
    ready = operation(
        tag,
        "Whether to send requests here",
        json_content("Ready", {"ready": True}),
        errors=("503",),
        guarded=False,
    )
    entry = {"name": "ann", "version": "9f86d081", "state": "READY", "reason": ""}
    index = operation(
        tag,
        "Every user that has a model, and whether it is in memory",
        json_content("Index", [entry]),
        errors=(*OF_A_BODY, "503"),
        body=json_content("IndexRequest", {"ready": True}),
        body_required=False,
    )
    load, unload = (
        operation(
            tag,
            summary,
            {},
            errors=(*OF_A_BODY, *OF_A_USER, *more),
            parameters=[USER],
            body=json_content("RepositoryRequest", {}),
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
    for suffix, parameters in (("", [USER]), ("/versions/{version}", [USER, _VERSION])):
        base = f"/v2/models/{{user_id}}{suffix}"
        paths[f"{base}/infer"] = {
            "post": operation(
                tag,
                "Predict for tensors",
                json_content("InferResponse", answered) | binary,
                errors=(*OF_A_BODY, *OF_A_MODEL),
                parameters=[*parameters, _JSON_LENGTH],
                body=json_content("InferRequest", _TENSORS) | binary,
                of_model=True,
            )
        }
        paths[base] = {
            "get": operation(
                tag,
                "The inputs and outputs of a model",
                json_content("ModelMetadata", described),
                errors=(*OF_A_USER, "507"),
                parameters=parameters,
                of_model=True,
            )
        }
        paths[f"{base}/ready"] = {
            "get": operation(
                tag,
                "Whether a user has a model",
                json_content("ModelReady", {"name": "ann", "ready": True}),
                errors=OF_A_USER,
                parameters=parameters,
                of_model=True,
            )
        }
    return paths
