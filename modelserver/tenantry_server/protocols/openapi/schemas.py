"""The JSON schemas of every body, as `components.schemas` of the OpenAPI document."""

from typing import Any

from tenantry_server.rows import datatypes, forecast_calendar, forecast_request

Schema = dict[str, Any]

_NUMBER: Schema = {"type": ["number", "null"]}
_CELL: Schema = {"type": ["number", "string", "boolean", "null"]}
_RECORD: Schema = {"type": "object", "additionalProperties": _CELL}
_ROW: Schema = {"type": "array", "items": _CELL}
_NAME: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}


def ref(name: str) -> Schema:
    """A reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: list[str], properties: dict[str, Schema], **more: Any) -> Schema:
    return {"type": "object", "required": required, "properties": properties} | more


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items} | more


_METADATA_TENSOR = _object(
    ["name", "datatype", "shape"],
    {"name": _NAME, "datatype": ref("Datatype"), "shape": _list({"type": "integer", "minimum": -1})},
)

SCHEMAS: dict[str, Schema] = {
    "Rows": {
        "description": "Rows by name, or in the model's own column order. null is a missing value.",
        "anyOf": [
            {"title": "records", "type": "array", "items": _RECORD},
            _object(["columns", "data"], {"columns": _list(_NAME), "data": _list(_ROW)}, title="columns"),
            ref("Instances"),
        ],
    },
    "Instances": _object(
        ["instances"],
        {"instances": {"anyOf": [_list(_ROW), _list(_RECORD)]}},
        title="instances",
    ),
    "Predictions": _object(["predictions"], {"predictions": _list(ref("Prediction"))}, title="predictions"),
    "Prediction": {
        "description": "One a row; of several outputs a list, of several methods an object. "
        "NaN and infinities are null.",
        "anyOf": [_CELL, {"type": "array", "items": {}}, {"type": "object"}],
    },
    "BareOrNot": {
        "description": "A list of records is answered with a list.",
        "anyOf": [_list(ref("Prediction"), title="of records"), ref("Predictions")],
    },
    "Shards": _object(
        ["revision", "servers", "owners"],
        {
            "revision": _COUNT | {"description": "As in the header Tenantry-Shards of answers."},
            "servers": _list(_object(["id", "url"], {"id": _NAME, "url": _NAME})),
            "owners": {
                "description": "For each of the 1,024 shards the place of its owner in servers; null: it "
                "has none now. Empty where the server is alone.",
                "type": "array",
                "items": {"type": ["integer", "null"], "minimum": 0},
            },
        },
    ),
    "BatchRows": _object(
        ["rows"],
        {
            "rows": _list(
                {},
                description="Objects that name their user, as a text, beside their values; any other row "
                "fails alone.",
            )
        },
        additionalProperties=False,
        title="rows of many users",
    ),
    "BatchPredictions": _object(
        ["predictions", "errors"],
        {"predictions": _list(ref("Prediction")), "errors": _list(ref("BatchError"))},
    ),
    "BatchForecasts": _object(
        ["forecasts", "errors"],
        {
            "forecasts": _list({"anyOf": [_list({"type": "object"}), {"type": "null"}]}),
            "errors": _list(ref("BatchError")),
        },
    ),
    "BatchError": _object(
        ["row", "user_id", "status", "reason", "message"],
        {
            "row": _COUNT,
            "user_id": {"type": ["string", "null"]},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "reason": _NAME,
            "message": _NAME,
        },
        description="Why a row has no answer: what a request for it alone would be answered with.",
    ),
    "ForecastRequest": _object(
        ["horizon"],
        {
            "horizon": {"type": "integer", "minimum": 1, "maximum": forecast_request.MOST_STEPS},
            "from": {"type": ["string", "integer", "null"], "description": "the first step to answer"},
            "history": ref("Series"),
            "exog": ref("Series"),
            "quantiles": {
                "type": ["array", "null"],
                "items": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                "uniqueItems": True,
                "maxItems": 50,
            },
        },
        additionalProperties=False,
    ),
    "Series": {
        "description": "One row a step, as columns or as records; `time` says when it was.",
        "anyOf": [
            {"type": "object", "additionalProperties": _list(_CELL, minItems=1), "minProperties": 1},
            _list(_RECORD, minItems=1),
            {"type": "null"},
        ],
    },
    "Forecast": _object(
        ["forecast"],
        {
            "forecast": _list(
                _object(
                    ["time", "mean"],
                    {"time": {"type": ["string", "integer"]}, "mean": _NUMBER},
                    additionalProperties=_NUMBER,
                    description="of one step; each quantile under its number",
                )
            )
        },
    ),
    "TimeSeriesRequest": _object(
        ["model", "inputs", "options"],
        {
            "model": {"type": "string", "description": "the user"},
            "inputs": _list(
                _object(
                    ["type", "name", "series", "frequency"],
                    {
                        "type": {"enum": ["univariate_time_series", "multivariate_time_series"]},
                        "name": _NAME,
                        "series": _list({"anyOf": [{"type": "number"}, _list({"type": "number"})]}),
                        "frequency": {"enum": list(forecast_calendar.FREQUENCIES)},
                        "start_timestamp": {"type": ["string", "null"]},
                    },
                ),
                minItems=1,
            ),
            "options": _object(
                ["horizon"],
                {
                    "horizon": {"type": "integer"},
                    "quantiles": {"type": ["array", "null"], "items": {"type": "number"}},
                },
            ),
            "metadata": {"type": ["object", "null"]},
        },
    ),
    "TimeSeriesResponse": _object(
        ["id", "created_at", "status", "model", "outputs"],
        {
            "id": {"type": "string"},
            "created_at": {"type": "integer"},
            "status": {"enum": ["completed"]},
            "model": _NAME,
            "outputs": _list({"type": "object"}),
        },
    ),
    "TimeSeriesError": _object(
        ["error"],
        {
            "error": _object(
                ["message", "type"],
                {name: {"type": ["string", "null"]} for name in ("code", "message", "param", "type")},
            )
        },
    ),
    "Error": _object(
        ["error"],
        {
            "error": _object(
                ["reason", "message"],
                {
                    "reason": {"type": "string", "description": "stable; for programs"},
                    "message": {"type": "string", "description": "what was seen, and what to do"},
                },
            )
        },
    ),
    "KServeError": _object(["error"], {"error": {"type": "string", "description": "the message"}}),
    "Status": _object(["status"], {"status": {"type": "string"}}),
    "V1Models": _object(["models"], {"models": _list(_NAME)}),
    "ModelReady": _object(["name", "ready"], {"name": _NAME, "ready": {"const": True}}),
    "Live": _object(["live"], {"live": {"const": True}}),
    "Ready": _object(["ready"], {"ready": {"const": True}}),
    "ServerMetadata": _object(
        ["name", "version", "extensions"],
        {"name": _NAME, "version": {"type": "string"}, "extensions": _list({"type": "string"})},
    ),
    "ModelMetadata": _object(
        ["name", "versions", "platform", "inputs", "outputs"],
        {
            "name": _NAME,
            "versions": _list({"type": "string"}),
            "platform": {"type": "string"},
            "inputs": _list(_METADATA_TENSOR),
            "outputs": _list(_METADATA_TENSOR),
            "feature_names": _list(_NAME, description="the columns of a matrix, in their order"),
        },
    ),
    "Datatype": {"type": "string", "enum": list(datatypes.NAMES)},
    "Parameters": {
        "type": ["object", "null"],
        "properties": {
            "binary_data_size": _COUNT | {"description": "of an input: its bytes behind the JSON"},
            "binary_data_output": {"type": "boolean", "description": "of a request: answer in binary"},
            "binary_data": {"type": "boolean", "description": "of an output: answer in binary"},
        },
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    },
    "RequestInput": _object(
        ["name", "datatype", "shape"],
        {
            "name": _NAME,
            "datatype": ref("Datatype"),
            "shape": _list(_COUNT, minItems=1, maxItems=2, description="[rows, columns] or [rows]"),
            "parameters": ref("Parameters"),
            "data": _list(
                {"anyOf": [_NUMBER, {"type": ["string", "boolean"]}, _ROW]},
                description="flat, or nested as the shape is",
            ),
        },
    ),
    "RequestOutput": _object(["name"], {"name": _NAME, "parameters": ref("Parameters")}),
    "InferRequest": _object(
        ["inputs"],
        {
            "id": {"type": ["string", "null"], "description": "repeated in the answer"},
            "parameters": ref("Parameters"),
            "inputs": _list(ref("RequestInput"), minItems=1),
            "outputs": _list(ref("RequestOutput")),
        },
    ),
    "InferResponse": _object(
        ["model_name", "model_version", "outputs"],
        {
            "model_name": _NAME,
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": _list(
                _object(
                    ["name", "datatype", "shape"],
                    {
                        "name": _NAME,
                        "datatype": ref("Datatype"),
                        "shape": _list(_COUNT),
                        "parameters": ref("Parameters"),
                        "data": _list(_CELL),
                    },
                )
            ),
        },
    ),
    "IndexRequest": _object([], {"ready": {"type": "boolean", "description": "only what is in memory"}}),
    "Index": _list(
        _object(
            ["name", "state", "reason"],
            {
                "name": _NAME,
                "version": {"type": "string"},
                "state": {"enum": ["READY", "UNAVAILABLE"]},
                "reason": {"type": "string"},
            },
        )
    ),
    "RepositoryRequest": {"type": "object", "description": "nothing that is read"},
}
