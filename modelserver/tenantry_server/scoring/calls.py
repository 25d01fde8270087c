"""Runs one model on rows: checks them before, and the number of predictions after."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Executor
from functools import partial
from typing import TypeAlias, TypeVar, cast

import numpy as np

from tenantry import Forecaster, Model, TenantryError
from tenantry.errors import FeatureMismatch, OnlyForecasts, PredictionFailed
from tenantry.model import Predictions, Rows
from tenantry.tracing import spans
from tenantry_server.kernels.base import KERNELS, Compiled
from tenantry_server.kernels.encoded import Encoded
from tenantry_server.kernels.series.table import ForecastTable
from tenantry_server.rows import columns
from tenantry_server.rows.forecast_request import ForecastRequest
from tenantry_server.rows.payload import Payload
from tenantry_server.scoring import bounds, forecasts, results, surroundings

Result: TypeAlias = "Predictions | Exception"
"""The result of one of several requests."""

_T = TypeVar("_T")
# What a model raises because of its rows; where they were checked to be numbers, only their values.
_REFUSALS: dict[bool, tuple[type[Exception], ...]] = {
    True: (ValueError,),
    False: (ValueError, TypeError, KeyError),
}


def score(model: Model, payload: Payload) -> Predictions:
    """Predict for all rows of one request, or answer a request for a forecast.

    Raises:
        FeatureMismatch: the rows are not what the model takes.
        PredictionFailed: the model raised, or gave another number of predictions.
        AnswerTooLarge: they would take too much memory.
        InvalidRequest: as `forecasts.forecast`.
    """
    traced = spans.current()
    if traced is not None:
        with spans.Active(traced.part("predict kernel"), has_parts=False):
            return score(model, payload)
    if payload.is_forecast and isinstance(payload, ForecastRequest):
        if isinstance(model, ForecastTable):
            return model.answer(payload)
        return forecasts.forecast(model, payload)
    if type(model) not in KERNELS and isinstance(model, Forecaster | ForecastTable):
        raise OnlyForecasts
    if model.numeric:
        return score_rows(model, payload.matrix(model))
    is_kernel = type(model) in KERNELS
    if is_kernel and len(payload) > 1:
        _bound(cast("Compiled", model), len(payload))
    if is_kernel and isinstance(model, Encoded):
        rows = payload.values(model)
        return _checked(model, lambda: model.predict_values(rows), len(rows))
    frame = columns.cast(payload.frame(model), model.column_types)
    return _checked(model, lambda: model.predict(frame), len(frame))


def score_rows(model: Model, rows: Rows) -> Predictions:
    """Predict for a matrix that was checked already; `model` is numeric."""
    if type(model) in KERNELS:  # it only computes; any other may change what all models share
        if len(rows) > 1:  # the answer to one row is not larger than the model
            _bound(cast("Compiled", model), len(rows))
        try:
            return model.predict_rows(rows)
        except TenantryError:
            raise
        except BaseException as error:
            raise _refusal(model, error) from error
    return _checked(model, lambda: model.predict_rows(rows), len(rows))


def _bound(model: Compiled, rows: int) -> None:
    """Refuse an answer that would be too large."""
    bounds.check(rows, rows * model.row_bytes)


def score_together(model: Model, payloads: Sequence[Payload]) -> list[Result]:
    """Predict for several requests in one call of a numeric model whose rows are independent.

    Returns:
        for each request its predictions, or the error that it would have raised alone.
    """
    matrices: list[Rows | Exception] = [_or_error(partial(each.matrix, model)) for each in payloads]
    good = [matrix for matrix in matrices if not isinstance(matrix, Exception)]
    together = _or_error(lambda: score_rows(model, np.concatenate(good))) if len(good) > 1 else None
    if together is None or isinstance(together, Exception):
        # It may have failed on one request's rows, so each request is scored by itself.
        return [
            each if isinstance(each, Exception) else _or_error(partial(score_rows, model, each))
            for each in matrices
        ]
    parts = iter(np.split(together, np.cumsum([len(matrix) for matrix in good])[:-1]))
    return [matrix if isinstance(matrix, Exception) else next(parts) for matrix in matrices]


def contained(call: Callable[[], _T]) -> _T:
    """Call, and turn exceptions that an event loop can't take from a future into RuntimeError.

    SystemExit and KeyboardInterrupt end the loop, StopIteration leaves the future pending forever, and
    CancelledError would pass for a cancellation of the task that awaits it.
    """
    try:
        return call()
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, StopIteration | CancelledError):
            raise
        raise RuntimeError(f"{type(error).__name__} was raised: {error}") from error


async def contained_in(pool: Executor, call: Callable[[], _T]) -> _T:
    """Make such a call in a pool's thread, without holding up the event loop."""
    return await asyncio.get_running_loop().run_in_executor(pool, contained, call)


def _or_error(call: Callable[[], _T]) -> _T | Exception:
    try:
        return contained(call)
    except Exception as error:
        return error


def _checked(model: Model, call: Callable[[], Predictions], expected: int) -> Predictions:
    try:
        if type(model) in KERNELS:
            return call()
        return results.of(surroundings.kept(call), expected, type(model).__name__)
    except TenantryError:
        raise
    except BaseException as error:  # sys.exit() in a model must not end the server
        raise _refusal(model, error) from error


def _refusal(model: Model, error: BaseException) -> TenantryError:
    """Return the error that stands for an exception that a model raised."""
    if isinstance(error, _REFUSALS[model.numeric]):
        return FeatureMismatch(f"the model refused these rows: {error}")
    name = type(model).__name__
    return PredictionFailed(f"{name} raised {type(error).__name__}: {error}")
