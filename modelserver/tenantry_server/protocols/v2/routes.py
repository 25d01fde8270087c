"""Open Inference Protocol V2 over HTTP: inference, metadata, readiness, and the model repository.

A tenant has one version at a time, named by the start of its digest. A path may name that version; any
other is refused. Loading warms a model up, and unloading drops it until the next request: only TenantModels
declare which models there are.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import hdrs, web

import tenantry
from tenantry.errors import InvalidRequest, RegistryUnavailable, VersionNotFound
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.protocols.service import Service, answer, read_body
from tenantry_server.protocols.v2 import model_metadata
from tenantry_server.protocols.v2.infer_answer import render, version_of
from tenantry_server.wire import headers
from tenantry_server.wire.answers import LargeAnswer
from tenantry_server.wire.heads import JSON_LENGTH

_EXTENSIONS = ["binary_tensor_data", "model_repository"]


def routes(service: Service) -> list[web.RouteDef]:
    """Return everything below ``/v2``."""

    async def infer(request: web.Request) -> web.Response:
        body = await read_body(request)
        asked = await service.infer(body, request.headers.get(JSON_LENGTH))
        user_id = request.match_info["user_id"]
        timeout_s = service.timeout_s(request)
        given = await service.predict(user_id, asked.tensors, timeout_s=timeout_s, body=body)
        _check_version(request, given.model_id)
        content, json_bytes = await service.write(given, lambda: render(asked, given, user_id))
        if json_bytes is None:
            return answer(content, given.model_id)
        sent = {
            hdrs.CONTENT_TYPE: "application/octet-stream",
            JSON_LENGTH: str(json_bytes),
            headers.MODEL_ID: headers.value_of(given.model_id),
        }
        return LargeAnswer(body=content, headers=sent)

    async def metadata(request: web.Request) -> web.Response:
        user_id = request.match_info["user_id"]
        timeout_s = service.timeout_s(request)
        model, model_id = await service.plane.models.model_of(user_id, timeout_s=timeout_s)
        _check_version(request, model_id)
        timeout_s = service.timeout_s(request)
        described = await model_metadata.describe(service, user_id, model, model_id, timeout_s=timeout_s)
        return answer(orjson.dumps(described), model_id)

    async def model_ready(request: web.Request) -> web.Response:
        user_id = request.match_info["user_id"]
        model_id = await service.plane.models.model_id_of(user_id)
        _check_version(request, model_id)
        return answer(orjson.dumps({"name": user_id, "ready": True}), model_id)

    return [
        web.post("/v2/models/{user_id}/infer", infer),
        web.post("/v2/models/{user_id}/versions/{version}/infer", infer),
        web.get("/v2/models/{user_id}", metadata),
        web.get("/v2/models/{user_id}/versions/{version}", metadata),
        web.get("/v2/models/{user_id}/ready", model_ready),
        web.get("/v2/models/{user_id}/versions/{version}/ready", model_ready),
        *_server_routes(service),
        *_repository_routes(service),
    ]


def _server_routes(service: Service) -> list[web.RouteDef]:
    async def server(_request: web.Request) -> web.Response:
        about = {"name": "tenantry", "version": tenantry.__version__, "extensions": _EXTENSIONS}
        return answer(orjson.dumps(about))

    async def live(_request: web.Request) -> web.Response:
        return answer(b'{"live":true}')

    async def ready(_request: web.Request) -> web.Response:
        if not service.ready():
            raise RegistryUnavailable(
                "this server is not ready yet: it is reading the registry, or prewarming models"
            )
        return answer(b'{"ready":true}')

    return [web.get("/v2", server), web.get("/v2/health/live", live), web.get("/v2/health/ready", ready)]


def _repository_routes(service: Service) -> list[web.RouteDef]:
    async def index(request: web.Request) -> web.Response:
        only_ready = (await _document(request)).get("ready", False)
        if not isinstance(only_ready, bool):
            raise InvalidRequest("'ready' must be true or false")
        assigned = await service.plane.models.assigned()
        return answer(await asyncio.to_thread(_index, service.plane, assigned, only_ready))

    async def load(request: web.Request) -> web.Response:
        if (await _document(request)).get("parameters"):
            raise InvalidRequest(
                "TenantModels declare what is loaded: leave 'parameters' out, and apply a manifest"
            )
        user_id, timeout_s = request.match_info["user_id"], service.timeout_s(request)
        _, model_id = await service.plane.models.model_of(user_id, timeout_s=timeout_s)
        return answer(b"", model_id)

    async def unload(request: web.Request) -> web.Response:
        await _document(request)
        model_id = await service.plane.models.model_id_of(request.match_info["user_id"])
        service.plane.models.unload(model_id)
        return answer(b"", model_id)

    return [
        web.post("/v2/repository/index", index),
        web.post("/v2/repository/models/{user_id}/load", load),
        web.post("/v2/repository/models/{user_id}/unload", unload),
    ]


def _index(plane: DataPlane, assigned: Mapping[str, str | None], only_ready: bool) -> bytes:
    """Write the index, in a thread: a hundred thousand users take a second."""
    entries = []
    for user_id, model_id in assigned.items():
        loaded = model_id is not None and plane.models.is_loaded(model_id)
        if only_ready and not loaded:
            continue
        entry = {"name": user_id, "state": "READY" if loaded else "UNAVAILABLE", "reason": ""}
        if model_id is None:
            entry["reason"] = "no version has loaded yet"
        else:
            entry["version"] = version_of(model_id)
            entry["reason"] = "" if loaded else "not in memory; the next request loads it"
        entries.append(entry)
    return orjson.dumps(entries)


def _check_version(request: web.Request, model_id: str) -> None:
    asked = request.match_info.get("version")
    if asked is not None and asked != version_of(model_id):
        raise VersionNotFound(request.match_info["user_id"], asked, version_of(model_id))


async def _document(request: web.Request) -> dict[str, Any]:
    """Read the optional JSON object of a request that is not a prediction."""
    body = await read_body(request)
    if not body:
        return {}
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidRequest("the body must be a JSON object, or empty")
    return document
