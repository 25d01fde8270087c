"""Reads fitted scikit-learn transformers as steps; it refuses what it does not know exactly.

Types are compared, not looked up with isinstance: a subclass may do anything.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)

from tenantry_server.compiling.lines import side_by_side
from tenantry_server.kernels.base import CannotCompile
from tenantry_server.kernels.steps import Steps, fill


def read(transformer: Any, before: Steps) -> Steps:
    """Return the steps `before`, followed by those of a fitted transformer.

    Raises:
        CannotCompile: it is not known to be a line for each column.
    """
    if transformer is None or (isinstance(transformer, str) and transformer == "passthrough"):
        return before
    reader = _READERS.get(type(transformer))
    if reader is None:
        raise CannotCompile(f"{type(transformer).__name__} is not compiled")
    return reader(transformer, before)


def check_known(part: Any) -> None:
    """Refuse a transformer that `read` would refuse whatever it was fitted with.

    Raises:
        CannotCompile: it may treat columns or rows together.
    """
    if part is None or (isinstance(part, str) and part == "passthrough"):
        return
    if type(part) not in _READERS or getattr(part, "func", None) is not None:
        raise CannotCompile(f"{type(part).__name__} is not compiled")


def side_parts(transformer: ColumnTransformer) -> Iterator[tuple[Any, list[int]]]:
    """Yield each part beside others, with the positions of the columns that it takes.

    Raises:
        CannotCompile: it weighs them.
    """
    if transformer.transformer_weights:
        raise CannotCompile("a ColumnTransformer with weights is not compiled")
    positions = transformer._transformer_to_input_indices  # noqa: SLF001 - names, slices and masks resolved
    for name, part, _ in transformer.transformers_:
        taken = [int(position) for position in positions[name]]
        if taken and not (isinstance(part, str) and part == "drop"):
            yield part, taken


def _pipeline(pipeline: Pipeline, steps: Steps) -> Steps:
    for _, part in pipeline.steps:
        steps = read(part, steps)
    return steps


def _column_transformer(transformer: ColumnTransformer, before: Steps) -> Steps:
    blocks = [read(part, before.taking(taken)) for part, taken in side_parts(transformer)]
    if not blocks:
        raise CannotCompile("a ColumnTransformer that drops everything")
    return side_by_side(blocks)


def _function(transformer: FunctionTransformer, before: Steps) -> Steps:
    if transformer.func is not None:
        raise CannotCompile("a function is not compiled")
    return before


def _standard(scaler: StandardScaler, steps: Steps) -> Steps:
    if scaler.with_mean:
        steps = steps.then(np.subtract, scaler.mean_)
    return steps.then(np.divide, scaler.scale_) if scaler.with_std else steps


def _robust(scaler: RobustScaler, steps: Steps) -> Steps:
    if scaler.with_centering:
        steps = steps.then(np.subtract, scaler.center_)
    return steps.then(np.divide, scaler.scale_) if scaler.with_scaling else steps


def _min_max(scaler: MinMaxScaler, steps: Steps) -> Steps:
    if scaler.clip:
        raise CannotCompile("a scaler that clips is not a line")
    return steps.then(np.multiply, scaler.scale_).then(np.add, scaler.min_)


def _max_abs(scaler: MaxAbsScaler, steps: Steps) -> Steps:
    if getattr(scaler, "clip", False):
        raise CannotCompile("a scaler that clips is not a line")
    return steps.then(np.divide, scaler.scale_)


def _imputer(imputer: SimpleImputer, steps: Steps) -> Steps:
    if imputer.add_indicator or not isinstance(imputer.missing_values, float):
        raise CannotCompile("an imputer with indicators, or of another value than NaN, is not compiled")
    statistics = imputer.statistics_.tolist()  # an array of objects, where a constant is filled in
    if not all(isinstance(value, int | float) for value in statistics):
        raise CannotCompile("an imputer of values other than numbers is not compiled")
    if not math.isnan(imputer.missing_values) or any(map(math.isnan, statistics)):
        raise CannotCompile("an imputer that drops columns, or looks for a number, is not compiled")
    return steps.then(fill, statistics)


_READERS: dict[type, Callable[[Any, Steps], Steps]] = {
    Pipeline: _pipeline,
    ColumnTransformer: _column_transformer,
    FunctionTransformer: _function,
    StandardScaler: _standard,
    RobustScaler: _robust,
    MinMaxScaler: _min_max,
    MaxAbsScaler: _max_abs,
    SimpleImputer: _imputer,
}
