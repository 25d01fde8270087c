"""One operation of the OpenAPI document: its answers, its errors and what is sent to it."""

from typing import Any

from tenantry_server.protocols.openapi.schemas import ref

_MEANING = {
    "400": "the body can't be read, for instance as it is not the gzip that its headers announce; or the "
    "path is percent-encoded where that is not needed",
    "401": "no valid API key or token is shown, where the server asks for one",
    "403": "the key or token is not for this user or route; or the settings close the route",
    "404": "no TenantModel names this user, or its model has no card",
    "408": "the body did not arrive in time",
    "413": "the body is too large, compressed or not, or has too many rows",
    "415": "the body has a type that is not read here",
    "422": "the body can't be understood, or its rows are not what the model takes",
    "429": "more requests than the user's limits allow; Retry-After says when to ask again",
    "500": "the model raised, or ended servers",
    "503": "not now: the model has not loaded yet or can't be loaded, the registry does not answer, or too "
    "many bodies arrive at once",
    "504": "the model took too long",
    "507": "the model is larger than the whole cache",
}
ERRORS = {"Tenantry": "Error", "Forecasts": "Error", "KServe time series": "TimeSeriesError"}
"""The schema of the errors of a tag's operations, where it is not KServe's."""

_OF_A_CALLER = ("401", "403")
OF_A_BODY = ("400", "408", "413", "422")
OF_A_USER = ("400", "404", "503")
OF_A_MODEL = (*OF_A_USER, "429", "500", "504", "507")
USER = {"name": "user_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "With TENANTRY_AUTH=required: an API key, or a JWT of the issuer in the settings.",
    }
}
"""How a caller shows who it is."""

_MODEL_ID = {"Tenantry-Model-Id": {"description": "exactly which model", "schema": {"type": "string"}}}

Operation = dict[str, Any]


def operation(  # noqa: PLR0913 - each by name, and most have a default
    tag: str,
    summary: str,
    content: dict[str, Any],
    *,
    errors: tuple[str, ...] = (),
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
    body_required: bool = True,
    of_model: bool = False,
    guarded: bool = True,
) -> Operation:
    """Return one operation.

    Args:
        content: of its answer with status 200.
        errors: the statuses that it may have beside 200.
        of_model: whether the answer names the model in a header.
        guarded: whether TENANTRY_AUTH=required asks for a key or token.
    """
    answered: dict[str, Any] = {"description": summary}
    if content:
        answered["content"] = content
    if of_model:
        answered["headers"] = _MODEL_ID
    error = ERRORS.get(tag, "KServeError")
    responses = {"200": answered} | {
        status: {
            "description": _MEANING[status],
            "content": {"application/json": {"schema": ref(error)}},
        }
        for status in sorted({*errors, *(_OF_A_CALLER if guarded else ())})
    }
    made: Operation = {"tags": [tag], "summary": summary, "responses": responses}
    if not guarded:
        made["security"] = []
    if parameters:
        made["parameters"] = parameters
    if body:
        made["requestBody"] = {"required": body_required, "content": body}
    return made


def json_content(schema: str, example: Any) -> dict[str, Any]:
    """Return a JSON body of one of `SCHEMAS`."""
    return {"application/json": {"schema": ref(schema), "example": example}}
