"""What is known of a series beyond its table: how each step follows from those before it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenantry_server.kernels.series.calendar import Calendar

REACH = 1024
"""Steps after the end of a series, and rows of a history: more of them take a millisecond or longer."""

MOST_LAGS = 64

_FEW = 12  # weights

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rule:
    """Each step is a constant and a weighted sum of those before it.

    Attributes:
        constant: of each step.
        weights: float64, shape (lags,): of the steps before, the oldest first.
    """

    constant: float
    weights: Numbers

    def continued(self, past: Numbers, count: int) -> Numbers:
        """Return the steps that follow `past`, which holds at least as many as there are lags."""
        return self._run(past, np.full(count, self.constant))

    def echoed(self, driven: Numbers) -> Numbers:
        """Return what is added to each step where something is added to each that the rule goes on from."""
        return self._run(np.zeros(len(self.weights)), driven)

    def shocks(self, count: int) -> Numbers:
        """Return the variance of each step, where that of the first one is 1 and shocks are independent."""
        impulse = np.zeros(count)
        impulse[0] = 1.0
        return np.cumsum(self.echoed(impulse) ** 2)

    def _run(self, past: Numbers, added: Numbers) -> Numbers:
        lags, weights = len(self.weights), self.weights
        used = np.flatnonzero(weights).tolist()
        if len(used) <= _FEW:  # 0.1 us a step and weight, and a product of NumPy takes 1.2
            pairs = [
                (lags - each, weight) for each, weight in zip(used, weights[used].tolist(), strict=True)
            ]
            made = past[len(past) - lags :].tolist()
            for step in added.tolist():
                made.append(sum([weight * made[-lag] for lag, weight in pairs], step))
            return np.array(made[lags:])
        steps = np.concatenate([past[len(past) - lags :], added])
        with np.errstate(all="ignore"):
            for number in range(len(added)):
                steps[lags + number] += weights @ steps[number : number + lags]
        return steps[lags:]


@dataclass(frozen=True, slots=True)
class Further:
    """What a kernel answers beyond its table.

    Attributes:
        calendar: of the labels; None: only those of the table are known.
        mean: how the mean goes on; None: it is not known.
        spread: how the variance goes on; None: it is not known.
        spread_echoes: whether the variance is that of shocks that pass on by the rule of the mean.
        fewest: rows of a history from which the rule goes on; 0: a history is the original's.
        spread_stays: whether the spread is the same after a history of the request.
        effects: of a step's exogenous columns, each with a value of 1, on its mean.
        echoes: whether these effects pass on to later steps by the rule.
    """

    calendar: Calendar | None = None
    mean: Rule | None = None
    spread: Rule | None = None
    spread_echoes: bool = False
    fewest: int = 0
    spread_stays: bool = False
    effects: tuple[float, ...] = ()
    echoes: bool = False


NOTHING = Further()
"""Of a kernel that answers nothing beyond its table."""
