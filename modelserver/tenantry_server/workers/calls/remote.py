"""A model that lives in a worker: what it takes, and calls of it."""

import asyncio
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from tenantry import Model, TenantryError, errors
from tenantry.errors import AnswerTooLarge, FeatureMismatch, PredictionFailed, PredictionTimeout
from tenantry.model import Predictions, Rows
from tenantry_server.kernels.arrays import Buffer, Malformed
from tenantry_server.rows.payload import Payload
from tenantry_server.scoring import tracebacks
from tenantry_server.scoring.calls import Result
from tenantry_server.workers.calls import answers
from tenantry_server.workers.frames import KEY, SHAPE, Kind
from tenantry_server.workers.pool import Pool
from tenantry_server.workers.process import Call, Ended, Outcome, Overran

if TYPE_CHECKING:
    import pandas as pd

FEW_ROWS = 64  # converting more takes a turn of its own, beside the event loop
_ERRORS = {
    kind.reason: kind
    for kind in (
        errors.AnswerTooLarge,
        errors.AnswersDiffer,
        errors.BatchTooLong,
        errors.ArtifactInvalid,
        errors.CardUnusable,
        errors.FeatureMismatch,
        errors.FormatNotInstalled,
        errors.InvalidRequest,
        errors.NotAForecaster,
        errors.OnlyForecasts,
        errors.PredictionFailed,
        errors.SignatureExpired,
        errors.SignatureInvalid,
        errors.SignatureUntrusted,
        errors.SignatureUnverifiable,
        errors.TimelineMismatch,
        errors.UnknownFormat,
        errors.UnknownMediaType,
        errors.VersionSkew,
    )
}


_OF_ONE = (FeatureMismatch, PredictionFailed, AnswerTooLarge)  # of several requests in one call


class WorkerModel(Model):
    """A model in a worker, as it described itself there; read as a stranger's words.

    Args:
        described: what `worker` says of a model.
        pool: of the worker.
        model_id: the exact model.
        key: its name in the pool.
        size_bytes: in the worker's memory, measured there.

    Raises:
        Malformed: it is not described as a model.
    """

    elsewhere = True

    def __init__(
        self,
        described: Mapping[str, Any],
        pool: Pool,
        model_id: str,
        *,
        key: int,
        size_bytes: int,
    ) -> None:
        self.pool = pool
        self.model_id = model_id
        self.key = key  # from here on, `__del__` gives it up
        names, count = described["names"], described["count"]
        if names is not None and not all(isinstance(name, str) for name in names):
            raise Malformed("names that are not texts")
        if count is not None and (type(count) is not int or count < 0):
            raise Malformed(f"{count!r} columns")
        self.feature_names = None if names is None else tuple(names)
        self.feature_count = count
        self.numeric = bool(described["numeric"])
        self.accepts_missing = bool(described["accepts_missing"])
        self.ignores_extra = bool(described["ignores_extra"])
        self.independent_rows = bool(described["independent_rows"])
        self.may_block = bool(described["may_block"])
        self._size_bytes = size_bytes

    def predict(self, data: "pd.DataFrame") -> Predictions:
        """Refuse: its calls go through `score`."""
        raise NotImplementedError("a model in a worker is asked through its lane")

    def own_bytes(self) -> int:
        """Return the bytes that it takes in its worker."""
        return self._size_bytes

    def __del__(self) -> None:
        self.pool.dropped(self.key)


def begin(
    model: WorkerModel, payload: Payload, timeout_s: float, done: Callable[[Result, float], None]
) -> None:
    """Ask a model for one small request.

    Args:
        timeout_s: a call that takes longer ends the worker.
        done: called with the predictions, or the error, and the CPU seconds that the worker spent.
            Displaced says that the model is not in its worker any more, and that nothing was begun.
    """
    try:
        kind, buffers = _frame(model, payload)
    except Exception as error:
        asyncio.get_running_loop().call_soon(done, error, 0.0)
        return
    _ask(model, kind, buffers, len(payload), timeout_s, done)


async def score(
    model: WorkerModel, payloads: Sequence[Payload], timeout_s: float, aside: Executor
) -> tuple[list[Result], float]:
    """Predict for several requests in one call, or for a large one.

    Args:
        payloads: several only for a numeric model whose rows are independent.
        timeout_s: as `begin` takes it.
        aside: converts what takes too long for the event loop.

    Returns:
        for each request its predictions or its error, and the CPU seconds that the worker spent.
    """
    if not model.numeric:
        (payload,) = payloads
        kind, buffers = await _in(aside, partial(_frame, model, payload), payload)
        result, spent_s = await _asked(model, kind, buffers, len(payload), timeout_s)
        return [result], spent_s
    matrices = [await _matrix(model, payload, aside) for payload in payloads]
    good = [matrix for matrix in matrices if not isinstance(matrix, Exception)]
    if not good:
        return list(matrices), 0.0
    parts: list[Result]
    together, spent_s = await _rows(model, good[0] if len(good) == 1 else np.concatenate(good), timeout_s)
    if not isinstance(together, Exception):
        parts = list(np.split(together, np.cumsum([len(matrix) for matrix in good])[:-1]))
    elif len(good) == 1 or not isinstance(together, _OF_ONE):
        parts = [together] * len(good)
    else:  # of one request, maybe, so each is scored by itself
        parts = []
        for matrix in good:
            alone, more_s = await _rows(model, matrix, timeout_s)
            spent_s += more_s
            parts.append(alone)
    following = iter(parts)
    return [each if isinstance(each, Exception) else next(following) for each in matrices], spent_s


