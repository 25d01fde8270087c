"""Makes a table of a forecaster's first steps, and proves that it answers as the forecaster does.

Nothing of the library is read: the forecaster itself is asked. What it answers has to be the same when it
is asked again, and a shorter horizon has to be the beginning of a longer one. Forecasts that are drawn at
random, or that depend on the whole horizon, show there; they are left to the original.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from tenantry import TenantryError
from tenantry.errors import FeatureMismatch, InvalidRequest
from tenantry.model import Predictions
from tenantry_server.compiling import forecast_rules
from tenantry_server.compiling.forecast_answers import NORMALS, Ask, WithZeros, numbers_of, same
from tenantry_server.kernels.base import CannotCompile
from tenantry_server.kernels.series.table import ForecastTable
from tenantry_server.rows.forecast_request import ForecastRequest

STEPS = 64  # of a quick model: two months of days, a year of weeks
_STEPS_OF_SLOW = 28
_SLOW_S = 0.01
_MOST_STEPS = 1024  # 8 KB a column, where a card's example asks for so many
_TRIED = 14  # steps that say how quick a model is
_QUANTILES = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
_NORMAL = NormalDist()

_Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Columns:
    """The numbers of a table, and what they are; see `ForecastTable`."""

    numbers: _Numbers
    quantiles: tuple[float, ...] = ()
    only: int = 0


@dataclass(frozen=True, slots=True)
class Claims:
    """What a forecaster says of itself.

    Attributes:
        quantiles: whether it takes quantiles.
        history: whether it takes a history.
        exog_names: the exogenous columns that it takes.
        affine: whether its mean is an affine function of the values of a history, and of exogenous columns.
        local: whether its times are in a time zone whose days differ in length.
    """

    quantiles: bool = False
    history: bool = False
    exog_names: tuple[str, ...] = ()
    affine: bool = False
    local: bool = False


def table_of(ask: Ask, claims: Claims, example: ForecastRequest | None) -> ForecastTable:
    """Return the table of a forecaster, and what was proven beyond it.

    Args:
        ask: asks the forecaster.
        claims: what it says of itself.
        example: what its card asks; the kernel answers this at least.

    Raises:
        CannotCompile: what it answers depends on more than the step, or it fails.
    """
    try:
        table = _table(WithZeros(ask, claims.exog_names), claims, example)
    except TenantryError as error:
        raise CannotCompile(f"it can't answer every shorter horizon: {error}") from None
    if example is not None:
        if table.covers(example):
            same(table.answer(example), ask(example))
        elif example.history is not None:
            raise CannotCompile("its card asks with a history, which is not the kernel's")
    return table


def _table(ask: Ask, claims: Claims, example: ForecastRequest | None) -> ForecastTable:
    wanted = _TRIED if example is None else example.horizon
    if wanted > _MOST_STEPS:
        raise CannotCompile("its card asks for more than a table holds")
    if example is not None and (example.history is not None or example.exog is not None):
        example = None
    whole = _longest(ask, wanted)
    labels, mean = whole[:, 0].tolist(), numbers_of(whole)
    _check_shorter(ask, whole)
    starts = _starts(ask, whole)
    found = _with_quantiles(ask, mean, example) if claims.quantiles else _Columns(mean)
    table = ForecastTable(
        labels,
        np.ascontiguousarray(found.numbers),
        found.quantiles,
        only=found.only,
        takes_quantiles=claims.quantiles,
        takes_history=claims.history,
        starts=starts,
        exog_names=claims.exog_names,
    )
    return forecast_rules.extended(ask, table, affine=claims.affine, local=claims.local)


def _longest(ask: Ask, wanted: int) -> Predictions:
    """Return the steps of the table: many of a quick model, else what is asked for."""
    began_s = time.thread_time()
    first = ask(ForecastRequest(horizon=wanted))
    slow = time.thread_time() - began_s > _SLOW_S
    steps = max(wanted, _STEPS_OF_SLOW if slow else STEPS)
    if steps > wanted:
        try:
            longer = ask(ForecastRequest(horizon=steps))
        except (FeatureMismatch, InvalidRequest):
            return first  # one that was fitted for this horizon
        same(longer[:wanted], first)
        return longer
    return first


def _check_shorter(ask: Ask, whole: Predictions) -> None:
    if not np.array_equal(ask(ForecastRequest(horizon=len(whole))), whole):
        raise CannotCompile("it does not answer the same when it is asked again")
    for horizon in (1, 2):
        if horizon < len(whole):
            same(whole[:horizon], ask(ForecastRequest(horizon=horizon)))


def _starts(ask: Ask, whole: Predictions) -> bool:
    """Return whether a step by its label is where the table has it."""
    later = len(whole) // 3
    try:
        same(whole[later : later + 1], ask(ForecastRequest(horizon=1, start=whole[later, 0])))
    except TenantryError:
        return False
    return True


def _with_quantiles(ask: Ask, mean: _Numbers, example: ForecastRequest | None) -> _Columns:
    """Return the columns of the table; only the mean where no quantiles hold."""
    ways: list[Callable[[], _Columns]] = [
        lambda: _with_spread(ask, mean),
        lambda: _with_named(
            ask, mean, tuple(sorted({*_QUANTILES, *(example.quantiles if example else ())}))
        ),
    ]
    if example is not None and example.quantiles and example.start is None:
        ways.append(lambda: _with_example(ask, mean, example))
    for way in ways:
        with contextlib.suppress(CannotCompile, TenantryError):
            return way()
    return _Columns(mean)


def _with_spread(ask: Ask, mean: _Numbers) -> _Columns:
    """Return mean and standard deviation, where every quantile is a normal distribution's."""
    asked = ForecastRequest(horizon=len(mean), quantiles=NORMALS)
    whole = ask(asked)
    spread = (numbers_of(whole)[:, -1:] - mean) / _NORMAL.inv_cdf(NORMALS[-1])
    if not (np.isfinite(spread) & (spread >= 0)).all():
        raise CannotCompile("a step has no spread")
    made = np.hstack([mean, spread])
    table = ForecastTable(whole[:, 0].tolist(), made, takes_quantiles=True)
    same(table.answer(asked), whole)
    _check_half(ask, asked, whole)
    return _Columns(made)


