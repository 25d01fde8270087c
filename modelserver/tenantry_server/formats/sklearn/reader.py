"""scikit-learn estimators, and any Model subclass, from joblib and pickle files."""

import contextlib
import io
import pickle
from collections.abc import Callable
from functools import cached_property
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid
from tenantry.model import Predictions, Rows
from tenantry_server.cards.card import Card, Form
from tenantry_server.compiling import compiler
from tenantry_server.formats import adapters
from tenantry_server.formats.checks import file_readers, pickled_versions
from tenantry_server.formats.checks.trial import try_once
from tenantry_server.formats.sklearn import fitted, joblib_files
from tenantry_server.scoring import results
from tenantry_server.scoring.several import Several

_GIVEN: dict[Form, Callable[[pd.DataFrame], Any]] = {
    Form.FRAME: lambda data: data,
    Form.ARRAY: lambda data: data.to_numpy(),
    Form.TEXTS: lambda data: data.iloc[:, 0].tolist(),
    Form.RECORDS: lambda data: data.to_dict("records"),
}
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
        card: what was recorded of it where it was trained; None: what it recorded itself.

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

    def __init__(self, estimator: Any, method: str = "predict", card: Card | None = None) -> None:
        if not hasattr(estimator, method):
            raise ValueError(f"{type(estimator).__name__} has no method {method}")
        self.estimator = estimator
        self.method = method
        self.numeric = fitted.takes_only_numbers(estimator)
        if card is None:
            self.form = fitted.form(estimator)
            self.feature_names = fitted.names(estimator)
            count = getattr(estimator, "n_features_in_", None)
            self.feature_count = 1 if self.form is Form.TEXTS else None if count is None else int(count)
            self.column_types = None if self.numeric else fitted.columns(estimator)
        else:
            self.form = card.form
            self.feature_names = card.names
            self.feature_count = len(card.columns)
            self.numeric = self.numeric and card.is_numeric
            self.column_types = None if self.numeric else card.columns
        self.accepts_missing = not self.numeric or _accepts_missing(_steps(estimator))

    @cached_property
    def may_block(self) -> bool:  # type: ignore[override]  # set on first use, then an attribute
        """Whether it is anything but numbers through the libraries' own classes, which only compute.

        Another class may wait, and a regular expression may take any time for the text of one row.
        """
        return not (self.numeric and _is_known(self.estimator))

    def predict(self, data: pd.DataFrame) -> Predictions:
        """Call the chosen method with what it was fitted with: a DataFrame, an array or a list."""
        return self.ask(_GIVEN[self.form](data))

    def predict_rows(self, rows: Rows) -> Predictions:
        """Call the chosen method on a matrix, with names only where it was fitted with them."""
        if self.feature_names is not None:
            return super().predict_rows(rows)
        return self.ask(rows)

    def ask(self, given: Any) -> Predictions:
        """Call the chosen method with this, as it stands."""
        returned = getattr(self.estimator, self.method)(given)
        if isinstance(returned, list) and self.method != "predict":  # an array for each output
            return results.by_row(returned)
        return results.as_array(returned)


def load(data: bytes, model_id: ModelId, card: Card | None = None) -> Model:
    """Read a joblib or pickle file: a Model, or an estimator as a SklearnModel or compiled.

    Raises:
        ArtifactInvalid: it holds neither, or fails on a row of zeros other than by a ValueError.
    """
    try:
        loaded = read(data)
    except Exception as error:
        if data.startswith(_PICKLES + _COMPRESSED):
            raise
        problem = (
            f"it is not a joblib or pickle file (first bytes: {data[:16]!r})" if data else "it is empty"
        )
        raise ArtifactInvalid(model_id.uri, problem) from error
    file_readers.refuse(loaded, model_id)
    if not isinstance(loaded, Model):
        adapted = adapters.adapted(loaded, model_id)
        return model_of(loaded, model_id, card) if adapted is None else adapted
    if model_id.method not in (None, getattr(loaded, "method", None)):
        problem = f"a Model is asked to predict, and not for {model_id.method}; remove spec.model.method"
        raise ArtifactInvalid(model_id.uri, problem)
    return loaded


