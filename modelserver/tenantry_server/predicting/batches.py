"""Predictions for rows of many users: kernels of one kind together, everything else user by user.

A user's rows get the bits that a request of theirs alone gives, and what is wrong with one row or user is
an error of that row or user alone. No step holds the event loop for long: users are sorted a few hundred at
a time, and kernels computed in a thread. Knows no HTTP, and no other server.
"""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, TypeAlias, TypeVar

import numpy as np
import orjson

from tenantry import TenantryError
from tenantry.errors import FeatureMismatch, InvalidRequest, PredictionFailed
from tenantry.model import Predictions
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.kernels import stacked
from tenantry_server.kernels.base import Compiled
from tenantry_server.memory.model_cache import CachedModelRepository, Resident
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.rows.batch import AT_ONCE, Batch
from tenantry_server.scoring.calls import contained, contained_in, score
from tenantry_server.scoring.results import to_json

_USERS_AT_ONCE = 256  # 3 us each
_ROWS_HERE = 64  # are computed on the event loop: a thread costs as much
_CALLS = 64  # of other models at once; each has a lane of its own, and workers have queues
_T = TypeVar("_T")

Users: TypeAlias = Mapping[str, Sequence[int]]
"""The rows of each user."""

Found: TypeAlias = list[tuple[str, Resident, Sequence[int]]]
"""Users whose model is a kernel in memory, that model, and their rows."""


class Answers:
    """What came of each row.

    Args:
        rows: how many there are.

    Attributes:
        values: the answer of each row, as JSON has it; None where there is none.
        errors: by row, why there is none; anything but a TenantryError is a fault of this server.
    """

    def __init__(self, rows: int) -> None:
        self.values: list[Any] = [None] * rows
        self.errors: dict[int, Exception] = {}

    def refuse(self, rows: Iterable[int], error: Exception) -> None:
        """Answer rows with an error."""
        for row in rows:
            self.errors[row] = error


class Batches:
    """Answers rows of many users; used on the event loop.

    Args:
        plane: answers for models that are not kernels in memory.
        users: from users to models.
        models: the models; kernels are taken from a CachedModelRepository alone.
    """

    def __init__(self, plane: DataPlane, users: ModelInfoRepository, models: ModelRepository) -> None:
        self._plane = plane
        self._users = users
        self._models = models if isinstance(models, CachedModelRepository) else None
        self._thread = ThreadPoolExecutor(1, "batches")

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def aside(self, call: Callable[[], _T], *, rows: int = AT_ONCE) -> _T:
        """Call in a thread, unless it is about few rows."""
        if rows <= _ROWS_HERE:
            return call()
        return await contained_in(self._thread, call)

    async def sort(
        self, users: Users, answers: Answers, *, counts_for_all: bool
    ) -> tuple[Found, list[str]]:
        """Return the users whose model is a kernel in memory, and the others.

        Who has no model is refused, and so is who is beyond a limit.

        Args:
            counts_for_all: whether this server counts also for users whose model others hold.
        """
        found: Found = []
        others: list[str] = []
        following, quotas = iter(users.items()), self._plane.quotas
        while some := list(islice(following, _USERS_AT_ONCE)):
            for user_id, rows in some:
                try:
                    resident = self._kernel_of(user_id)
                    if resident is not None and not counts_for_all and quotas.is_elsewhere(user_id):
                        resident = None
                    if resident is not None:
                        quotas.take(user_id, rows=len(rows))
                except TenantryError as error:
                    answers.refuse(rows, error)
                    continue
                if resident is None:
                    others.append(user_id)
                else:
                    found.append((user_id, resident, rows))
            await asyncio.sleep(0)
        return found, others

    async def compute(self, batch: Batch, found: Found, answers: Answers) -> None:
        """Answer the rows of kernels."""
        if not found:
            return
        rows = sum([len(each) for _, _, each in found])
        spent_s = await self.aside(partial(_compute, batch, found, answers), rows=rows)
        for first in range(0, len(found), _USERS_AT_ONCE):
            some = found[first : first + _USERS_AT_ONCE]
            self._plane.meter.spent_together(
                [(user_id, len(theirs)) for user_id, _, theirs in some], spent_s / rows
            )
            for _, resident, theirs in some:
                resident.requests += len(theirs)
            await asyncio.sleep(0)

    async def ask_each(self, batch: Batch, users: Users, answers: Answers, *, timeout_s: float) -> None:
        """Answer the rows of other models, with one call for each user, some users at a time."""
        ends_s = time.monotonic() + timeout_s
        following = iter(users.items())

        async def ask_some() -> None:
            for user_id, rows in following:
                try:
                    await self._plane.model_id_of(user_id)
                    with self._plane.quotas.entered(user_id, rows=len(rows)):
                        for some in batch.calls(rows):
                            await self._ask(batch, user_id, some, answers, ends_s)
                            await asyncio.sleep(0)  # an answer may have taken no turn of the event loop
                except TenantryError as error:
                    answers.refuse(rows, error)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_CALLS, len(users))):
                group.create_task(ask_some())

    async def _ask(
        self, batch: Batch, user_id: str, rows: Sequence[int], answers: Answers, ends_s: float
    ) -> None:
        try:
            payload = batch.payload(rows)
            left_s = max(0.0, ends_s - time.monotonic())
            given = await self._plane.predict(user_id, payload, timeout_s=left_s, counted=False)
            _keep(batch, rows, given.predictions, answers)
        except Exception as error:
            if len(rows) > 1 and _is_of_a_row(error):
                for half in _halves(rows):
                    await self._ask(batch, user_id, half, answers, ends_s)
            else:
                _refuse(batch, rows, error, answers)

    def _kernel_of(self, user_id: str) -> Resident | None:
        if self._models is None:
            return None
        model_id = self._users.peek(user_id)
        resident = None if model_id is None else self._models.peek(model_id)
        return resident if resident is not None and isinstance(resident.model, Compiled) else None


