"""Kernels of series as bytes between processes; read as a stranger's, who may have written them."""

import math
from typing import Any

import numpy as np

from tenantry_server.kernels import arrays
from tenantry_server.kernels.arrays import Array, Buffer, Malformed
from tenantry_server.kernels.series.calendar import Calendar
from tenantry_server.kernels.series.rule import MOST_LAGS, REACH, Further, Rule
from tenantry_server.kernels.series.table import ForecastTable
from tenantry_server.kernels.wire_names import Fields
from tenantry_server.rows.forecast_request import MOST_STEPS

KIND = "forecast table"
_LONGEST_LABEL = 64
_LONGEST_NAME = 1024
_MOST_NAMES = 256
_FURTHER_FLAGS = ("spread_stays", "spread_echoes", "echoes")
_FLAGS = ("takes_quantiles", "takes_history", "starts")


def pack(table: ForecastTable) -> list[Buffer]:
    """Write a table."""
    fields: Fields = {
        "kind": KIND,
        "labels": table.labels,
        "quantiles": table.quantiles,
        "only": int(table.only),
        "exog_names": table.exog_names,
        "further": None,
    }
    flags = {name: bool(getattr(table, name)) for name in _FLAGS}
    further, parts = table.further, [table.numbers]
    if further is not None:
        calendar, rules = further.calendar, (further.mean, further.spread)
        parts += [rule.weights for rule in rules if rule is not None]
        fields["further"] = {
            "calendar": calendar and [calendar.first, calendar.unit, calendar.every],
            "constants": [None if rule is None else float(rule.constant) for rule in rules],
            "fewest": int(further.fewest),
            "effects": list(map(float, further.effects)),
            **{name: bool(getattr(further, name)) for name in _FURTHER_FLAGS},
        }
    return arrays.encode(fields | flags, parts)


def read(fields: Fields, given: list[Array]) -> ForecastTable:
    """Read a table that may have been written by anybody.

    Raises:
        Malformed: it is none, or one whose parts don't fit.
        KeyError, TypeError, ValueError: a part is missing, or is of another type.
    """
    labels, quantiles, only = _labels(fields["labels"]), fields["quantiles"], fields["only"]
    if not all(type(each) is float and 0 < each < 1 for each in quantiles):
        raise Malformed("quantiles that are not between 0 and 1")
    numbers, *weights = given
    columns = {1 + len(quantiles)} if quantiles else {1, 2}
    if numbers.dtype != float or numbers.ndim != 2 or len(numbers) != len(labels):
        raise Malformed(f"numbers of {numbers.dtype}{numbers.shape} for {len(labels)} steps")
    if numbers.shape[1] not in columns:
        raise Malformed(f"{numbers.shape[1]} columns for {len(quantiles)} quantiles")
    if type(only) is not int or not 0 <= only <= len(labels):
        raise Malformed(f"quantiles of a horizon of {only!r}")
    names = _names(fields["exog_names"])
    further = _further(fields["further"], weights, names, numbers)
    flags = {name: bool(fields[name]) for name in _FLAGS}
    return ForecastTable(labels, numbers, quantiles, only=only, exog_names=names, further=further, **flags)


def _labels(given: Any) -> list[Any]:
    if type(given) is not list or not 0 < len(given) <= MOST_STEPS:
        raise Malformed("no steps, or too many")
    if not any(all(type(each) is kind for each in given) for kind in (str, int)):
        raise Malformed("its labels are neither texts nor numbers of steps")
    if any(len(str(each)) > _LONGEST_LABEL for each in given):
        raise Malformed("a label that is too long for a time")
    return given


def _names(given: Any) -> list[str]:
    if type(given) is not list or len(given) > _MOST_NAMES or len(set(given)) < len(given):
        raise Malformed("exogenous columns that are too many, or repeated")
    if not all(type(name) is str and len(name) <= _LONGEST_NAME for name in given):
        raise Malformed("an exogenous column without a name")
    return given


def _further(given: Any, weights: list[Array], names: list[str], numbers: Array) -> Further | None:
    if given is None:
        if weights or names:
            raise Malformed("weights or columns without what they do")
        return None
    constants, effects = given["constants"], given["effects"]
    rules = _rules(constants, weights, numbers)
    if type(effects) is not list or len(effects) != len(names) or not all(map(_is_finite, effects)):
        raise Malformed(f"effects of {len(names)} columns that are not as many numbers")
    fewest, mean = given["fewest"], rules[0]
    if type(fewest) is not int or not 0 <= fewest <= REACH:
        raise Malformed(f"a history of {fewest!r} rows")
    if given["spread_echoes"] and numbers.shape[1] != 2:
        raise Malformed("a spread that is not there goes on")
    goes_on = fewest or given["echoes"] or given["spread_echoes"]
    if goes_on and (mean is None or 0 < fewest < len(mean.weights)):
        raise Malformed(f"no rule that goes on from {fewest} rows")
    return Further(
        calendar=_calendar(given["calendar"]),
        mean=mean,
        spread=rules[1],
        fewest=fewest,
        effects=tuple(effects),
        **{name: bool(given[name]) for name in _FURTHER_FLAGS},
    )


def _rules(constants: Any, weights: list[Array], numbers: Array) -> list[Rule | None]:
    """Return the rules of mean and spread, which go on from the last steps of the table."""
    mean, spread = constants
    if len(weights) != (mean is not None) + (spread is not None):
        raise Malformed(f"{len(weights)} rules of weights")
    if spread is not None and numbers.shape[1] != 2:
        raise Malformed("a rule for a spread that is not there")
    rules: list[Rule | None] = []
    for constant in (mean, spread):
        if constant is None:
            rules.append(None)
            continue
        each = weights.pop(0)
        if each.dtype != float or each.ndim != 1 or not 0 < len(each) <= MOST_LAGS:
            raise Malformed(f"weights of {each.dtype}{each.shape}")
        if len(each) > len(numbers) or not _is_finite(constant) or not np.isfinite(each).all():
            raise Malformed("weights that are too many, or not finite")
        rules.append(Rule(constant, each))
    return rules


def _calendar(given: Any) -> Calendar | None:
    if given is None:
        return None
    calendar = Calendar(*given)
    if len(str(calendar.first)) > _LONGEST_LABEL or not calendar.is_sound():
        raise Malformed(f"a calendar of {str(given)[:100]}")
    return calendar


def _is_finite(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)
