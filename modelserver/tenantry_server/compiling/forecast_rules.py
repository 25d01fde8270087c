"""Finds out how a forecast goes on beyond its table, and proves it: longer horizons, histories, exog.

The forecaster is asked here too, and nothing of its library is read, but for one claim: whether its mean is
an affine function of the history and of the exogenous columns, as an autoregression's is by its definition.
Then each coefficient is one question. What was found answers requests that it was not found with, and is
kept where the forecaster answers the same. What no rule is found for stays with the library.
"""

import contextlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tenantry import TenantryError
from tenantry.forecaster import VALUE
from tenantry_server.compiling import series_shapes
from tenantry_server.compiling.forecast_answers import NORMALS, Ask, numbers_of, same
from tenantry_server.kernels.base import CannotCompile
from tenantry_server.kernels.series import calendar as calendars
from tenantry_server.kernels.series.rule import MOST_LAGS, REACH, Further, Numbers, Rule
from tenantry_server.kernels.series.table import ForecastTable
from tenantry_server.rows.forecast_request import TIME, ForecastRequest

_ROWS = 96  # of a history with which coefficients are found
_MOST_S = 0.3  # of CPU for them
_MOST_NAMES = 32
_EXACT = 1e-12  # a coefficient this close to a whole number is that number
_BUMP = 100.0  # an exogenous value whose effect is measured
_NOT_THERE = 1e-10  # of the size of the series: what changes less, does not change


@dataclass(frozen=True, slots=True)
class _Trial:
    """A forecaster, its table, and values such as its own."""

    ask: Ask
    table: ForecastTable
    random: np.random.Generator
    level: float
    width: float

    @property
    def has_spread(self) -> bool:
        return not self.table.quantiles and self.table.numbers.shape[1] > 1

    def values(self, count: int, scale: float = 1.0) -> Numbers:
        return scale * (self.level + self.width * self.random.normal(size=count))

    def exog(self, rows: int, scale: float = 1.0) -> dict[str, list[float]] | None:
        names = self.table.exog_names
        return {name: (scale * self.random.normal(size=rows)).tolist() for name in names} or None

    def holds(self, further: Further, asked: ForecastRequest) -> bool:
        """Return whether a kernel with this would answer a request as the forecaster does."""
        kernel = with_further(self.table, further)
        try:
            if not kernel.covers(asked):
                return False
            same(kernel.answer(asked), self.ask(asked))
        except (CannotCompile, TenantryError):
            return False
        return True


def with_further(table: ForecastTable, further: Further | None) -> ForecastTable:
    """Return the same table with what is known beyond it."""
    return ForecastTable(
        table.labels,
        table.numbers,
        table.quantiles,
        only=table.only,
        takes_quantiles=table.takes_quantiles,
        takes_history=table.takes_history,
        starts=table.starts,
        exog_names=table.exog_names,
        further=further,
    )


def extended(ask: Ask, table: ForecastTable, *, affine: bool, local: bool) -> ForecastTable:
    """Return the table of a forecaster with what was proven beyond it.

    Args:
        ask: asks the forecaster, with zeros for exogenous columns that a request leaves out.
        affine: whether its mean is an affine function of the values of a history, and of exogenous columns.
        local: whether its times are in a time zone whose days differ in length.

    Raises:
        CannotCompile: it takes exogenous columns, and what they do was not found.
    """
    mean = table.numbers[:, 0]
    finite = mean[np.isfinite(mean)]
    level = float(finite.mean()) if len(finite) else 0.0
    width = max(float(finite.std()) if len(finite) else 0.0, 0.1 * abs(level), 1e-3)
    trial = _Trial(ask, table, np.random.default_rng(5), level, width)
    known = None if local or len(table.labels) < 2 else calendars.of_labels(table.labels)
    further = Further(known)
    takes_history = affine and table.takes_history and known is not None
    if takes_history:
        with contextlib.suppress(CannotCompile, TenantryError):
            further = replace(further, mean=_rule_of_history(trial, further))
    if table.exog_names:
        if not affine or len(table.exog_names) > _MOST_NAMES:
            raise CannotCompile("nobody says that its exogenous columns add up")
        table, further = _with_effects(trial, further)
        trial = replace(trial, table=table)
    if takes_history and further.mean is not None:
        further = _with_history(trial, further, len(further.mean.weights))
    further = _far(trial, further)
    return with_further(table, None if further in (Further(), Further(known)) else further)


