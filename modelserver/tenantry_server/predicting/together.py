"""Computes the kernels of many users: those of one kind together, all others user by user.

Runs beside the event loop, a few thousand rows a step. Knows no users, limits or servers: rows, and the
kernel of each.
"""

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from tenantry import TenantryError
from tenantry.errors import AnswerTooLarge, FeatureMismatch, InvalidRequest, PredictionFailed
from tenantry.model import Predictions
from tenantry_server.kernels.base import Compiled
from tenantry_server.kernels.stacked import Kind, kind_of
from tenantry_server.memory.resident import Resident
from tenantry_server.rows.batch import AT_ONCE, Batch
from tenantry_server.scoring import bounds
from tenantry_server.scoring.calls import contained, score
from tenantry_server.scoring.results import to_json


class Answers:
    """What came of each row; several threads may add to it, each to its own rows.

    Args:
        rows: how many there are.

    Attributes:
        errors: by row, why there is none; anything but a TenantryError is a fault of this server.
    """

    def __init__(self, rows: int) -> None:
        self.errors: dict[int, Exception] = {}
        self._numbers = np.full(rows, np.nan)
        self._are_numbers = np.zeros(rows, np.bool_)
        self._others: dict[int, Any] = {}
        self._other_bytes = 0  # of what predictions gave, before it became values

    def values(self) -> list[Any]:
        """Return the answer of each row, as JSON has it; None where there is none."""
        values: list[Any] = self._numbers.tolist()
        if not self._are_numbers.all():
            for row in np.flatnonzero(~self._are_numbers).tolist():
                values[row] = self._others.get(row)
        return values

    def numbers(self) -> "npt.NDArray[np.float64] | None":
        """Return the answers, NaN where there is none; None: one of them is not a float."""
        return None if self._others or not self._are_numbers.any() else self._numbers

    def keep(self, rows: Sequence[int], predictions: Predictions) -> None:
        """Answer rows with predictions, shape (rows,) or (rows, outputs)."""
        if predictions.dtype == np.float64 and predictions.ndim == 1:
            at = np.array(rows, np.intp)
            self._numbers[at] = predictions
            self._are_numbers[at] = True
        elif self.has_room(rows, predictions.nbytes):
            self.put(rows, values_of(predictions))

    def has_room(self, rows: Sequence[int], size_bytes: int) -> bool:
        """Return whether predictions of this size fit the answer as well; else refuse their rows."""
        try:
            bounds.check(len(self._others) + len(rows), self._other_bytes + size_bytes)
        except AnswerTooLarge as error:
            self.refuse(rows, error)
            return False
        self._other_bytes += size_bytes
        return True

    def put(self, rows: Sequence[int], values: Sequence[Any]) -> None:
        """Answer rows with values as JSON has them."""
        self._others.update(zip(rows, values, strict=True))

    def refuse(self, rows: Iterable[int], error: Exception) -> None:
        """Answer rows with an error; what was refused in words needs no frames, which hold the rows."""
        if isinstance(error, TenantryError) and not isinstance(error, PredictionFailed):
            error.__traceback__ = error.__context__ = error.__cause__ = None
        for row in rows:
            self.errors[row] = error

    def free(self) -> None:
        """Forget everything, a row at a time: at once, it would hold up whatever else this process does."""
        for held in (self.errors, self._others):
            while held:
                held.popitem()


def compute(
    batch: Batch, residents: Sequence[Resident], rows: Sequence[Sequence[int]], answers: Answers
) -> float:
    """Answer the rows of kernels; return the CPU seconds of it.

    Args:
        residents: kernels.
        rows: of each of them.
    """
    began_s = time.thread_time()
    kinds, alone = _sorted(batch, residents, rows)
    for kind, (theirs, numbers) in kinds.items():
        for first in range(0, len(numbers), AT_ONCE):
            last = first + AT_ONCE
            _together(batch, kind, theirs[first:last], numbers[first:last], answers)
    for resident, some in alone:
        for call in batch.calls(some):
            _score(batch, resident.model, call, answers)
    return time.thread_time() - began_s


_Kinds = dict[Kind, tuple[list[Resident], list[int]]]
_Alone = list[tuple[Resident, Sequence[int]]]


