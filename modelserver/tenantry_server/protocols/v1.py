"""KServe's V1 protocol: ``:predict`` on instances, a list of models, and whether one is there."""

import orjson
from aiohttp import web

from tenantry_server.protocols import class_names
from tenantry_server.protocols.service import Service, answer, read_body
from tenantry_server.scoring.results import to_json


def routes(service: Service) -> list[web.RouteDef]:
    """Return ``/v1/models…``, and ``/``, where KServe's client asks whether a V1 server lives."""

    async def alive(_request: web.Request) -> web.Response:
        return answer(orjson.dumps({"status": "alive"}))

    async def models(_request: web.Request) -> web.Response:
        assigned = await service.plane.models.assigned()
        return answer(orjson.dumps({"models": list(assigned)}))

    async def ready(request: web.Request) -> web.Response:
        user_id = request.match_info["user_id"]
        model_id = await service.plane.models.model_id_of(user_id)
        return answer(orjson.dumps({"name": user_id, "ready": True}), model_id)

    async def predict(request: web.Request) -> web.Response:
        body = await read_body(request)
        payload = await service.rows(body)
        user_id, timeout_s = request.match_info["user_id"], service.timeout_s(request)
        if class_names.are_asked(request):
            given = await class_names.predict(service, user_id, payload, timeout_s=timeout_s, body=body)
        else:
            given = await service.predict(user_id, payload, timeout_s=timeout_s, body=body)
        content = await service.write(given, lambda: to_json(given.predictions, bare=False))
        return answer(content, given.model_id)

    return [
        web.get("/", alive),
        web.get("/v1/models", models),
        web.get("/v1/models/{user_id}", ready),
        web.post("/v1/models/{user_id}:predict", predict),
    ]