async def _matrix(model: Model, payload: Payload, aside: Executor) -> "Rows | Exception":
    try:
        matrix: Rows = await _in(aside, partial(payload.matrix, model), payload)
    except Exception as error:
        return error
    return matrix


async def _in(aside: Executor, call: Callable[[], Any], payload: Payload) -> Any:
    if len(payload) <= FEW_ROWS and not payload.large:
        return call()
    return await asyncio.get_running_loop().run_in_executor(aside, call)


async def _rows(model: WorkerModel, matrix: Rows, timeout_s: float) -> tuple[Result, float]:
    return await _asked(model, *_matrix_frame(model, matrix), len(matrix), timeout_s)


async def _asked(
    model: WorkerModel, kind: Kind, buffers: Sequence[Buffer], rows: int, timeout_s: float
) -> tuple[Result, float]:
    answered: asyncio.Future[tuple[Result, float]] = asyncio.get_running_loop().create_future()

    def done(result: Result, spent_s: float) -> None:
        if not answered.done():  # a stop cancels
            answered.set_result((result, spent_s))

    _ask(model, kind, buffers, rows, timeout_s, done)
    return await answered


def _frame(model: WorkerModel, payload: Payload) -> tuple[Kind, list[Buffer]]:
    if model.numeric:
        return _matrix_frame(model, payload.matrix(model))
    return Kind.PAYLOAD, [KEY.pack(model.key), pickle.dumps(payload, 5)]


def _matrix_frame(model: WorkerModel, matrix: Rows) -> tuple[Kind, list[Buffer]]:
    return Kind.ROWS, [SHAPE.pack(model.key, *matrix.shape), matrix.tobytes()]


def _ask(
    model: WorkerModel,
    kind: Kind,
    buffers: Sequence[Buffer],
    rows: int,
    timeout_s: float,
    done: Callable[[Result, float], None],
) -> None:
    def end(outcome: Outcome) -> None:
        if isinstance(outcome, tuple) and answers.is_large(outcome[1]):
            read = asyncio.get_running_loop().run_in_executor(None, _read, model, rows, timeout_s, outcome)
            read.add_done_callback(lambda read: None if read.cancelled() else done(*read.result()))
        else:
            done(*_read(model, rows, timeout_s, outcome))

    model.pool.call(model.key, Call(model.model_id, kind, buffers, timeout_s, end))


def _read(model: WorkerModel, rows: int, timeout_s: float, outcome: Outcome) -> tuple[Result, float]:
    """Return predictions or an error, and CPU seconds; count a strike where the call ended the worker."""
    if isinstance(outcome, Ended):
        return model.pool.crashed(model.model_id, f"a prediction: {outcome}"), 0.0
    if isinstance(outcome, Overran):
        model.pool.overran(model.model_id, f"a prediction took longer than {timeout_s:g} s, {outcome}")
        return PredictionTimeout(timeout_s), timeout_s
    if isinstance(outcome, Exception):
        return outcome, 0.0
    kind, body = outcome
    try:
        if kind is Kind.FAILED:
            return failure(body)
        predictions, spent_s = answers.unpack(body)
    except Malformed as error:
        return PredictionFailed(f"the worker's answer can't be read: {error}"), 0.0
    if predictions.ndim == 0 or len(predictions) != rows:
        return PredictionFailed(f"the worker gave shape {predictions.shape} for {rows} rows"), 0.0
    return predictions, min(max(spent_s, 0.0), timeout_s)


def failure(body: Buffer) -> tuple[TenantryError, float]:
    """Read an error that a worker reports, and the CPU seconds before it.

    Raises:
        Malformed: it is something else.
    """
    try:
        told = orjson.loads(body)
        reason, message, spent_s = str(told["reason"]), str(told["message"]), float(told["spent_s"])
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed(f"{error}") from None
    kind = _ERRORS.get(reason, PredictionFailed)
    described: TenantryError = kind.__new__(kind)
    TenantryError.__init__(described, message)
    if isinstance(described, PredictionFailed):
        described.traceback = tracebacks.text(told.get("raised"))
    return described, spent_s