def _with_named(ask: Ask, mean: _Numbers, named: tuple[float, ...]) -> _Columns:
    """Return the mean and these quantiles, where each is the same in a shorter forecast."""
    asked = ForecastRequest(horizon=len(mean), quantiles=named)
    whole = ask(asked)
    _check_half(ask, asked, whole)
    _check_several(ask, asked, whole, mean)
    return _Columns(numbers_of(whole), named)


def _with_example(ask: Ask, mean: _Numbers, example: ForecastRequest) -> _Columns:
    """Return the mean, and the quantiles of the horizon that the card asks for, which hold for no other.

    Simulated ones are such, and those of a library that derives them from the whole horizon.
    """
    whole = ask(example)
    _check_several(ask, example, whole, mean)
    numbers = np.full((len(mean), 1 + len(example.quantiles)), np.nan)
    numbers[:, :1] = mean
    numbers[: len(whole), 1:] = numbers_of(whole)[:, 1:]
    return _Columns(numbers, example.quantiles, example.horizon)


def _check_several(ask: Ask, asked: ForecastRequest, whole: Predictions, mean: _Numbers) -> None:
    """Check quantiles against the same request again, the mean alone, and two quantiles alone."""
    if not np.array_equal(ask(asked), whole):
        raise CannotCompile("it does not answer the same when it is asked again")
    same(whole[:, :2], np.column_stack([whole[:, 0], _objects(mean[: len(whole)])]))
    for quantile in {asked.quantiles[0], asked.quantiles[-1]}:
        alone = whole[:, [0, 1, 2 + asked.quantiles.index(quantile)]]
        same(alone, ask(replace(asked, quantiles=(quantile,))))


def _check_half(ask: Ask, asked: ForecastRequest, whole: Predictions) -> None:
    half = (asked.horizon + 1) // 2
    same(whole[:half], ask(replace(asked, horizon=half)))


def _objects(numbers: _Numbers) -> Predictions:
    made = numbers.astype(object)
    made[np.isnan(numbers)] = None
    return made
