"""Turns fitted scikit-learn estimators into something equal and much faster, or leaves them alone.

Linear models become one matrix product, with scalers and imputers folded in; tree ensembles go through
treelite; encoders of texts and codes become tables. Each is compared with its original before it serves
(see `proof`); whatever is unknown, differs or goes wrong is served by the original. Nothing here raises to
the caller.
"""

import logging
import warnings
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import structlog
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from tenantry.model import Predictions, Rows
from tenantry_server.cards.card import Form
from tenantry_server.compiling import encoders, linear, proof, tables, transformers, trees
from tenantry_server.compiling.proof import Noise
from tenantry_server.kernels.base import CannotCompile, Compiled, Head, Picked
from tenantry_server.kernels.encoded import Encoded
from tenantry_server.kernels.steps import Steps
from tenantry_server.rows.columns import Column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["fast"]

_SHARED_COLUMNS = 256  # wider ones are made each time: they could fill the memory
_COPYING = ("__getstate__", "__setstate__", "__reduce__", "__reduce_ex__", "__new__")

log = structlog.get_logger(__name__)


class FittedModel(Protocol):
    """What compiling reads of a model; `SklearnModel` is one.

    Attributes:
        estimator: fitted; `method` is the name of the method that predicts.
        feature_names: the columns in their order; None: it was fitted without names.
        feature_count: how many columns; None: the estimator does not say.
        accepts_missing: whether a value may be NaN.
        numeric: whether every column is a number.
        column_types: of all columns; None: unknown.
        form: what the estimator is given.
    """

    estimator: Any
    method: str
    feature_names: Sequence[str] | None
    feature_count: int | None
    accepts_missing: bool
    numeric: bool
    column_types: Sequence[Column] | None
    form: Form

    def predict(self, data: "pd.DataFrame", /) -> Predictions:
        """Score a DataFrame that has the columns of the model."""

    def predict_rows(self, rows: Rows) -> Predictions:
        """Score a matrix, float64, shape (n, features)."""


_M = TypeVar("_M", bound=FittedModel)


class _Family(Protocol):
    """A module that reads one kind of estimator."""

    def knows(self, estimator: Any, /) -> bool: ...
    def build(self, estimator: Any, method: str, steps: Steps, head: Head, /) -> Compiled: ...
    def probes(self, estimator: Any, steps: Steps, /, *, missing: bool) -> tuple[Rows, Noise]: ...
    def noise(self, estimator: Any, steps: Steps, rows: Rows, /) -> Noise: ...


def fast(model: _M) -> Compiled | _M:
    """Return a compiled model that was proven equal, or else the model itself.

    Example:
        >>> import numpy as np
        >>> from sklearn.linear_model import Ridge
        >>> from tenantry_server.formats.sklearn.reader import SklearnModel
        >>> model = SklearnModel(Ridge().fit(np.eye(3), [1.0, 2.0, 3.0]))
        >>> type(fast(model)).__name__
        'Affine'
        >>> bool(np.allclose(fast(model).predict_rows(np.eye(3)), model.predict_rows(np.eye(3))))
        True
    """
    try:
        return _compiled(model)
    except CannotCompile as reason:
        _log_not_compiled(model, str(reason))
    except Exception as error:  # the original serves, whatever is wrong
        _log_not_compiled(model, repr(error))
    return model


def _log_not_compiled(model: FittedModel, reason: str) -> None:
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        kind = type(getattr(model, "estimator", model)).__name__
        log.debug("model not compiled", estimator=kind, reason=reason)


def _compiled(model: FittedModel) -> Compiled:
    *before, final = _parts(model.estimator)
    family = _family_of(final)
    if not model.numeric and before and encoders.has_encoder(before[0]):
        return _encoded(model, before, final)
    steps = _no_steps(_count(model, [*before, final]))
    for part in before:
        steps = transformers.read(part, steps)
    takes_missing = get_tags(final).input_tags.allow_nan
    missing = model.accepts_missing and (steps.fills or takes_missing)
    compiled = _assembled(model, final, steps, missing=missing)
    rows, noise = family.probes(final, steps, missing=missing)
    proof.check(_expected(model, [*before, final], rows), compiled.predict_rows, rows, noise)
    return compiled


def _no_steps(count: int) -> Steps:
    """Return no operations on all columns: one object for all models of as many, and so one line."""
    return _none(count) if count <= _SHARED_COLUMNS else Steps.none(count)


@lru_cache(maxsize=64)
def _none(count: int) -> Steps:
    return Steps.none(count)


