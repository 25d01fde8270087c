"""From an example of the training data to the columns and example rows of a card."""

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from tenantry_server.cards.card import CardInvalid, Form
from tenantry_server.rows.columns import Column, Kind

MOST_ROWS = 20  # of an example that a card keeps


def form_of(example: Any) -> Form:
    """Return what an example is.

    Raises:
        CardInvalid: neither a DataFrame, an array, a Series or list of texts, nor a list of dicts.
    """
    if isinstance(example, pd.DataFrame):
        return Form.FRAME
    if isinstance(example, pd.Series):
        return Form.TEXTS
    if hasattr(example, "toarray") or (isinstance(example, np.ndarray) and example.ndim == 2):
        return Form.ARRAY
    if isinstance(example, list | np.ndarray) and len(example):
        kinds = {type(value) for value in example}
        if all(issubclass(kind, str) for kind in kinds):
            return Form.TEXTS
        if kinds == {dict}:
            return Form.RECORDS
        if isinstance(example, list) and kinds <= {list, tuple}:
            return Form.ARRAY
    raise CardInvalid(
        f"example is a {type(example).__name__}; give rows of what the model was fitted with: a DataFrame, "
        "a two-dimensional array, a Series or list of texts, or a list of dicts"
    )


def frame_of(example: Any, form: Form) -> pd.DataFrame:
    """Return an example as a DataFrame."""
    if form is Form.FRAME:
        return pd.DataFrame(example)
    if form is Form.TEXTS:
        return pd.DataFrame({"text": list(example)})
    if form is Form.RECORDS:
        return pd.DataFrame(example)
    return pd.DataFrame(example.toarray() if hasattr(example, "toarray") else np.asarray(example))


def columns_of(frame: pd.DataFrame, form: Form) -> tuple[Column, ...]:
    """Return the types of an example's columns.

    Raises:
        CardInvalid: a name is not a text or stands twice, or a column's values have no form in a request.
    """
    names = [str(name) for name in frame.columns]
    if form is Form.FRAME:
        strange = [name for name in frame.columns if not isinstance(name, str)]
        if strange:
            raise CardInvalid(f"the example's column {strange[0]!r} must have a text for a name")
        double = [name for name in names if names.count(name) > 1]
        if double:
            raise CardInvalid(f"the example has two columns {double[0]!r}")
    if form is Form.RECORDS:
        return tuple(Column(name, Kind.ANY) for name in names)
    return tuple(_column(name, frame.iloc[:, position]) for position, name in enumerate(names))


def rows_of(frame: pd.DataFrame, form: Form, example: Any) -> list[Any]:
    """Return rows as a client sends them.

    Raises:
        CardInvalid: a value has no form in JSON.
    """
    if form is Form.RECORDS:
        return [{str(name): _plain(name, value) for name, value in row.items()} for row in example]
    names = [str(name) for name in frame.columns]
    columns = [
        [_plain(name, value) for value in frame.iloc[:, position].astype(object).tolist()]
        for position, name in enumerate(names)
    ]
    rows: Iterable[tuple[Any, ...]] = zip(*columns, strict=True)
    if form is Form.FRAME:
        return [dict(zip(names, row, strict=True)) for row in rows]
    return [list(row) for row in rows]


def statistics_of(frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return count, missing, mean, std, min and max of each column of numbers, of those that are finite."""
    found: dict[str, dict[str, float]] = {}
    for position, name in enumerate(frame.columns):
        series = frame.iloc[:, position]
        if series.dtype.kind not in "fiub":
            continue
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        present = values[np.isfinite(values)]
        described = {"count": float(len(values)), "missing": float(np.isnan(values).sum())}
        if len(present):
            described |= {
                "mean": float(present.mean()),
                "std": float(present.std()),
                "min": float(present.min()),
                "max": float(present.max()),
            }
        found[str(name)] = described
    return found


def _column(name: str, series: "pd.Series[Any]") -> Column:
    dtype = series.dtype
    written = str(dtype)
    if isinstance(dtype, pd.CategoricalDtype):
        categories = tuple(_plain(name, value) for value in dtype.categories.tolist())
        return Column(name, Kind.CATEGORY, "category", categories, ordered=bool(dtype.ordered))
    if isinstance(dtype, pd.SparseDtype):
        return _column(name, series.astype(dtype.subtype))
    if dtype.kind == "O" and not isinstance(dtype, pd.StringDtype):
        return _object_column(name, series)
    for is_such, kind in _KINDS:
        if is_such(dtype):
            return Column(name, kind, written)
    raise CardInvalid(
        f"the example's column {name!r} is of type {written}, which a request has no form for; give the "
        "model numbers, texts, truth values, categories or times"
    )


_KINDS = (
    (pd.api.types.is_bool_dtype, Kind.BOOLEAN),
    (pd.api.types.is_integer_dtype, Kind.INTEGER),
    (pd.api.types.is_float_dtype, Kind.NUMBER),
    (pd.api.types.is_datetime64_any_dtype, Kind.TIME),
    (lambda dtype: isinstance(dtype, pd.StringDtype), Kind.TEXT),
)


def _object_column(name: str, series: "pd.Series[Any]") -> Column:
    inside = pd.api.types.infer_dtype(series, skipna=True)
    if inside in ("string", "empty"):
        none = any(value is None for value in series.tolist())
        return Column(name, Kind.TEXT if inside == "string" else Kind.ANY, "object", none=none)
    if inside in ("bytes", "timedelta", "period", "interval"):
        raise CardInvalid(
            f"the example's column {name!r} holds {inside}, which JSON has no form for; give the model "
            "numbers, texts, truth values, categories or times"
        )
    if inside in ("datetime", "date", "datetime64"):
        raise CardInvalid(
            f"the example's column {name!r} holds Python {inside}s; convert it with pandas.to_datetime "
            "before fitting, so that a request's texts can be read as the same"
        )
    return Column(name, Kind.ANY, "object")


def _plain(name: Any, value: Any) -> Any:
    """Return a value as JSON has it."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, np.generic):
        return _plain(name, value.item())
    if isinstance(value, float):
        if np.isinf(value):
            raise CardInvalid(f"the example's column {name!r} holds an infinity, which JSON has not")
        return None if np.isnan(value) else value
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(name, each) for key, each in value.items()}
    raise CardInvalid(
        f"the example's column {name!r} holds a {type(value).__name__}, which JSON has no form for"
    )
