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
from tenantry.errors import PredictionFailed, PredictionTimeout
from tenantry.model import Predictions, Rows
from tenantry_server.kernels import arrays
from tenantry_server.kernels.arrays import Buffer, Malformed
from tenantry_server.rows.payload import Payload
from tenantry_server.workers.frames import KEY, SHAPE, SPENT, Kind
from tenantry_server.workers.pool import Pool
from tenantry_server.workers.process import Call, Ended, Overran
from tenantry_server.workers.scoring import Result

if TYPE_CHECKING:
    import pandas as pd

_FEW_ROWS = 64  # converting more takes a turn of its own, beside the event loop
_ERRORS = {
    kind.reason: kind
    for kind in (
        errors.ArtifactInvalid,
        errors.FeatureMismatch,
        errors.FormatNotInstalled,
        errors.InvalidRequest,
        errors.PredictionFailed,
        errors.UnknownFormat,
    )
}


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
        names, count = described["names"], described["count"]
        self.pool = pool
        self.model_id = model_id
        self.key = key
        if names is not None and not all(isinstance(name, str) for name in names):
            raise Malformed("names that are not texts")
        if count is not None and (type(count) is not int or count < 0):
            raise Malformed(f"{count!r} columns")
        self.feature_names = None if names is None else tuple(names)
        self.feature_count = count
        self.numeric = bool(described["numeric"])
        self.accepts_missing = bool(described["accepts_missing"])
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


async def score(
    model: WorkerModel, payloads: Sequence[Payload], timeout_s: float, aside: Executor
) -> tuple[list[Result], float]:
    """Predict for several requests in one call; for each by itself where that fails.

    Args:
        payloads: several only for a numeric model whose rows are independent.
        timeout_s: a call that takes longer ends the worker.
        aside: converts what takes too long for the event loop.

    Returns:
        for each request its predictions or its error, and the CPU seconds that the worker spent.

    Raises:
        Displaced: the model is not in its worker any more, and nothing was begun.
    """
    try:
        if model.numeric:
            return await _by_rows(model, payloads, timeout_s, aside)
        (payload,) = payloads
        pickled = await _in(aside, partial(pickle.dumps, payload, 5), len(payload))
        buffers = [KEY.pack(model.key), pickled]
        result, spent_s = await _asked(model, Kind.PAYLOAD, buffers, len(payload), timeout_s)
    except Ended as ended:
        crashed: Result = model.pool.crashed(model.model_id, f"a prediction: {ended}")
        return [crashed] * len(payloads), 0.0
    except Overran as overran:
        model.pool.overran(model.model_id, f"a prediction took longer than {timeout_s:g} s, {overran}")
        late: Result = PredictionTimeout(timeout_s)
        return [late] * len(payloads), timeout_s
    return [result], spent_s


async def _by_rows(
    model: WorkerModel, payloads: Sequence[Payload], timeout_s: float, aside: Executor
) -> tuple[list[Result], float]:
    matrices = [await _matrix(model, payload, aside) for payload in payloads]
    good = [matrix for matrix in matrices if not isinstance(matrix, Exception)]
    if not good:
        return list(matrices), 0.0
    parts: list[Result]
    together, spent_s = await _rows(model, good[0] if len(good) == 1 else np.concatenate(good), timeout_s)
    if len(good) == 1:
        parts = [together]
    elif isinstance(together, Exception):  # on one request's rows, so each is scored by itself
        parts = []
        for matrix in good:
            alone, more_s = await _rows(model, matrix, timeout_s)
            spent_s += more_s
            parts.append(alone)
    else:
        parts = list(np.split(together, np.cumsum([len(matrix) for matrix in good])[:-1]))
    following = iter(parts)
    return [each if isinstance(each, Exception) else next(following) for each in matrices], spent_s


async def _matrix(model: Model, payload: Payload, aside: Executor) -> "Rows | Exception":
    try:
        matrix: Rows = await _in(aside, partial(payload.matrix, model), len(payload))
    except Exception as error:
        return error
    return matrix


async def _in(aside: Executor, call: Callable[[], Any], rows: int) -> Any:
    if rows <= _FEW_ROWS:
        return call()
    return await asyncio.get_running_loop().run_in_executor(aside, call)


async def _rows(model: WorkerModel, matrix: Rows, timeout_s: float) -> tuple[Result, float]:
    head = SHAPE.pack(model.key, *matrix.shape)
    body = np.ascontiguousarray(matrix).reshape(-1).view(np.uint8).data
    return await _asked(model, Kind.ROWS, [head, body], len(matrix), timeout_s)


async def _asked(
    model: WorkerModel, kind: Kind, buffers: Sequence[Buffer], rows: int, timeout_s: float
) -> tuple[Result, float]:
    kind, body = await model.pool.call(model.key, Call(model.model_id, kind, buffers, timeout_s))
    if kind is Kind.FAILED:
        return failure(body)
    try:
        (spent_s,) = SPENT.unpack_from(body)
        _, (predictions,) = arrays.decode(memoryview(body)[SPENT.size :])
    except (ValueError, Malformed) as error:
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
    return described, spent_s
