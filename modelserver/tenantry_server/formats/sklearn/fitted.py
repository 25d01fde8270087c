"""What a fitted estimator takes, read from what its parts recorded when they were fitted."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags

from tenantry_server.cards.card import Form
from tenantry_server.rows.columns import Column, Kind

KNOWN = frozenset({"sklearn", "numpy", "scipy", "lightgbm", "xgboost"})
_FITTED = ("estimators_", "calibrated_classifiers_", "estimator_")
_MOST_INSIDE = 16  # of a hundred copies of one estimator, all take the same
_INNER = ("best_estimator_", "regressor_")  # of a search, and of TransformedTargetRegressor


def names(estimator: Any) -> tuple[str, ...] | None:
    """Return the column names that it was fitted with; None: it takes columns by position, or any."""
    found = getattr(estimator, "feature_names_in_", None)
    return None if found is None else tuple(str(name) for name in found)


def form(estimator: Any) -> Form:
    """Return what it is given, as far as its class and what it recorded say."""
    if names(estimator) is not None:
        return Form.FRAME
    first = next(_first(estimator))
    if not isinstance(first, BaseEstimator):
        return Form.FRAME
    tags = get_tags(first).input_tags
    if not tags.two_d_array and tags.string:
        return Form.TEXTS
    if not tags.two_d_array and tags.dict:
        return Form.RECORDS
    # A transformer of one's own that recorded nothing was given a frame, as it is now.
    recorded = getattr(first, "n_features_in_", None) is not None
    return Form.ARRAY if recorded or _is_known(first) or not hasattr(first, "transform") else Form.FRAME


def takes_only_numbers(estimator: Any) -> bool:
    """Return whether every column is a number, whatever part of the estimator reads it first."""
    return all(_takes_only_numbers(part) for part in _first(estimator))


def columns(estimator: Any) -> tuple[Column, ...] | None:
    """Return the types of the columns, as far as encoders and imputers recorded them; None: unknown."""
    known = names(estimator)
    if known is None:
        return None
    kinds: dict[str, Column] = {}
    for part in _first(estimator):
        for column in _recorded(part, known):
            before = kinds.setdefault(column.name, column)
            if before != column:
                kinds[column.name] = Column(column.name, Kind.ANY)
    return tuple(kinds.get(name, Column(name, Kind.ANY)) for name in known)


def uses_unnamed_categories(estimator: Any) -> bool:
    """Return whether a part was fitted with pandas' categories that only a card can name."""
    for part in _first(estimator):
        booster = getattr(part, "_Booster", None)
        if getattr(booster, "pandas_categorical", None):  # LightGBM
            return True
        types = getattr(booster, "feature_types", None)  # XGBoost
        if types is not None and "c" in types:
            return True
    return False


def _first(estimator: Any) -> Iterator[Any]:
    """Yield the parts that see a request's columns first."""
    for inner in _INNER:
        if hasattr(estimator, inner):
            yield from _first(getattr(estimator, inner))
            return
    if isinstance(estimator, Pipeline):
        steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
        yield from _first(steps[0]) if steps else iter([estimator])
        return
    inside = [] if isinstance(estimator, ColumnTransformer) else _inside(estimator)
    if not inside:
        yield estimator
    for part in inside:
        yield from _first(part)


def _inside(estimator: Any) -> list[Any]:
    """Return the estimators that it was made of, fitted ones where it keeps them."""
    if not isinstance(estimator, BaseEstimator):
        return []
    given = [
        part
        for name, value in vars(estimator).items()
        if not name.endswith("_") and not name.startswith("_")
        for part in _estimators_in(value)
    ]
    if not given:
        return []
    for name in _FITTED:
        fitted = _estimators_in(getattr(estimator, name, None))
        if fitted:
            return fitted[:_MOST_INSIDE]
    return given


def _estimators_in(value: Any) -> list[Any]:
    if isinstance(value, BaseEstimator):
        return [value]
    if not isinstance(value, list | tuple):
        return []
    parts = (each[1] if isinstance(each, tuple) and len(each) > 1 else each for each in value)
    parts = (
        getattr(each, "estimator", each) if not isinstance(each, BaseEstimator) else each for each in parts
    )
    return [each for each in parts if isinstance(each, BaseEstimator)]


