"""Tenantry's own protocol: `POST /predict/{user_id}`, and `GET /cards/{user_id}`: what a model takes."""

from aiohttp import web

from tenantry.errors import CardNotFound
from tenantry_server.protocols import class_names
from tenantry_server.protocols.service import Service, answer
from tenantry_server.scoring.results import to_json
from tenantry_server.wire import bodies

CARDS = "/cards/{user_id}"
PATH = "/predict/{user_id}"


def routes(service: Service) -> list[web.RouteDef]:
    """Return the routes of this protocol."""

    async def predict(request: web.Request) -> web.Response:
        body = await bodies.whole(request)
        payload = await service.rows(body)
        user_id, timeout_s = request.match_info["user_id"], service.timeout_s(request)
        if class_names.are_asked(request):
            given = await class_names.predict(service, user_id, payload, timeout_s=timeout_s, body=body)
        else:
            given = await service.predict(user_id, payload, timeout_s=timeout_s, body=body)
        content = await service.write(given, lambda: to_json(given.predictions, bare=payload.bare))
        return answer(content, given.model_id)

    async def card(request: web.Request) -> web.Response:
        user_id = request.match_info["user_id"]
        found, model_id = await service.plane.models.card_of(user_id)
        if found is None:
            raise CardNotFound(user_id)
        return answer(found.to_json(), model_id)

    return [web.post(PATH, predict), web.get(CARDS, card)]
