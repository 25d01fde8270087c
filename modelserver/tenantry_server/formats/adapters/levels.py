"""Quantiles of libraries that forecast intervals: each quantile is one end of one interval."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

Ends = tuple[Any, Any]
"""The lower and the upper end of an interval, one value a step."""


def of_intervals(quantiles: Sequence[float], interval: Callable[[float], Ends]) -> dict[float, Any]:
    """Return the values of each quantile.

    Args:
        interval: from the share that lies outside an interval (`alpha`) to its ends.
    """
    return {
        quantile: interval(round(2 * min(quantile, 1 - quantile), 12))[quantile > 0.5]
        for quantile in quantiles
    }


def names(quantiles: Sequence[float]) -> dict[float, tuple[str, float]]:
    """Return for each quantile how Nixtla's libraries name it: ``lo`` or ``hi``, and the level in percent.

    Example:
        >>> names([0.1, 0.9, 0.975])
        {0.1: ('lo', 80), 0.9: ('hi', 80), 0.975: ('hi', 95)}
    """
    named: dict[float, tuple[str, float]] = {}
    for quantile in quantiles:
        level = round(100 * abs(1 - 2 * quantile), 6)
        named[quantile] = ("hi" if quantile > 0.5 else "lo", int(level) if level == int(level) else level)
    return named


def frame(mean: Any, quantiles: Mapping[float, Any]) -> pd.DataFrame:
    """Return a forecast as `Forecaster.forecast` does."""
    columns: dict[Any, Any] = {"mean": mean, **quantiles}
    return pd.DataFrame({name: np.asarray(values, np.float64) for name, values in columns.items()})


def of_columns(answered: Any, alias: str, named: Mapping[float, tuple[str, float]]) -> pd.DataFrame:
    """Return a forecast from a table of Nixtla's: column `alias`, and ``alias-lo-80`` for an end."""
    return frame(
        answered[alias], {q: answered[f"{alias}-{end}-{level}"] for q, (end, level) in named.items()}
    )
