"""scikit-learn estimators, and any Model subclass, from joblib and pickle files."""

import io
from functools import cached_property
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid
from tenantry.model import Predictions, Rows
from tenantry_server.compiling import compiler
from tenantry_server.formats.trial import try_once

_KNOWN = frozenset({"sklearn", "numpy", "scipy", "lightgbm", "xgboost"})
# How pickles, and the compressed files that joblib writes, begin; pickles of protocol 0 have no mark.
_PICKLES = (b"\x80", b"(", b"c", b"]", b"}")
_COMPRESSED = (b"\x78", b"\x1f\x8b", b"BZ", b"\xfd7zXZ", b"\x5d\x00", b"\x04\x22M\x18", b"ZF")


class SklearnModel(Model):
    """A fitted scikit-learn estimator as a Model.

    The estimator states what it takes: the column names in their order, whether it needs numbers, and
    whether it takes missing values.

    Args:
        estimator: fitted, with the method `method`; pipelines included.
        method: ``predict``, ``predict_proba`` or ``decision_function``.

    Raises:
        ValueError: the estimator has no such method.

    Example:
        >>> from sklearn.linear_model import LinearRegression
        >>> fitted = LinearRegression().fit(pd.DataFrame({"km": [1.0, 2.0]}), [10.0, 20.0])
        >>> model = SklearnModel(fitted)
        >>> model.feature_names
        ('km',)
        >>> model.predict(pd.DataFrame({"km": [3.0]})).round(6)
        array([30.])
    """

    independent_rows = True

    def __init__(self, estimator: Any, method: str = "predict") -> None:
        if not hasattr(estimator, method):
            raise ValueError(f"{type(estimator).__name__} has no method {method}")
        self.estimator = estimator
        self.method = method
        names = getattr(estimator, "feature_names_in_", None)
        self.feature_names = None if names is None else tuple(str(name) for name in names)
        count = getattr(estimator, "n_features_in_", None)
        self.feature_count = None if count is None else int(count)
        steps = _steps(estimator)
        self.numeric = not _takes_other_than_numbers(steps[0])
        self.accepts_missing = not self.numeric or _accepts_missing(steps)

    @cached_property
    def may_block(self) -> bool:  # type: ignore[override]  # set on first use, then an attribute
        """Whether it is anything but numbers through the libraries' own classes, which only compute.

        Another class may wait, and a regular expression may take any time for the text of one row.
        """
        return not (self.numeric and _is_known(self.estimator))

    def predict(self, data: pd.DataFrame) -> Predictions:
        """Call the chosen method; a model that was fitted without names gets a plain array."""
        given = data if self.feature_names is not None else data.to_numpy()
        return np.asarray(getattr(self.estimator, self.method)(given))

    def predict_rows(self, rows: Rows) -> Predictions:
        """Call the chosen method on a matrix, with names only where it was fitted with them."""
        if self.feature_names is not None:
            return super().predict_rows(rows)
        return np.asarray(getattr(self.estimator, self.method)(rows))


def load(data: bytes, model_id: ModelId) -> Model:
    """Read a joblib or pickle file: a Model, or an estimator as a SklearnModel or compiled.

    Raises:
        ArtifactInvalid: it holds neither, or fails on a row of zeros other than by a ValueError.
    """
    try:
        loaded = joblib.load(io.BytesIO(data))
    except Exception as error:
        if data.startswith(_PICKLES + _COMPRESSED):
            raise
        problem = (
            f"it is not a joblib or pickle file (first bytes: {data[:16]!r})" if data else "it is empty"
        )
        raise ArtifactInvalid(model_id.uri, problem) from error
    return loaded if isinstance(loaded, Model) else model_of(loaded, model_id)


def model_of(loaded: Any, model_id: ModelId) -> Model:
    """Return the content of a file as a SklearnModel, or compiled.

    Raises:
        ArtifactInvalid: it is not an estimator, has no such method, or fails on a row of zeros.
    """
    if not hasattr(loaded, "predict"):
        kind = type(loaded).__name__
        raise ArtifactInvalid(model_id.uri, f"it holds a {kind}, which has no predict method")
    try:
        model = SklearnModel(loaded, model_id.method or "predict")
    except ValueError as error:
        raise ArtifactInvalid(model_id.uri, f"{error}; correct spec.model.method") from error
    # Exactly a SklearnModel: a subclass may answer otherwise, and `fast` reads no more than the estimator.
    fast = model if model_id.compile == "off" else compiler.fast(model)
    if fast is model:  # else both have just answered the same rows
        try_once(model, model.method, model_id)
    return fast


def _is_known(estimator: Any) -> bool:
    """Return whether an estimator and all its parts are of classes that only compute."""
    parts = (
        [estimator, *estimator.get_params(deep=True).values()] if hasattr(estimator, "get_params") else []
    )
    return bool(parts) and all(_only_computes(part) for part in parts)


def _only_computes(part: Any) -> bool:
    if isinstance(part, list | tuple):
        return all(_only_computes(each) for each in part)
    if part is None or isinstance(part, str | bool | int | float | np.ufunc):
        return True
    return not callable(part) and type(part).__module__.partition(".")[0] in _KNOWN


def _steps(estimator: Any) -> list[Any]:
    for inner in ("best_estimator_", "regressor_"):  # of a search, and of TransformedTargetRegressor
        if hasattr(estimator, inner):
            return _steps(getattr(estimator, inner))
    if not isinstance(estimator, Pipeline):
        return [estimator]
    parts = [part for _, part in estimator.steps if part not in (None, "passthrough")]
    return [leaf for part in parts for leaf in _steps(part)] or [estimator]


def _takes_other_than_numbers(first: Any) -> bool:
    if isinstance(first, ColumnTransformer):
        return True
    tags = get_tags(first).input_tags
    return bool(tags.string or tags.categorical)


def _accepts_missing(steps: list[Any]) -> bool:
    """Return whether NaN reaches a step that fills it in (an imputer), or is allowed by all steps."""
    for step in steps:
        if not get_tags(step).input_tags.allow_nan:
            return False
        if type(step).__name__.endswith("Imputer"):
            return True
    return True
