"""Forecasts from kernels: which requests a kernel answers, and who answers the others.

A kernel of a forecaster holds a part of what the original answers. The original is the same artifact under
an id of its own, which says that it is not to be compiled: it is loaded, kept and evicted like any model.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from tenantry import Model, ModelId, TenantryError
from tenantry_server.kernels.series.table import ForecastTable
from tenantry_server.memory.resident import Resident
from tenantry_server.rows.forecast_request import ForecastRequest
from tenantry_server.rows.payload import Payload

if TYPE_CHECKING:
    from tenantry_server.predicting.answer import Answer
    from tenantry_server.predicting.dataplane import DataPlane

QUICK_ROWS = 16
"""Of a request that a quick model answers at once."""


def is_quick(model: Model, payload: Payload) -> bool:
    """Return whether a model that was measured to be quick answers this request quickly too.

    Raises:
        InvalidRequest, FeatureMismatch: its original takes no such request.
    """
    if payload.is_forecast and isinstance(payload, ForecastRequest) and isinstance(model, ForecastTable):
        return model.covers(payload)
    return 0 < len(payload) <= QUICK_ROWS and not payload.large


async def answering(
    find: Callable[[str], Awaitable[Resident]], model_id: str, payload: Payload
) -> tuple[str, Resident]:
    """Return what can answer a request, and its id: the model, or what its kernel was made from.

    Args:
        find: returns a model, loading it if it is cold.

    Raises:
        InvalidRequest, FeatureMismatch: as `is_quick`.
        TenantryError: as `find`.
    """
    resident = await find(model_id)
    kernel = resident.model
    if not isinstance(kernel, ForecastTable) or not isinstance(payload, ForecastRequest):
        return model_id, resident
    if kernel.covers(payload):
        return model_id, resident
    model_id = original_of(model_id)
    return model_id, await find(model_id)


def original_of(model_id: str) -> str:
    """Return the model id under which the same artifact is loaded without being compiled.

    Example:
        >>> original_of("file:///a.joblib#sha256=9f&compile=off") == original_of("file:///a.joblib#sha256=9f")
        True
    """
    return str(replace(ModelId.parse(model_id), compile="off"))


def forecast_now(
    plane: "DataPlane", asked: Iterable[tuple[str, ForecastRequest]]
) -> "list[Answer | TenantryError | None]":
    """Answer requests of many users without waiting for anything: from the kernels that are in memory.

    About 15 us for a user and 14 steps; the caller gives way to others after as many as it wants to.

    Returns:
        for each request its answer, as `DataPlane.predict` gives it; the error of that user alone; or None:
        no kernel here has the answer, so `DataPlane.predict` has to be asked.
    """
    answers: list[Answer | TenantryError | None] = []
    for user_id, request in asked:
        try:
            answers.append(plane.predict_now(user_id, request))
        except TenantryError as error:
            answers.append(error)
    return answers
