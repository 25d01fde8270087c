"""The OpenAPI document's part about requests for many users."""

from typing import Any

from tenantry_server.protocols.batch.inside import FORECAST, PREDICT
from tenantry_server.protocols.openapi.operations import OF_A_BODY, json_content, operation
from tenantry_server.wire.media_types import Media

_COLUMN = {
    "name": "user_column",
    "in": "query",
    "description": "The column that names the user; its values are texts.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256, "default": "user_id"},
}
_ERRORS = (*OF_A_BODY, "415", "503")
_BINARY = {"schema": {"type": "string", "contentEncoding": "binary"}}
_OTHERS: dict[str, Any] = {
    Media.NDJSON.value: {"schema": {"type": "string", "description": "one row a line"}},
    Media.ARROW.value: _BINARY,
    Media.PARQUET.value: _BINARY,
}
_REFUSED = {
    "row": 1,
    "user_id": "bob",
    "status": 404,
    "reason": "ModelNotAssigned",
    "message": "no model is assigned to user 'bob'; apply a TenantModel with this userId",
}


def paths() -> dict[str, Any]:
    """Return the paths, with examples that a client can send."""
    users = ({"user_id": "ann"}, {"user_id": "bob"})
    predict = operation(
        "Tenantry",
        "Predict for rows of many users",
        json_content("BatchPredictions", {"predictions": [3.5, None], "errors": [_REFUSED]}) | _OTHERS,
        errors=_ERRORS,
        parameters=[_COLUMN],
        body=json_content("BatchRows", {"rows": [user | {"km": 12.0, "hour": 8} for user in users]})
        | _OTHERS,
    )
    steps = [{"time": "2026-12-01", "mean": 12.5}]
    forecast = operation(
        "Forecasts",
        "Forecast horizons of many users",
        json_content("BatchForecasts", {"forecasts": [steps, None], "errors": [_REFUSED]}) | _OTHERS,
        errors=_ERRORS,
        parameters=[_COLUMN],
        body=json_content("BatchRows", {"rows": [user | {"horizon": 1} for user in users]}) | _OTHERS,
    )
    return {PREDICT.path: {"post": predict}, FORECAST.path: {"post": forecast}}
