"""KServe's time-series protocol: ``POST /v1/timeseries/forecast``, and a list of the models.

Read against `kserve.protocol.rest.timeseries` of KServe 0.21. The user is `model` in the body.
"""

import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import orjson
from aiohttp import web

from tenantry.errors import InvalidRequest
from tenantry.model import Predictions
from tenantry_server.protocols.service import SERVICE, Service, answer, read_body
from tenantry_server.rows.series.timeseries import UNIVARIATE, Asked, Series
from tenantry_server.scoring.results import joined

Document: TypeAlias = dict[str, Any]

PREFIX = "/v1/timeseries/"
PATH = f"{PREFIX}forecast"
_ASKED = web.RequestKey("time series", Asked)


def routes(service: Service) -> list[web.RouteDef]:
    """Return the routes of this protocol."""

    async def forecast(request: web.Request) -> web.Response:
        asked = await _read(service, request)
        if asked.refused is not None:
            raise asked.refused
        timeout_s = service.timeout_s(request)
        content: list[bytes] = []
        model_id = None
        for series in asked.series:
            given = await service.plane.predict(asked.user_id, series.asked, timeout_s=timeout_s)
            model_id = given.model_id
            content.append(await service.write(given, partial(_content, series, given.predictions)))
        return answer(_response(asked.user_id, content), model_id)

    async def models(_request: web.Request) -> web.Response:
        return answer(orjson.dumps(list(await service.plane.models.assigned())))

    return [web.post(PATH, forecast), web.get(f"{PREFIX}models", models)]


async def user_id_of(request: web.Request) -> str | None:
    """Return the user that a request's body names; None: it can't be read, which its handler describes.

    Raises:
        TenantryError: the body did not arrive, or took too long to be read.
    """
    try:
        return (await _read(request.app[SERVICE], request)).user_id
    except InvalidRequest:
        return None


async def _read(service: Service, request: web.Request) -> Asked:
    """Read a request once, for its user and for its handler."""
    asked = request.get(_ASKED)
    if asked is None:
        asked = request[_ASKED] = await service.timeseries(await read_body(request))
    return asked


def error(reason: str, message: str) -> Document:
    """Return an error as KServe's own server formats it (`ErrorResponse`)."""
    return {"error": {"code": None, "message": message, "param": None, "type": reason}}


def _content(series: Series, predictions: Predictions) -> bytes:
    """Write the forecast of one series, a column at a time."""
    mean, *quantiles = (predictions[:, place].tolist() for place in range(1, predictions.shape[1]))
    content = {
        "type": UNIVARIATE,
        "name": series.name,
        "mean_forecast": mean,
        "frequency": series.frequency,
        "start_timestamp": str(predictions[0, 0]),
    }
    written = orjson.dumps(content)
    if not series.asked.quantiles:
        return written
    named = zip(map(str, series.asked.quantiles), quantiles, strict=True)
    parts = [b"%b:%b" % (orjson.dumps(name), orjson.dumps(values)) for name, values in named]
    return joined(written[:-1] + b',"quantiles":{', parts, b"}}")


def _response(user_id: str, content: Sequence[bytes]) -> bytes:
    output = {"type": "time_series_forecast", "id": f"forecast-{uuid.uuid4()}", "status": "completed"}
    about = {
        "id": str(uuid.uuid4()),
        "created_at": int(time.time()),
        "status": "completed",
        "error": None,
        "model": user_id,
    }
    begin = orjson.dumps(output)[:-1] + b',"content":['
    outputs = joined(begin, content, b'],"error":null}')
    return b"".join((orjson.dumps(about)[:-1], b',"outputs":[', outputs, b'],"usage":null}'))