def _is_known(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] in KNOWN


def _takes_only_numbers(part: Any) -> bool:
    if isinstance(part, ColumnTransformer | FunctionTransformer) or not isinstance(part, BaseEstimator):
        return False
    if not _is_known(part) and hasattr(part, "transform"):
        return False  # its tags are those of its base class, and say nothing about it
    tags = get_tags(part).input_tags
    if tags.string or tags.categorical or not (tags.two_d_array or tags.one_d_array):
        return False
    return _categories_of_trees(part) is None and not uses_unnamed_categories(part)


def _recorded(part: Any, known: Sequence[str]) -> Iterator[Column]:
    """Yield what a part recorded of the columns that it was fitted with."""
    if isinstance(part, ColumnTransformer):
        for _, inner, chosen in part.transformers_:
            if inner not in ("drop", "passthrough"):
                picked = _picked(chosen, known)
                for leaf in _first(inner):
                    yield from _recorded(leaf, picked)
        return
    kinds = _kinds(part)
    if kinds is not None:
        for name, kind in zip(known, kinds, strict=False):
            yield Column(name, **kind)


def _picked(chosen: Any, known: Sequence[str]) -> Sequence[str]:
    """Return the names of the columns that a ColumnTransformer gives to one of its parts."""
    if isinstance(chosen, str):
        return [chosen]
    if isinstance(chosen, int):
        return [known[chosen]]
    array = np.asarray(chosen)
    if array.dtype.kind in "OU":
        return [str(name) for name in array]
    return [str(name) for name in np.asarray(known, dtype=object)[array]]


def _kinds(part: Any) -> list[dict[str, Any]] | None:
    """Return the kind of each column of one part; None: it recorded none."""
    if not isinstance(part, BaseEstimator) or not _is_known(part):
        return None
    of_trees = _categories_of_trees(part)
    if of_trees is not None:
        return of_trees
    recorded = getattr(part, "categories_", None)  # of encoders
    if recorded is not None:
        return [_of_values(values) for values in recorded]
    recorded = getattr(part, "statistics_", None)  # of SimpleImputer
    if recorded is not None and recorded.dtype.kind == "O":
        return [_of_values(np.asarray([value], dtype=object)) for value in recorded]
    tags = get_tags(part).input_tags
    if not tags.two_d_array:
        return [{"kind": Kind.TEXT}] if tags.string else None
    if tags.string or tags.categorical or isinstance(part, FunctionTransformer):
        return None
    return [{"kind": Kind.NUMBER}] * int(getattr(part, "n_features_in_", 0))


def _of_values(values: Any) -> dict[str, Any]:
    """Return the kind of a column whose distinct values an encoder recorded."""
    present = [value for value in values if value is not None and value == value]  # noqa: PLR0124 - NaN
    if present and all(isinstance(value, str) for value in present):
        none = any(value is None for value in values)
        return {"kind": Kind.TEXT, "none": True, "dtype": "object"} if none else {"kind": Kind.TEXT}
    kinds = {"i": Kind.INTEGER, "u": Kind.INTEGER, "f": Kind.NUMBER, "b": Kind.BOOLEAN}
    kind = kinds.get(np.asarray(present).dtype.kind, Kind.ANY) if present else Kind.ANY
    return {"kind": kind}


def _categories_of_trees(part: Any) -> list[dict[str, Any]] | None:
    """Return the kinds of columns of a HistGradientBoosting that was fitted with pandas' categories."""
    categorical = getattr(part, "is_categorical_", None)
    encoder = getattr(part, "_preprocessor", None)  # scikit-learn 1.9
    if categorical is None or encoder is None:
        return None
    following = iter(encoder.named_transformers_["encoder"].categories_)
    kinds: list[dict[str, Any]] = []
    for is_category in categorical:
        if is_category:
            present = [value for value in next(following).tolist() if value == value]  # noqa: PLR0124 - NaN
            kinds.append({"kind": Kind.CATEGORY, "dtype": "category", "categories": tuple(present)})
        else:
            kinds.append({"kind": Kind.NUMBER})
    return kinds
