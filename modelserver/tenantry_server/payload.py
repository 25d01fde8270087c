"""From a request body to the rows that a model takes, with errors that name the column and the row.

Three forms are understood: a list of records ``[{"a": 1, "b": 2}]``, ``{"columns": [...], "data":
[[...]]}``, and ``{"instances": [[...]]}`` (or records in it), as in KServe's V1 protocol. Rows and
columns are counted from 0 in messages, as in the body.
"""

import difflib
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pandas as pd

from tenantry import Model
from tenantry.errors import FeatureMismatch, InvalidRequest
from tenantry.model import Rows

_LONGEST_SHOWN = 40  # characters of a client's own text in a message
_FORMS = 'a list of records, {"columns": [...], "data": [[...]]} or {"instances": [[...]]}'


@dataclass(frozen=True, slots=True)
class Payload:
    """A body that was parsed and is not yet held against a model.

    Attributes:
        records: True where each row is a mapping by column name; else each row is a list.
        columns: the names of the lists' entries; None where there are none.
        rows: as they stood in the body.
        bare: True for the plain list of records, which is answered with a plain list.
    """

    records: bool
    columns: Sequence[str] | None
    rows: list[Any]
    bare: bool


def parse(body: bytes) -> Payload:
    """Read a JSON body of any of the three forms.

    Raises:
        InvalidRequest: not JSON, or of none of the forms; says where.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    if isinstance(document, list):
        return _table(document, None, bare=True)
    if isinstance(document, dict):
        if "instances" in document:
            if document.keys() & {"columns", "data"}:
                raise InvalidRequest("give either 'instances' or 'columns' with 'data', not both")
            return _table(_list(document["instances"], "instances"), None, bare=False)
        if "columns" in document and "data" in document:
            columns = _list(document["columns"], "columns")
            _check_names(columns)
            return _table(_list(document["data"], "data"), columns, bare=False)
        seen = f"an object with {', '.join(map(_short, list(document)[:5])) or 'no keys'}"
    else:
        seen = _kind(document)
    raise InvalidRequest(f"expected {_FORMS}, got {seen}")


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidRequest(f"{name!r} must be a list, got {_kind(value)}")
    return value


def _check_names(columns: list[Any]) -> None:
    seen = set()
    for position, name in enumerate(columns):
        if not isinstance(name, str):
            raise InvalidRequest(f"columns[{position}] must be a string, got {_kind(name)}")
        if name in seen:
            raise FeatureMismatch(f"column {_short(name)} is given twice")
        seen.add(name)


def _table(rows: list[Any], columns: list[str] | None, *, bare: bool) -> Payload:
    records = columns is None and bool(rows) and isinstance(rows[0], dict)
    wanted: Any = dict if records or (bare and columns is None) else list
    for number, row in enumerate(rows):
        if not isinstance(row, wanted):
            name = "an object" if wanted is dict else "a list"
            raise InvalidRequest(f"row {number} must be {name} like the others, got {_kind(row)}")
        if columns is not None and len(row) != len(columns):
            raise FeatureMismatch(f"row {number} has {len(row)} values for {len(columns)} columns")
    return Payload(records, columns, rows, bare)


def numeric_rows(payload: Payload, model: Model) -> Rows:
    """The rows as one float64 matrix in the model's own column order.

    Returns:
        shape (n, features).

    Raises:
        FeatureMismatch: a column is missing, unknown, or not a number the model takes.
    """
    names, lists = _in_order(payload, model)
    width = len(lists[0]) if lists else 0
    flat = [value for row in lists for value in row]
    try:
        matrix = np.array(array("d", flat)).reshape(len(lists), width)
    except (TypeError, OverflowError):
        matrix = _slowly(lists, names).reshape(len(lists), width)
    finite = np.isfinite(matrix)
    if not finite.all():
        _refuse_non_finite(matrix, finite, names, model)
    return matrix


def frame(payload: Payload, model: Model) -> pd.DataFrame:
    """The rows as a DataFrame, values as they stood in the body, columns in the model's order.

    Raises:
        FeatureMismatch: a column is missing or unknown.
    """
    names, lists = _in_order(payload, model)
    return pd.DataFrame(lists, columns=None if names is None else list(names))


def _in_order(payload: Payload, model: Model) -> tuple[Sequence[str] | None, list[list[Any]]]:
    """The rows as lists whose entries stand in the order of the returned names."""
    names = model.feature_names
    if payload.records:
        wanted = names if names is not None else tuple(payload.rows[0])
        _check_count(len(wanted), model, 0)
        return wanted, [_picked(row, wanted, number) for number, row in enumerate(payload.rows)]
    if payload.columns is None or names is None:
        for number, row in enumerate(payload.rows):
            _check_count(len(row), model, number)
            if len(row) != len(payload.rows[0]):
                raise FeatureMismatch(
                    f"row {number} has {len(row)} values, row 0 has {len(payload.rows[0])}"
                )
        return names if names is not None else payload.columns, payload.rows
    if list(payload.columns) == list(names):
        return names, payload.rows
    position = {name: index for index, name in enumerate(payload.columns)}
    _check_same(position, names, "")
    order = [position[name] for name in names]
    return names, [[row[index] for index in order] for row in payload.rows]


def _picked(row: dict[str, Any], names: Sequence[str], number: int) -> list[Any]:
    if len(row) == len(names):
        try:
            return [row[name] for name in names]
        except KeyError:
            pass
    _check_same(row, names, f"row {number}: ")
    return [row[name] for name in names]  # the model names a column twice


def _check_same(seen: Any, wanted: Sequence[str], where: str) -> None:
    known = set(wanted)
    missing = [name for name in wanted if name not in seen]
    unknown = [name for name in seen if name not in known]
    if not missing and not unknown:
        return
    words = []
    if missing:
        words.append(f"missing {_named(missing)}")
    if unknown:
        close = difflib.get_close_matches(unknown[0][:_LONGEST_SHOWN], missing, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        words.append(f"unknown {_named(unknown)}{hint}")
    raise FeatureMismatch(f"{where}{' and '.join(words)}; the model takes {', '.join(map(repr, wanted))}")


def _check_count(seen: int, model: Model, number: int) -> None:
    taken = model.feature_count
    if taken is None and model.feature_names is not None:
        taken = len(model.feature_names)
    if taken is not None and seen != taken:
        raise FeatureMismatch(f"row {number} has {seen} values, the model takes {taken}")


def _slowly(lists: list[list[Any]], names: Sequence[str] | None) -> Rows:
    """Convert value by value: missing ones become NaN, and the first bad one is named."""
    flat = array("d")
    for number, row in enumerate(lists):
        for position, value in enumerate(row):
            try:
                flat.append(math.nan if value is None else value)
            except TypeError:
                raise FeatureMismatch(
                    f"{_cell(number, position, names)} must be a number, got {_kind(value)}"
                ) from None
            except OverflowError:
                raise FeatureMismatch(
                    f"{_cell(number, position, names)} is too large for a float64"
                ) from None
    return np.array(flat)


def _refuse_non_finite(
    matrix: Rows, finite: "np.ndarray[Any, np.dtype[np.bool_]]", names: Sequence[str] | None, model: Model
) -> None:
    refused = np.isinf(matrix) if model.accepts_missing else ~finite
    for number, position in np.argwhere(refused)[:1]:
        missing = bool(np.isnan(matrix[number, position]))
        seen = "missing (null), and this model takes no missing values" if missing else "infinite"
        raise FeatureMismatch(f"{_cell(int(number), int(position), names)} is {seen}")


def _cell(number: int, position: int, names: Sequence[str] | None) -> str:
    column = _short(names[position]) if names is not None else str(position)
    return f"row {number}, column {column}"


def _named(names: list[str]) -> str:
    shown = ", ".join(map(_short, names[:5])) + (" …" if len(names) > 5 else "")
    return f"column{'s' if len(names) > 1 else ''} {shown}"


def _short(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the string {_short(value)}"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    return f"the number {value}"[:60]
