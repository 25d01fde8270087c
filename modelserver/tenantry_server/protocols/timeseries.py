"""KServe's time-series protocol: ``POST /v1/timeseries/forecast``, and a list of the models.

Read against `kserve.protocol.rest.timeseries` of KServe 0.21. The user is `model` in the body.
"""

import time
import uuid
from typing import Any, TypeAlias

import orjson
from aiohttp import web

from tenantry.errors import InvalidRequest
from tenantry.forecaster import VALUE
from tenantry_server.protocols.service import Service, answer, read_body
from tenantry_server.rows import forecast_calendar, forecast_request
from tenantry_server.rows.forecast_request import TIME, ForecastRequest
from tenantry_server.rows.payload import refuse_double_keys, short, shown

Document: TypeAlias = dict[str, Any]

PREFIX = "/v1/timeseries/"
PATH = f"{PREFIX}forecast"
_UNIVARIATE = "univariate_time_series"
_MOST_INPUTS = 32
_WANTED: dict[type, str] = {str: "a text", dict: "an object", list: "a list"}


def routes(service: Service) -> list[web.RouteDef]:
    """Return the routes of this protocol."""

    async def forecast(request: web.Request) -> web.Response:
        document = await service.read(await read_body(request), _parsed)
        asked = [_asked(document, each, number) for number, each in enumerate(document["inputs"])]
        timeout_s = service.timeout_s(request)
        content: list[Document] = []
        model_id = None
        for given, question in zip(document["inputs"], asked, strict=True):
            answered = await service.plane.predict(document["model"], question, timeout_s=timeout_s)
            model_id = answered.model_id
            content.append(_content(given, question, answered.predictions.tolist()))
        return answer(orjson.dumps(_response(document["model"], content)), model_id)

    async def models(_request: web.Request) -> web.Response:
        return answer(orjson.dumps(list(await service.plane.models.assigned())))

    return [web.post(PATH, forecast), web.get(f"{PREFIX}models", models)]


async def user_id_of(request: web.Request) -> str | None:
    """Return the user that a request's body names; None: it can't be read, which its handler describes.

    Raises:
        TenantryError: the body did not arrive.
    """
    try:
        return str(_parsed(await read_body(request))["model"])
    except InvalidRequest:
        return None


def error(reason: str, message: str) -> Document:
    """Return an error as KServe's own server formats it (`ErrorResponse`)."""
    return {"error": {"code": None, "message": message, "param": None, "type": reason}}


def _parsed(body: bytes) -> Document:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as failure:
        raise InvalidRequest(f"the body is not JSON: {failure}") from None
    refuse_double_keys(body)
    if not isinstance(document, dict):
        raise InvalidRequest(f"the body must be an object, got {shown(document)}")
    _typed(document, "model", str, "")
    _typed(document, "options", dict, "")
    inputs = _typed(document, "inputs", list, "")
    if not 1 <= len(inputs) <= _MOST_INPUTS:
        raise InvalidRequest(f"inputs must hold 1 to {_MOST_INPUTS} series, got {len(inputs)}")
    return document


def _asked(document: Document, given: Any, number: int) -> ForecastRequest:
    where = f"inputs[{number}]"
    if not isinstance(given, dict):
        raise InvalidRequest(f"{where} must be an object, got {shown(given)}")
    if _typed(given, "type", str, f"{where}.") != _UNIVARIATE:
        raise InvalidRequest(f"{where}.type must be {_UNIVARIATE!r}, got {short(given['type'])}")
    _typed(given, "name", str, f"{where}.")
    frequency = _typed(given, "frequency", str, f"{where}.")
    if frequency not in forecast_calendar.FREQUENCIES:
        known = ", ".join(forecast_calendar.FREQUENCIES)
        raise InvalidRequest(f"{where}.frequency must be one of {known}, got {short(frequency)}")
    series = _typed(given, "series", list, f"{where}.")
    options = document["options"]
    asked = {name: options.get(name) for name in ("horizon", "quantiles", "exog")}
    if series:
        forecast_request.check_numbers(series, where, "series")
        start = given.get("start_timestamp")
        if start is None:
            times: list[Any] = list(range(len(series)))
        else:
            start = _typed(given, "start_timestamp", str, f"{where}.")
            times = forecast_calendar.times(start, frequency, len(series), f"{where}.start_timestamp")
        asked["history"] = {TIME: times, VALUE: series}
    return forecast_request.of_document(asked)


def _content(given: Document, question: ForecastRequest, steps: list[list[Any]]) -> Document:
    first, mean, *quantiles = map(list, zip(*steps, strict=True))
    content = {
        "type": _UNIVARIATE,
        "name": given["name"],
        "mean_forecast": mean,
        "frequency": given["frequency"],
        "start_timestamp": str(first[0]),
    }
    if question.quantiles:
        content["quantiles"] = dict(zip(map(str, question.quantiles), quantiles, strict=True))
    return content


def _response(user_id: str, content: list[Document]) -> Document:
    output = {"type": "time_series_forecast", "id": f"forecast-{uuid.uuid4()}", "status": "completed"}
    return {
        "id": str(uuid.uuid4()),
        "created_at": int(time.time()),
        "status": "completed",
        "error": None,
        "model": user_id,
        "outputs": [output | {"content": content, "error": None}],
        "usage": None,
    }


def _typed(document: Document, name: str, kind: type, where: str) -> Any:
    value = document.get(name)
    if not isinstance(value, kind):
        wanted = _WANTED[kind]
        seen = shown(value) if name in document else "nothing"
        raise InvalidRequest(f"{where}{name} must be {wanted}, got {seen}")
    return value
