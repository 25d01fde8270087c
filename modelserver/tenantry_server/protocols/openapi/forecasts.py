"""The OpenAPI document's part about forecasts: Tenantry's own protocol, and KServe's."""

from typing import Any

from tenantry_server.protocols.openapi.operations import (
    OF_A_BODY,
    OF_A_MODEL,
    USER,
    json_content,
    operation,
)

_ASKED = {"horizon": 2, "quantiles": [0.1, 0.9]}
_ANSWERED = {"forecast": [{"time": "2026-12-01", "mean": 12.5, "0.1": 9.0, "0.9": 16.0}]}
_SERIES = {
    "type": "univariate_time_series",
    "name": "demand",
    "series": [12.0, 13.5],
    "frequency": "D",
    "start_timestamp": "2026-11-29T00:00:00",
}


def paths() -> dict[str, Any]:
    """Return the paths, with examples that a client can send."""
    own, kserve = "Forecasts", "KServe time series"
    post = operation(
        own,
        "Forecast a horizon",
        json_content("Forecast", _ANSWERED),
        errors=(*OF_A_BODY, *OF_A_MODEL),
        parameters=[USER],
        body=json_content("ForecastRequest", _ASKED),
        of_model=True,
    )
    get = operation(
        own,
        "Forecast a horizon, for models that need nothing else",
        json_content("Forecast", _ANSWERED),
        errors=("422", *OF_A_MODEL),
        parameters=[
            USER,
            _query("horizon", {"type": "integer", "minimum": 1, "maximum": 10_000}, required=True),
            _query("from", {"type": "string"}),
            _query("quantiles", {"type": "string", "examples": ["0.1,0.9"]}),
        ],
        of_model=True,
    )
    forecast = operation(
        kserve,
        "Forecast each of several series",
        json_content("TimeSeriesResponse", _response()),
        errors=(*OF_A_BODY, *OF_A_MODEL),
        body=json_content("TimeSeriesRequest", {"model": "ann", "inputs": [_SERIES], "options": _ASKED}),
        of_model=True,
    )
    models = operation(
        kserve,
        "Every user that has a model",
        {
            "application/json": {
                "schema": {"type": "array", "items": {"type": "string"}},
                "example": ["ann"],
            }
        },
        errors=("503",),
    )
    return {
        "/forecast/{user_id}": {"post": post, "get": get},
        "/v1/timeseries/forecast": {"post": forecast},
        "/v1/timeseries/models": {"get": models},
    }


def _query(name: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _response() -> dict[str, Any]:
    step = {"type": "univariate_time_series", "name": "demand", "mean_forecast": [12.5, 13.0]}
    content = step | {"frequency": "D", "start_timestamp": "2026-12-01"}
    output = {
        "type": "time_series_forecast",
        "id": "forecast-1",
        "status": "completed",
        "content": [content],
    }
    return {"id": "1", "created_at": 1796000000, "status": "completed", "model": "ann", "outputs": [output]}
