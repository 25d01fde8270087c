"""Tenantry's own protocol for forecasts: `POST` and `GET /forecast/{user_id}`."""

from typing import Any

import orjson
from aiohttp import web

from tenantry.forecaster import MEAN
from tenantry.model import Predictions
from tenantry_server.protocols.service import Service, answer, read_body
from tenantry_server.rows import forecast_request
from tenantry_server.rows.forecast_request import TIME, ForecastRequest
from tenantry_server.scoring.results import joined

PATH = "/forecast/{user_id}"
_AT_ONCE = 256  # steps: a millisecond or less


def routes(service: Service) -> list[web.RouteDef]:
    """Return the routes of this protocol."""

    async def post(request: web.Request) -> web.Response:
        body = await read_body(request)
        return await answered(request, await service.forecast(body))

    async def get(request: web.Request) -> web.Response:
        return await answered(request, forecast_request.of_query(list(request.query.items())))

    async def answered(request: web.Request, asked: ForecastRequest) -> web.Response:
        user_id, timeout_s = request.match_info["user_id"], service.timeout_s(request)
        given = await service.plane.predict(user_id, asked, timeout_s=timeout_s)
        content = await service.write(given, lambda: _written(asked, given.predictions))
        return answer(content, given.model_id)

    return [web.post(PATH, post), web.get(PATH, get, allow_head=False)]


def _written(asked: ForecastRequest, predictions: Predictions) -> bytes:
    names = (TIME, MEAN, *map(str, asked.quantiles))
    written = []
    for first in range(0, len(predictions), _AT_ONCE):
        some = predictions[first : first + _AT_ONCE].tolist()
        steps: list[dict[str, Any]] = [dict(zip(names, step, strict=True)) for step in some]
        written.append(orjson.dumps(steps)[1:-1])
    return joined(b'{"forecast":[', written, b"]}")
