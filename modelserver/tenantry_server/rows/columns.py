"""The columns that a model was fitted with, and the values of a request read as them.

A value becomes what it was in the training frame, whatever other rows hold: so a batch and its rows, sent
one by one, get the same answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from tenantry.errors import FeatureMismatch
from tenantry_server.rows.payload import cell, shown

if TYPE_CHECKING:
    import pandas as pd


class Kind(StrEnum):
    """What the values of a column are."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TEXT = "text"
    CATEGORY = "category"
    TIME = "time"
    ANY = "any"  # values as they are in the body


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: as in the training frame; its position, for columns without names.
        kind: of its values.
        dtype: as pandas writes it, such as ``datetime64[us, UTC]``; empty: the usual one of its kind.
        categories: of a category, in their order.
        ordered: whether that order means something.
        none: a missing text is None, as in the training frame, and not NaN.
    """

    name: str
    kind: Kind
    dtype: str = ""
    categories: tuple[Any, ...] = ()
    ordered: bool = False
    none: bool = False

    @property
    def is_number(self) -> bool:
        """Whether a matrix of float64 may hold it."""
        return self.kind in (Kind.NUMBER, Kind.INTEGER, Kind.BOOLEAN)


def cast(frame: "pd.DataFrame", columns: Sequence[Column] | None) -> "pd.DataFrame":
    """Return the frame with each column as the model was fitted with it.

    Args:
        frame: as a payload made it, columns in the model's order.
        columns: as many; None: nothing is known of them, and only a missing value is NaN everywhere.

    Raises:
        FeatureMismatch: names the row and the column of a value that has no such type.
    """
    import pandas as pd  # noqa: PLC0415 - where a frame is needed, a worker makes it

    if columns is None:
        if not any(_is_object(series) for _, series in frame.items()):
            return frame
        cast_ = [_any(series, None) for _, series in frame.items()]
    else:
        if len(columns) != frame.shape[1]:
            raise FeatureMismatch(f"there are {frame.shape[1]} columns, the model takes {len(columns)}")
        pairs = zip(frame.items(), columns, strict=True)
        cast_ = [_CASTS[column.kind](series, column) for (_, series), column in pairs]
    made = pd.DataFrame(dict(enumerate(cast_)), index=frame.index)
    made.columns = frame.columns
    return made


def _number(series: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    dtype: Any = column.dtype or "float64"
    if series.dtype.kind in "fiub":
        typed: pd.Series[Any] = series.astype(dtype)
    else:
        typed = _each(series, column, "a number", _as_number).astype("float64").astype(dtype)
    return typed


def _integer(series: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    dtype: Any = column.dtype or "int64"
    if series.dtype.kind not in "fiub":
        series = _each(series, column, "a whole number", _as_number).astype("float64")
    bounds = None if dtype[0] in "IU" else np.iinfo(dtype)  # pandas' own dtypes check theirs
    if series.dtype.kind == "f":
        missing = series.isna()
        if (missing.any() and bounds is not None) or (series[~missing] % 1 != 0).any():
            return series  # as pandas reads such a column
    if bounds is not None and len(series):
        outside = (series < bounds.min) | (series > bounds.max)
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            raise _refused(
                row, column, f"a whole number from {bounds.min} to {bounds.max}", series.iloc[row]
            )
    typed: pd.Series[Any] = series.astype(dtype)
    return typed


def _boolean(series: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    if series.dtype.kind != "b":
        series = _each(series, column, "true or false", _as_boolean)
        if series.isna().any() and column.dtype != "boolean":
            return series
    dtype: Any = column.dtype or "bool"
    typed: pd.Series[Any] = series.astype(dtype)
    return typed


def _text(series: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    if series.dtype.kind != "O" or _is_object(series):
        series = _each(series, column, "a text", _as_text)
    dtype: Any = column.dtype or "str"
    if dtype != "object":
        typed: pd.Series[Any] = series.astype(dtype)
        return typed
    series = series.astype(object)
    return series.where(series.notna(), None if column.none else np.nan)


def _category(series: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    import pandas as pd  # noqa: PLC0415 - as above

    first = next(iter(column.categories), "")
    if isinstance(first, str):
        series = _each(series, column, "a text", _as_text)
    elif isinstance(first, bool):
        series = _each(series, column, "true or false", _as_boolean)
    else:
        series = _each(series, column, "a number", _as_number)
    # A value outside the categories is a missing one, as where a frame is made of the training one's dtype.
    known = pd.Index(column.categories)
    values = pd.Categorical(series.where(series.isin(known), np.nan), known, ordered=column.ordered)
    return pd.Series(values, index=series.index)


def _time(series: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    import pandas as pd  # noqa: PLC0415 - as above

    dtype = pd.api.types.pandas_dtype(column.dtype or "datetime64[us]")
    zone = getattr(dtype, "tz", None)

    def parsed(value: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError
        moment = pd.Timestamp(value)
        if zone is None:
            return moment if moment.tzinfo is None else moment.tz_convert("UTC").tz_localize(None)
        return moment.tz_localize(zone) if moment.tzinfo is None else moment.tz_convert(zone)

    moments = _each(series, column, "a time in ISO 8601, such as 2026-11-29T08:30:00", parsed)
    return pd.Series(moments.tolist(), index=moments.index, dtype=dtype)


def _any(series: "pd.Series[Any]", _column: Column | None) -> "pd.Series[Any]":
    if not _is_object(series):
        return series
    return series.where(series.notna(), np.nan)


_CASTS: dict[Kind, Callable[["pd.Series[Any]", Any], "pd.Series[Any]"]] = {
    Kind.NUMBER: _number,
    Kind.INTEGER: _integer,
    Kind.BOOLEAN: _boolean,
    Kind.TEXT: _text,
    Kind.CATEGORY: _category,
    Kind.TIME: _time,
    Kind.ANY: _any,
}


def _each(
    series: "pd.Series[Any]", column: Column, wanted: str, convert: Callable[[Any], Any]
) -> "pd.Series[Any]":
    """Convert value by value; a missing one is NaN."""
    import pandas as pd  # noqa: PLC0415 - as above

    converted: list[Any] = []
    for row, value in enumerate(series.tolist()):
        if value is None or value is pd.NaT or value is pd.NA or value != value:  # noqa: PLR0124 - NaN
            converted.append(np.nan)
            continue
        try:
            converted.append(convert(value))
        except (TypeError, ValueError, OverflowError):
            raise _refused(row, column, wanted, value) from None
    return pd.Series(converted, index=series.index, dtype=object)


def _is_object(series: "pd.Series[Any]") -> bool:
    """Return whether it holds any objects, and not texts as pandas keeps them."""
    return isinstance(series.dtype, np.dtype) and series.dtype.kind == "O"


def _as_number(value: Any) -> Any:
    if not isinstance(value, bool | int | float | np.number | np.bool_):
        raise TypeError
    float(value)  # raises where it is too large
    return value


def _as_boolean(value: Any) -> Any:
    if value not in (0, 1) or isinstance(value, str):
        raise ValueError
    return bool(value)


def _as_text(value: Any) -> Any:
    if not isinstance(value, str):
        raise TypeError
    return value


def _refused(row: int, column: Column, wanted: str, value: Any) -> FeatureMismatch:
    return FeatureMismatch(f"{cell(row, 0, [column.name])} must be {wanted}, got {shown(value)}")
