"""The body of KServe's time-series protocol: whose model it asks, and what is to be forecast.

Read against `kserve.protocol.rest.timeseries` of KServe 0.21. The user is `model` in the body.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from tenantry.errors import InvalidRequest
from tenantry.forecaster import VALUE
from tenantry_server.rows import forecast_calendar, forecast_request
from tenantry_server.rows.forecast_request import TIME, ForecastRequest
from tenantry_server.rows.payload import refuse_double_keys, short, shown

Document: TypeAlias = dict[str, Any]

UNIVARIATE = "univariate_time_series"
_MOST_INPUTS = 32
_WANTED: dict[type, str] = {str: "a text", dict: "an object", list: "a list"}


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a request.

    Attributes:
        name: as given.
        frequency: as given.
        asked: what is to be forecast.
    """

    name: str
    frequency: str
    asked: ForecastRequest


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        user_id: whose model it asks.
        series: at least one, unless it is refused.
        refused: what is wrong with a series; said to those alone who may ask for this user.
    """

    user_id: str
    series: Sequence[Series] = ()
    refused: InvalidRequest | None = None


def parse(body: bytes) -> Asked:
    """Read a body.

    Raises:
        InvalidRequest: it does not say whose model it asks, or what.
    """
    document = _document(body)
    try:
        series = [_series(document, each, number) for number, each in enumerate(document["inputs"])]
    except InvalidRequest as error:
        return Asked(document["model"], refused=error.with_traceback(None))
    return Asked(document["model"], series)


def _document(body: bytes) -> Document:
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


def _series(document: Document, given: Any, number: int) -> Series:
    where = f"inputs[{number}]"
    if not isinstance(given, dict):
        raise InvalidRequest(f"{where} must be an object, got {shown(given)}")
    if _typed(given, "type", str, f"{where}.") != UNIVARIATE:
        raise InvalidRequest(f"{where}.type must be {UNIVARIATE!r}, got {short(given['type'])}")
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
    return Series(given["name"], frequency, forecast_request.of_document(asked))


def _typed(document: Document, name: str, kind: type, where: str) -> Any:
    value = document.get(name)
    if not isinstance(value, kind):
        wanted = _WANTED[kind]
        seen = shown(value) if name in document else "nothing"
        raise InvalidRequest(f"{where}{name} must be {wanted}, got {seen}")
    return value