def turns(users: Iterable[str]) -> Iterator[str | None]:
    """Yield users, and None where others are to have their turn."""
    for place, user_id in enumerate(users):
        if place and place % _USERS_AT_ONCE == 0:
            yield None
        yield user_id


def _compute(batch: Batch, found: Found, answers: Answers) -> float:
    """Answer the rows of kernels; return the CPU seconds of it."""
    began_s = time.thread_time()
    kinds: dict[Hashable, list[tuple[Compiled, Sequence[int]]]] = defaultdict(list)
    alone: list[tuple[Any, Sequence[int]]] = []
    for _, resident, rows in found:
        model: Any = resident.model
        key = None
        if not batch.one_by_one and (len(rows) == 1 or stacked.takes_several(model)):
            key = stacked.key_of(model)
        if key is None or model.feature_names is None:
            alone.append((model, rows))
        else:
            kinds[key].append((model, rows))
    for pairs in kinds.values():
        models = [model for model, rows in pairs for _ in rows]
        rows = [row for _, rows in pairs for row in rows]
        for first in range(0, len(rows), AT_ONCE):
            last = first + AT_ONCE
            _together(batch, models[first:last], rows[first:last], answers)
    for model, rows in alone:
        for some in batch.calls(rows):
            _score(batch, model, some, answers)
    return time.thread_time() - began_s


def _together(batch: Batch, models: Sequence[Compiled], rows: Sequence[int], answers: Answers) -> None:
    names = models[0].feature_names or ()
    matrix, odd = batch.matrix(rows, names, extra=models[0].ignores_extra)
    predictions, sure = stacked.predict(models, matrix)
    sure &= np.isfinite(matrix).all(axis=1)
    sure[odd] = False
    if sure.all():
        for row, value in zip(rows, _values(predictions), strict=True):
            answers.values[row] = value
        return
    for place, value in zip(np.flatnonzero(sure).tolist(), _values(predictions[sure]), strict=True):
        answers.values[rows[place]] = value
    for place in np.flatnonzero(~sure).tolist():
        _score(batch, models[place], [rows[place]], answers)


def _score(batch: Batch, model: Any, rows: Sequence[int], answers: Answers) -> None:
    try:
        _keep(batch, rows, contained(lambda: score(model, batch.payload(rows))), answers)
    except Exception as error:
        if len(rows) > 1 and _is_of_a_row(error):
            for half in _halves(rows):
                _score(batch, model, half, answers)
        else:
            _refuse(batch, rows, error, answers)


def _keep(batch: Batch, rows: Sequence[int], predictions: Predictions, answers: Answers) -> None:
    for row, value in zip(rows, batch.answers(rows, _values(predictions)), strict=True):
        answers.values[row] = value


def _values(predictions: Predictions) -> list[Any]:
    """Return predictions as a reader of a single answer has them."""
    if predictions.dtype == np.float64 or predictions.dtype.kind in "iubU":
        values: list[Any] = predictions.tolist()
        return values
    return orjson.loads(to_json(predictions, bare=True))  # type: ignore[no-any-return]


def _is_of_a_row(error: Exception) -> bool:
    """Return whether one of several rows may be why a call failed, and another call does no harm."""
    return isinstance(error, FeatureMismatch | PredictionFailed)


def _halves(rows: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    middle = len(rows) // 2
    return rows[:middle], rows[middle:]


_FIRST = re.compile(r"\brow 0\b")


def _refuse(batch: Batch, rows: Sequence[int], error: Exception, answers: Answers) -> None:
    """Answer rows with an error; one that was asked alone, as row 0, gets its own number."""
    if len(rows) == 1 and isinstance(error, InvalidRequest) and not batch.one_by_one:
        words = _FIRST.sub(f"row {batch.number(rows[0])}", str(error), count=1)
        kind = type(error)
        error = kind.__new__(kind)
        TenantryError.__init__(error, words)
    answers.refuse(rows, error)