def _with_history(trial: _Trial, further: Further, lags: int) -> Further:
    """Return how many rows of a history the rule goes on from, where it does."""
    for rows in (*range(lags, lags + 4), *range(2 * lags, 2 * lags + 4), 3 * lags + 4, _ROWS):
        found = replace(further, fewest=rows)
        if all(trial.holds(found, each) for each in _afters(trial, found, (rows, rows + 1))):
            return _proven_history(trial, found)
    return further


def _proven_history(trial: _Trial, found: Further) -> Further:
    rows = (found.fewest, 2 * found.fewest + 3, _ROWS + 1)
    if not all(trial.holds(found, each) for each in _afters(trial, found, rows, whole=True)):
        return replace(found, fewest=0)
    spread = replace(found, spread_stays=True)
    asked = (replace(each, quantiles=NORMALS) for each in _afters(trial, found, rows[::2]))
    return spread if trial.has_spread and all(trial.holds(spread, each) for each in asked) else found


def _afters(
    trial: _Trial, further: Further, rows: tuple[int, ...], *, whole: bool = False
) -> Iterator[ForecastRequest]:
    """Yield requests with histories of so many rows, at several places of the calendar."""
    for number, count in enumerate(rows):
        horizon = len(trial.table.labels) if whole and not number else 3
        scale = 1000.0 if whole and number == 1 else 1.0
        past = _past(trial, further, trial.values(count, scale), (0, -50, 401)[number % 3])
        yield ForecastRequest(horizon=horizon, history=past, exog=trial.exog(horizon))


def _past(trial: _Trial, further: Further, values: Numbers, place: int = 0) -> dict[str, Any]:
    count = len(values)
    times = further.calendar.labels(place, count) if further.calendar is not None else []
    return {TIME: times, VALUE: values.tolist(), **(trial.exog(count) or {})}


def _rule_of_history(trial: _Trial, further: Further) -> Rule:
    """Return a constant and a weight for each of the last values, each from one question.

    Raises:
        CannotCompile: values that are older than MOST_LAGS steps count too, or it would take too long.
        TenantryError: it refuses such a history.
    """
    base = trial.values(_ROWS)
    past = _past(trial, further, base) | {name: [0.0] * _ROWS for name in trial.table.exog_names}

    def after(values: Numbers, horizon: int = 1) -> Numbers:
        latest = {name: column[-len(values) :] for name, column in past.items()}
        request = ForecastRequest(horizon=horizon, history=latest | {VALUE: values.tolist()})
        return numbers_of(trial.ask(request))[:, 0]

    began_s = time.thread_time()
    first = after(base, 3)
    spent_s = time.thread_time() - began_s
    size = float(np.abs(first).max() + trial.width)
    older = trial.values(_ROWS, 3.0)
    for count in (1, 2, 4, 8, 16, 32, MOST_LAGS):
        if spent_s * count > _MOST_S:
            raise CannotCompile("it would take too long")
        other = np.concatenate([older[:-count], base[-count:]])
        if np.abs(after(other, 3) - first).max() <= _NOT_THERE * size:
            break
    else:
        raise CannotCompile("it depends on more of the history than a kernel keeps")
    few = base[-3 * count - 4 :]  # quicker to ask with, where it makes no difference
    with contextlib.suppress(TenantryError):
        if len(few) < _ROWS and np.abs(after(few) - first[:1]).max() <= _NOT_THERE * size:
            base = few
    weights = np.zeros(count)
    for lag in range(1, count + 1):
        bumped = base.copy()
        bumped[-lag] += 10 * trial.width
        weights[count - lag] = _exact((after(bumped)[0] - first[0]) / (10 * trial.width))
    constant = float(first[0] - weights @ base[-count:])
    used = np.flatnonzero(weights)
    weights = np.ascontiguousarray(weights[min(used, default=count - 1) :])
    if len(weights) > len(trial.table.labels):
        raise CannotCompile("its table is shorter than what it goes on from")
    return Rule(0.0 if abs(constant) <= _EXACT * size else constant, weights)