def _encoded(model: FittedModel, before: list[Any], final: Any) -> Compiled:
    """Compile a model whose first part encodes texts or codes."""
    types, names = model.column_types, model.feature_names
    if types is None or names is None or model.form is not Form.FRAME:
        raise CannotCompile("the types of its columns are unknown")
    family = _family_of(final)
    encoding = encoders.read(before[0], types)
    steps = encoding.steps
    for part in before[1:]:
        steps = transformers.read(part, steps)
    missing = bool(steps.fills or get_tags(final).input_tags.allow_nan)
    encoding = encoding if missing else encoding.refusing_missing()
    used = [types[column].name for column in encoding.numbers]
    inner_names = (*used, *("" for _ in encoding.base[len(used) :]))
    inner = family.build(final, model.method, steps, Head(inner_names, len(inner_names), missing))
    compiled = Encoded(
        Head(tuple(names), len(names), accepts_missing=True),
        encoding.kinds,
        encoding.numbers,
        encoding.codecs,
        encoding.base,
        inner,
    )
    numbers, _ = family.probes(final, steps, missing=missing)
    rows = encoders.probes(encoding, numbers)
    with (
        np.errstate(all="ignore"),
        warnings.catch_warnings(action="ignore"),
    ):  # probes overflow, or are unknown
        expected = model.predict(tables.cast(rows, types))
        noise = family.noise(final, steps, compiled.matrix(rows))
    proof.check(expected, compiled.predict_values, rows, noise)
    return compiled


def _expected(model: FittedModel, parts: list[Any], rows: Rows) -> Predictions:
    """Return what the original answers to probe rows.

    A copy without the names that it was fitted with answers a plain array, where that can be done. The
    names decide nothing but the order of columns, and making a DataFrame and taking it apart again costs
    two thirds of loading a small model.
    """
    with np.errstate(all="ignore"):  # large probes may overflow
        if model.feature_names is None or any(
            isinstance(each, Pipeline | ColumnTransformer) for each in parts
        ):
            return model.predict_rows(rows)
        return np.asarray(getattr(_without_names(model.estimator), model.method)(rows))


def _without_names(estimator: Any) -> Any:
    """Return a shallow copy that takes a plain array; the estimator itself is a tenant's, and stays."""
    if type(estimator) in (GridSearchCV, RandomizedSearchCV):
        return _without_names(estimator.best_estimator_)
    copied = _copied(estimator)
    if type(estimator) is Pipeline:
        copied.steps = [(name, _without_names(step)) for name, step in estimator.steps]
    elif hasattr(estimator, "__dict__"):
        vars(copied).pop("feature_names_in_", None)
    return copied


def _copied(estimator: Any) -> Any:
    """Return a shallow copy.

    `copy` passes through scikit-learn's own methods, which look up versions: a third of what the predict of
    a linear model takes. A class that has other methods for it is asked.
    """
    kind = type(estimator)
    if any(getattr(kind, name) is not getattr(BaseEstimator, name) for name in _COPYING) or hasattr(
        kind, "__copy__"
    ):
        return copy(estimator)
    copied = object.__new__(kind)
    vars(copied).update(vars(estimator))
    return copied


def _count(model: FittedModel, parts: list[Any]) -> int:
    """Return the number of columns; a pipeline whose first step passes them on does not state it."""
    if model.feature_count is not None:
        return model.feature_count
    counts = (getattr(part, "n_features_in_", None) for part in parts)
    count = next((count for count in counts if count is not None), None)
    if count is None:
        raise CannotCompile("its number of columns is unknown")
    return int(count)


def _family_of(estimator: Any) -> _Family:
    families: tuple[_Family, ...] = (linear, trees)
    for family in families:
        if family.knows(estimator):
            return family
    raise CannotCompile(f"{type(estimator).__name__} is not compiled")


def _assembled(model: FittedModel, final: Any, steps: Steps, *, missing: bool) -> Compiled:
    """Compile for all columns, or for those that a ColumnTransformer does not drop."""
    names, count = None if model.feature_names is None else tuple(model.feature_names), steps.inputs
    used = sorted({int(column) for column in steps.columns})
    if model.numeric or len(used) == count:
        return _family_of(final).build(final, model.method, steps, Head(names, count, missing))
    steps = replace(steps, columns=np.searchsorted(used, steps.columns), inputs=len(used))
    head = Head(names and tuple(names[column] for column in used), len(used), missing)
    inner = _family_of(final).build(final, model.method, steps, head)
    return Picked(Head(names, count, accepts_missing=True), inner, used)


def _parts(estimator: Any) -> list[Any]:
    """Return the transformers and the last estimator; a search stands for its best estimator."""
    if type(estimator) in (GridSearchCV, RandomizedSearchCV):
        return _parts(estimator.best_estimator_)
    if type(estimator) is not Pipeline:
        return [estimator]
    *before, last = [part for _, part in estimator.steps]
    return [*before, *_parts(last)]
