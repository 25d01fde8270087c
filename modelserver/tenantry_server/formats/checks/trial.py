"""A first prediction, so that a model that can't predict is refused when it is loaded."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid, PredictionFailed
from tenantry_server.rows.columns import Column, Kind, cast
from tenantry_server.scoring import results

_M = TypeVar("_M", bound=Model)
_VALUES: dict[Kind, Any] = {
    Kind.NUMBER: 0.0,
    Kind.INTEGER: 0,
    Kind.BOOLEAN: False,
    Kind.TEXT: "text",
    Kind.TIME: "2026-01-01T00:00:00",
}


def made(
    make: Callable[[bytes, str], _M],
    data: bytes,
    model_id: ModelId,
    words: Callable[[ValueError], str] = str,
) -> _M:
    """Make a model of an artifact for the method that is declared, and let it predict one row.

    Args:
        make: gets the artifact and the name of the method; raises ValueError where they don't fit.
        words: of that error.

    Raises:
        ArtifactInvalid: they don't fit, or as `try_once`.
    """
    method = model_id.method or "predict"
    try:
        model = make(data, method)
    except ValueError as error:
        raise ArtifactInvalid(model_id.uri, words(error)) from error
    try_once(model, method, model_id)
    return model


def try_once(model: Model, method: str, model_id: ModelId) -> None:
    """Predict one row, to find what only shows in use, such as a pickle of another version.

    The row is one that the estimator was fitted for, as far as it recorded that: zeros, texts, and the
    first of each column's categories.

    Args:
        method: the name of the method, for messages.

    Raises:
        ArtifactInvalid: it fails, does not answer row by row, or answers what JSON has no form for.
    """
    certain = model.numeric and model.feature_count is not None
    try:
        if model.numeric:
            answer: Any = model.predict_rows(np.zeros((1, model.feature_count or 1)))
        elif model.column_types is None:  # this can show no more than that it is not fitted
            answer = model.predict(pd.DataFrame(np.zeros((1, model.feature_count or 1))))
        else:
            certain = all(column.kind is not Kind.ANY for column in model.column_types)
            answer = model.predict(_row(model.column_types))
    except ValueError as error:
        if _is_unfitted(error):
            raise ArtifactInvalid(model_id.uri, f"{error}") from error
        return  # the row may lie outside what it takes, which is not a fault of the artifact
    except Exception as error:
        if not certain:
            return  # nor is a value of another type than the column has
        problem = f"{method} fails with {type(error).__name__}: {error}"
        raise ArtifactInvalid(model_id.uri, problem) from error
    _check(answer, method, model_id)


def _is_unfitted(error: ValueError) -> bool:
    """Return whether it is scikit-learn's NotFittedError, which only a model of scikit-learn raises."""
    exceptions = sys.modules.get("sklearn.exceptions")
    return exceptions is not None and isinstance(error, exceptions.NotFittedError)


def _check(answer: Any, method: str, model_id: ModelId) -> None:
    shape = np.shape(answer) if isinstance(answer, np.ndarray) else ()
    if not shape or shape[0] != 1:
        problem = f"{method} gives shape {shape} for one row; it must begin with 1"
        raise ArtifactInvalid(model_id.uri, problem)
    try:
        results.of(answer, 1, method)
    except PredictionFailed as error:
        raise ArtifactInvalid(model_id.uri, f"{error}") from None


def _row(columns: Sequence[Column]) -> pd.DataFrame:
    """Return one row of values that the columns may have."""
    values = [
        column.categories[0] if column.categories else _VALUES.get(column.kind, 0.0) for column in columns
    ]
    return cast(pd.DataFrame([values], columns=[column.name for column in columns]), columns)