def _with_effects(trial: _Trial, further: Further) -> tuple[ForecastTable, Further]:
    """Return what a value of each exogenous column adds, and the table with quantiles that hold then."""
    table = trial.table
    horizon, zeros = len(table.labels), table.numbers[:, 0]
    found = np.empty((len(table.exog_names), horizon))
    for number, name in enumerate(table.exog_names):
        given: dict[str, list[float]] = {each: [0.0] * horizon for each in table.exog_names}
        given[name][0] = _BUMP
        answer = trial.ask(ForecastRequest(horizon=horizon, exog=given))
        found[number] = (numbers_of(answer)[:, 0] - zeros) / _BUMP
    if not np.isfinite(found).all():
        raise CannotCompile("an exogenous column that makes no number")
    effects = tuple(map(float, found[:, 0]))
    later = np.abs(found[:, 1:]).max(initial=0.0)
    echoes = bool(later > _NOT_THERE * (np.abs(effects).max() + abs(trial.level) / _BUMP))
    if echoes and further.mean is None:
        raise CannotCompile("what its exogenous columns do to later steps has no rule")
    further = replace(further, effects=effects, echoes=echoes)
    if not _effects_hold(trial, further, ()):
        raise CannotCompile("its exogenous columns do not add up")
    if table.numbers.shape[1] > 1 and (table.quantiles or not _effects_hold(trial, further, NORMALS)):
        table = replace_numbers(table, table.numbers[:, :1])
    return table, further


def _effects_hold(trial: _Trial, further: Further, quantiles: tuple[float, ...]) -> bool:
    horizon = len(trial.table.labels)
    asked = [
        ForecastRequest(horizon=count, exog=trial.exog(count, scale), quantiles=quantiles)
        for count, scale in ((1, 1.0), (horizon, 1.0), (max(1, horizon // 2), 1000.0))
    ]
    if trial.table.starts and horizon > 1:
        start = trial.table.labels[1]
        asked.append(ForecastRequest(horizon=1, start=start, exog=trial.exog(2), quantiles=quantiles))
    return all(trial.holds(further, each) for each in asked)


def replace_numbers(table: ForecastTable, numbers: Numbers) -> ForecastTable:
    """Return a table of the mean alone."""
    return ForecastTable(
        table.labels,
        np.ascontiguousarray(numbers),
        takes_quantiles=table.takes_quantiles,
        takes_history=table.takes_history,
        starts=table.starts,
        exog_names=table.exog_names,
    )


def _far(trial: _Trial, further: Further) -> Further:
    """Return how mean and spread go on from the table's end, as far as a kernel reaches."""
    if further.calendar is None:
        return further
    numbers = trial.table.numbers
    shapes = itertools.islice(series_shapes.rules_of(numbers[:, 0]), 3)
    rules = list(shapes) if further.mean is None else [further.mean]
    asked = ForecastRequest(horizon=REACH, exog=trial.exog(REACH))
    for rule in rules:
        found = replace(further, mean=rule)
        if trial.holds(found, asked):
            return _far_spread(trial, found)
    if further.echoes:
        raise CannotCompile("it goes on otherwise than by its rule")
    return replace(further, mean=None, fewest=0, spread_stays=False)


def _far_spread(trial: _Trial, further: Further) -> Further:
    if not trial.has_spread:
        return further
    asked = ForecastRequest(horizon=REACH, exog=trial.exog(REACH), quantiles=NORMALS)
    found = [replace(further, spread_echoes=True)]
    shapes = series_shapes.rules_of(trial.table.numbers[:, 1] ** 2)
    found += [replace(further, spread=rule) for rule in itertools.islice(shapes, 2)]
    # The table itself tells most of them apart, without another question.
    return next((each for each in found if _fits(trial, each) and trial.holds(each, asked)), further)


def _fits(trial: _Trial, further: Further) -> bool:
    """Return whether shocks that pass on by the rule add up to the spread of the table."""
    if not further.spread_echoes or further.mean is None:
        return not further.spread_echoes
    variance = trial.table.numbers[:, 1] ** 2
    made = variance[0] * further.mean.shocks(len(variance))
    return bool(np.allclose(made, variance, rtol=1e-9, atol=0))


def _exact(weight: float) -> float:
    nearest = float(round(weight))
    return nearest if abs(weight - nearest) <= _EXACT else float(weight)