def _sorted(
    batch: Batch, residents: Sequence[Resident], rows: Sequence[Sequence[int]]
) -> tuple[_Kinds, _Alone]:
    """Return for each kind the model of each row, and the row; and those that are asked alone."""
    for resident, some in zip(residents, rows, strict=True):
        resident.requests += len(some)
    if batch.one_by_one:
        return {}, list(zip(residents, rows, strict=True))
    of_each: list[Any] = [resident.kind for resident in residents]
    if not all(of_each):
        of_each = [_kind_of(resident) for resident in residents]
    first = of_each[0]
    flat = list(chain.from_iterable(rows))
    if first is not None and len(flat) == len(rows) and of_each.count(first) == len(rows):
        return {first: (list(residents), flat)}, []
    kinds: _Kinds = defaultdict(lambda: ([], []))
    alone: _Alone = []
    for kind, resident, some in zip(of_each, residents, rows, strict=True):
        if kind is None or not (kind.several or len(some) == 1):
            alone.append((resident, some))
            continue
        models, numbers = kinds[kind]
        models += [resident] * len(some)
        numbers += some
    return kinds, alone


def _kind_of(resident: Resident) -> Kind | None:
    if resident.kind is False:
        resident.kind = kind_of(resident.model) if isinstance(resident.model, Compiled) else None
    return resident.kind


def _together(
    batch: Batch, kind: Kind, residents: Sequence[Resident], rows: Sequence[int], answers: Answers
) -> None:
    matrix, odd = batch.matrix(rows, kind.names, extra=kind.ignores_extra)
    predictions, sure = kind.predict(_places(kind, residents), matrix)
    finite = np.isfinite(matrix)
    if not finite.all():
        sure &= finite.all(axis=1)
    if odd:
        sure[odd] = False
    if sure.all():
        answers.keep(rows, predictions)
        return
    held = np.flatnonzero(sure).tolist()
    answers.keep([rows[place] for place in held], predictions[sure])
    for place in np.flatnonzero(~sure).tolist():
        _score(batch, residents[place].model, [rows[place]], answers)


def _places(kind: Kind, residents: Sequence[Resident]) -> npt.NDArray[np.intp]:
    places = [resident.place for resident in residents]
    if min(places) < 0:
        for resident in residents:
            if resident.place < 0:
                kind.add(resident)
        places = [resident.place for resident in residents]
    return np.array(places, np.intp)


def _score(batch: Batch, model: Any, rows: Sequence[int], answers: Answers) -> None:
    try:
        keep(batch, rows, contained(lambda: score(model, batch.payload(rows))), answers)
    except Exception as error:
        if len(rows) > 1 and is_of_a_row(error):
            for half in halves(rows):
                _score(batch, model, half, answers)
        else:
            refuse(batch, rows, error, answers)


def keep(batch: Batch, rows: Sequence[int], predictions: Predictions, answers: Answers) -> None:
    """Keep what one call has answered to rows."""
    if batch.one_by_one:
        if answers.has_room(rows, predictions.nbytes):
            answers.put(rows, batch.answers(rows, values_of(predictions)))
    else:
        answers.keep(rows, predictions)


def values_of(predictions: Predictions) -> list[Any]:
    """Return predictions as a reader of a single answer has them."""
    if predictions.dtype == np.float64 or predictions.dtype.kind in "iubU":
        values: list[Any] = predictions.tolist()
        return values
    return orjson.loads(to_json(predictions, bare=True))  # type: ignore[no-any-return]


def is_of_a_row(error: Exception) -> bool:
    """Return whether one of several rows may be why a call failed, and another call does no harm."""
    return isinstance(error, FeatureMismatch | PredictionFailed)


def halves(rows: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Split rows into two halves, to find the row that fails."""
    middle = len(rows) // 2
    return rows[:middle], rows[middle:]


_FIRST = re.compile(r"\brow 0\b")


def refuse(batch: Batch, rows: Sequence[int], error: Exception, answers: Answers) -> None:
    """Answer rows with an error; one that was asked alone, as row 0, gets its own number."""
    if len(rows) == 1 and isinstance(error, InvalidRequest) and not batch.one_by_one:
        words = _FIRST.sub(f"row {batch.number(rows[0])}", str(error), count=1)
        kind = type(error)
        error = kind.__new__(kind)
        TenantryError.__init__(error, words)
    answers.refuse(rows, error)
