"""Answers of a forecaster that is asked while its kernel is made, and whether two of them are the same."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tenantry.model import Predictions
from tenantry_server.compiling import proof
from tenantry_server.kernels.base import CannotCompile
from tenantry_server.rows.forecast_request import ForecastRequest

Ask = Callable[[ForecastRequest], Predictions]
"""Answers a request as a server does: objects of shape (horizon, 2 + quantiles)."""

NORMALS = (0.012345, 0.1, 0.5, 0.8, 0.999)
"""Quantiles by which a normal distribution is known."""


class WithZeros:
    """Asks a forecaster with zeros for the exogenous columns that a request does not bring.

    Args:
        ask: asks the forecaster.
        names: of its exogenous columns.
    """

    def __init__(self, ask: Ask, names: Sequence[str]) -> None:
        self._ask, self._names = ask, names
        self._places: dict[Any, int] = {}

    def __call__(self, asked: ForecastRequest) -> Predictions:
        """Answer; a request may begin later only where a longer answer had that step."""
        if not self._names or asked.exog is not None:
            return self._ask(asked)
        rows = asked.horizon + (0 if asked.start is None else self._places[asked.start])
        answer = self._ask(replace(asked, exog={name: [0.0] * rows for name in self._names}))
        if asked.start is None and len(answer) > len(self._places):
            self._places = {label: place for place, label in enumerate(answer[:, 0].tolist())}
        return answer


def numbers_of(answer: Predictions) -> npt.NDArray[np.float64]:
    """Return the numbers of an answer, shape (horizon, 1 + quantiles); NaN: there is none."""
    return answer[:, 1:].astype(np.float64)


def same(seen: Predictions, expected: Predictions) -> None:
    """Compare two answers, or their numbers alone: labels exactly, numbers as proofs of kernels do.

    Raises:
        CannotCompile: they differ.
    """
    if seen.shape != expected.shape:
        raise CannotCompile(f"{len(seen)} steps instead of {len(expected)}")
    if seen.shape[1] and isinstance(expected[0, 0], str | int) and (seen[:, 0] != expected[:, 0]).any():
        raise CannotCompile("other steps than the original's")
    left, right = _floats(seen), _floats(expected)
    if (np.isnan(left) != np.isnan(right)).any():
        raise CannotCompile("a number where the original has none")
    left, right = np.nan_to_num(left), np.nan_to_num(right)
    largest = float(np.abs(right).max(initial=0.0))
    proof.check(right, lambda rows: left[-len(rows) :], right, proof.noise_of(np.array(largest), 1))


def _floats(answer: Any) -> npt.NDArray[np.float64]:
    return np.array(
        [
            [np.nan if value is None or isinstance(value, str) else float(value) for value in step]
            for step in answer
        ],
        np.float64,
    )
