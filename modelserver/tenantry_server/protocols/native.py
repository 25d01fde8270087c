"""Tenantry's own protocol: `POST /predict/{user_id}`, and `GET /cards/{user_id}`: what a model takes."""

from aiohttp import web

from tenantry.errors import CardNotFound
from tenantry_server.protocols.service import Service
from tenantry_server.protocols.service import answer as answer_with
from tenantry_server.rows.json_payload import parse
from tenantry_server.scoring.results import to_json
from tenantry_server.wire import bodies, headers

CARDS = "/cards/{user_id}"
PATH = "/predict/{user_id}"


def routes(service: Service) -> list[web.RouteDef]:
    """Return the routes of this protocol."""

    async def predict(request: web.Request) -> web.Response:
        body = await bodies.whole(request)
        payload = await service.read(body, parse)
        user_id, timeout_s = request.match_info["user_id"], service.timeout_s(request)
        answer = await service.predict(user_id, payload, timeout_s=timeout_s, body=body)
        return web.Response(
            body=await service.write(answer, lambda: to_json(answer.predictions, bare=payload.bare)),
            content_type="application/json",
            headers={headers.MODEL_ID: headers.value_of(answer.model_id)},
        )

    async def card(request: web.Request) -> web.Response:
        user_id = request.match_info["user_id"]
        found, model_id = await service.plane.card_of(user_id)
        if found is None:
            raise CardNotFound(user_id)
        return answer_with(found.to_json(), model_id)

    return [web.post(PATH, predict), web.get(CARDS, card)]