def read(data: bytes) -> Any:
    """Return the content of a joblib or pickle file; any exception means that it is unusable.

    Where joblib put no array of its own, Python's own unpickler reads the same in a tenth of the time:
    joblib marks each with an object of its module `numpy_pickle`, or `numpy_pickle_compat`.
    """
    if data.startswith(b"\x80") and b"numpy_pickle" in data:
        with contextlib.suppress(joblib_files.Unusual):
            return joblib_files.loads(data)
    elif data.startswith(b"\x80"):
        try:
            return pickle.loads(data)  # noqa: S301 - as joblib does; see the package's first words
        except Exception as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                raise  # the code of a class
            # joblib's is written in Python: its traceback shows whether reading ended, or a class failed
    return joblib.load(io.BytesIO(data))


skew = pickled_versions.skew_of


def written_again(data: bytes) -> bytes:
    """Return a joblib or pickle file as joblib writes its content with the libraries here."""
    buffer = io.BytesIO()
    joblib.dump(read(data), buffer, compress=3 if data.startswith(_COMPRESSED) else 0)
    return buffer.getvalue()


def model_of(loaded: Any, model_id: ModelId, card: Card | None = None) -> Model:
    """Return the content of a file as a SklearnModel, or compiled.

    Raises:
        ArtifactInvalid: it is not an estimator, has no such method, or fails on a row of zeros.
    """
    kind = type(loaded).__name__
    if isinstance(loaded, type):
        raise ArtifactInvalid(
            model_id.uri, f"it holds the class {loaded.__name__}; publish a fitted instance of it"
        )
    missing = [method for method in model_id.methods if not hasattr(loaded, method)]
    if missing:
        problem = f"{kind} has no method {missing[0]}; correct spec.model.method"
        if not hasattr(loaded, "predict"):
            problem = f"it holds {_called(loaded)}, which has no predict method{_keys(loaded)}"
        raise ArtifactInvalid(model_id.uri, problem)
    if card is None and fitted.uses_unnamed_categories(loaded):
        raise ArtifactInvalid(
            model_id.uri,
            f"the {kind} was fitted with pandas' categories, which the artifact does not name; publish it "
            "with example=, so that its card does",
        )
    if len(model_id.methods) > 1:
        several = Several({method: SklearnModel(loaded, method, card) for method in model_id.methods})
        if card is None:
            try_once(several, " and ".join(model_id.methods), model_id)
        return several
    model = SklearnModel(loaded, model_id.methods[0], card)
    # Exactly a SklearnModel: a subclass may answer otherwise, and `fast` reads no more than the estimator.
    fast = model if model_id.compile == "off" or not _may_compile(model) else compiler.fast(model)
    if fast is model and card is None:  # else both have just answered the same rows, or golden rows follow
        try_once(model, model.method, model_id)
    return fast


def _called(loaded: Any) -> str:
    """Return what an object is that is not a model."""
    if loaded is None:
        return "None"
    if callable(loaded) and hasattr(loaded, "__name__"):
        return f"the function {loaded.__name__} of {getattr(loaded, '__module__', None)}"
    return f"a {type(loaded).__name__}"


def _keys(loaded: Any) -> str:
    """Return what is in a dictionary, such as weights or a model beside its metrics; empty for others."""
    if not isinstance(loaded, dict) or not loaded:
        return ""
    first = ", ".join(f"{key!r:.40}" for key in list(loaded)[:5])
    return (
        f"; its keys are {first}{' and others' if len(loaded) > 5 else ''}: publish the fitted model itself"
    )


def _may_compile(model: SklearnModel) -> bool:
    return isinstance(model.estimator, BaseEstimator) and model.form in (Form.FRAME, Form.ARRAY)


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
    return not callable(part) and type(part).__module__.partition(".")[0] in fitted.KNOWN


def _steps(estimator: Any) -> list[Any]:
    for inner in ("best_estimator_", "regressor_"):  # of a search, and of TransformedTargetRegressor
        if hasattr(estimator, inner):
            return _steps(getattr(estimator, inner))
    if not isinstance(estimator, Pipeline):
        return [estimator]
    parts = [part for _, part in estimator.steps if part not in (None, "passthrough")]
    return [leaf for part in parts for leaf in _steps(part)] or [estimator]


def _accepts_missing(steps: list[Any]) -> bool:
    """Return whether NaN reaches a step that fills it in (an imputer), or is allowed by all steps."""
    for step in steps:
        if not get_tags(step).input_tags.allow_nan:
            return False
        if type(step).__name__.endswith("Imputer"):
            return True
    return True
