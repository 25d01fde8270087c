"""From a JSON body to the rows that a model takes, with errors that name the column and the row.

There are three forms: a list of records ``[{"a": 1, "b": 2}]``, ``{"columns": [...], "data":
[[...]]}``, and ``{"instances": [[...]]}`` (or records in it), as in KServe's V1 protocol.
"""

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import orjson

from tenantry import Model
from tenantry.errors import FeatureMismatch, InvalidRequest
from tenantry.model import Rows
from tenantry_server.rows.payload import (
    Payload,
    cell,
    check_count,
    check_finite,
    check_same,
    refuse_double_keys,
    short,
    shown,
)

if TYPE_CHECKING:
    import pandas as pd

_FLOAT64 = np.dtype(np.float64)  # to make one of its class takes a third of the time of a small array
_KEPT_NAMES = 64  # columns; to make a picker of more takes little of the time that their values take
_FORMS = 'a list of records, {"columns": [...], "data": [[...]]} or {"instances": [[...]]}'


@dataclass(slots=True)  # frozen costs 1 us a request
class JsonPayload(Payload):
    """A parsed JSON body that was not checked against a model yet.

    Attributes:
        records: True where each row is a mapping by column name; else each row is a list.
        columns: the names of the lists' entries; None: they have none.
        rows: as in the body.
        bare: True for the plain list of records, which is answered with a plain list.
    """

    records: bool
    columns: Sequence[str] | None
    rows: list[Any]
    bare: bool

    def __len__(self) -> int:
        return len(self.rows)

    def matrix(self, model: Model) -> Rows:
        """As `Payload.matrix`."""
        names, lists = self.in_order(model)
        if len(lists) == 1:
            flat = lists[0]
            width = len(flat)
        else:
            flat = [value for row in lists for value in row]
            width = len(lists[0]) if lists else 0
        try:
            values = array("d", flat)
        except (TypeError, OverflowError):
            values = numbers(lists, names)
        matrix = np.ndarray((len(lists), width), _FLOAT64, values) if values else np.empty((len(lists), 0))
        # Any NaN or infinity is in the sum, and for the few values of most requests this takes a
        # tenth of the time of numpy's isfinite.
        if len(values) > 64 or not math.isfinite(sum(values)):
            check_finite(matrix, names, model)
        return matrix

    def frame(self, model: Model) -> "pd.DataFrame":
        """As `Payload.frame`."""
        import pandas as pd  # noqa: PLC0415 - where a frame is needed, a worker makes it

        names, lists = self.in_order(model)
        return pd.DataFrame(lists, columns=None if names is None else list(names))

    def values(self, model: Model) -> Sequence[Sequence[Any]]:
        """As `Payload.values`."""
        return self.in_order(model)[1]

    def in_order(self, model: Model) -> tuple[Sequence[str] | None, list[Sequence[Any]]]:
        """Return the names of the columns that the model takes, and the rows as lists of these.

        Raises:
            FeatureMismatch: as `Payload.values`.
        """
        names = model.feature_names
        if self.records:
            wanted = tuple(names if names is not None else self.rows[0])
            if len(wanted) != model.feature_count:
                check_count(len(wanted), model, 0)
            # What a client calls its columns is not kept, nor what a wide model does.
            kept = names is not None and len(wanted) <= _KEPT_NAMES
            pick = _kept_picker(wanted) if kept else _picker(wanted)
            extra = names is not None and model.ignores_extra
            row = self.rows[0]
            if len(self.rows) == 1 and len(row) == len(wanted):  # as below, for what most requests are
                try:
                    return wanted, [pick(row)]
                except KeyError:
                    pass
            return wanted, [
                _picked(row, pick, wanted, number, extra=extra) for number, row in enumerate(self.rows)
            ]
        if self.columns is None or names is None:
            for number, row in enumerate(self.rows):
                check_count(len(row), model, number)
                if len(row) != len(self.rows[0]):
                    refuse_length(number, len(row), len(self.rows[0]))
            return names if names is not None else self.columns, self.rows
        if list(self.columns) == list(names):
            return names, self.rows
        position = {name: index for index, name in enumerate(self.columns)}
        check_same(position, names, "", extra=model.ignores_extra)
        order = [position[name] for name in names]
        return names, [[row[index] for index in order] for row in self.rows]


def parse(body: bytes) -> JsonPayload:
    """Read a JSON body of any of the three forms.

    Raises:
        InvalidRequest: it is not JSON, or has none of the forms; says where.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    if isinstance(document, list):
        first = document[0] if len(document) == 1 else None
        if isinstance(first, dict):  # as below, for what most requests are
            texts = body.count(b'"') - 2 * len(first)
            if not texts or texts == 2 * [*map(type, first.values())].count(str):
                return JsonPayload(True, None, document, True)
        table = _table(document, None, bare=True)
        _check_keys(body, table, 0)
        return table
    if isinstance(document, dict):
        if "instances" in document:
            if document.keys() & {"columns", "data"}:
                raise InvalidRequest("give either 'instances' or 'columns' with 'data', not both")
            table = _table(_list(document["instances"], "instances"), None, bare=False)
            _check_keys(body, table, len(document))
            return table
        if "columns" in document and "data" in document:
            columns = _list(document["columns"], "columns")
            _check_names(columns)
            table = _table(_list(document["data"], "data"), columns, bare=False)
            _check_keys(body, table, len(document) + len(columns))
            return table
        seen = f"an object with {', '.join(map(short, list(document)[:5])) or 'no keys'}"
    else:
        seen = shown(document)
    raise InvalidRequest(f"expected {_FORMS}, got {seen}")


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidRequest(f"{name!r} must be a list, got {shown(value)}")
    return value


def _check_names(columns: list[Any]) -> None:
    seen = set()
    for position, name in enumerate(columns):
        if not isinstance(name, str):
            raise InvalidRequest(f"columns[{position}] must be a string, got {shown(name)}")
        if name in seen:
            raise FeatureMismatch(f"column {short(name)} is given twice")
        seen.add(name)


def _check_keys(body: bytes, table: JsonPayload, others: int) -> None:
    """Refuse a key that stands twice in one object, of which orjson keeps the last without a word.

    Where every quotation mark of the body belongs to a key or a text that was kept (or to one of `others`
    strings), no key is repeated. A body with more of them, as in texts that quote, is read once more.
    """
    keys = sum(map(len, table.rows)) if table.records else 0
    left = body.count(b'"') - 2 * (keys + others)
    if left:
        values = [row.values() for row in table.rows] if table.records else table.rows
        left -= 2 * sum([*map(type, row)].count(str) for row in values)
    if left:
        refuse_double_keys(body)


def _table(rows: list[Any], columns: list[str] | None, *, bare: bool) -> JsonPayload:
    records = columns is None and bool(rows) and isinstance(rows[0], dict)
    wanted: Any = dict if records or (bare and columns is None) else list
    for number, row in enumerate(rows):
        if not isinstance(row, wanted):
            name = "an object" if wanted is dict else "a list"
            raise InvalidRequest(f"row {number} must be {name} like the others, got {shown(row)}")
        if columns is not None and len(row) != len(columns):
            raise FeatureMismatch(f"row {number} has {len(row)} values for {len(columns)} columns")
    return JsonPayload(records, columns, rows, bare)


@lru_cache(maxsize=1024)
def _kept_picker(names: tuple[str, ...]) -> Callable[[dict[str, Any]], Sequence[Any]]:
    return _picker(names)


def _picker(names: tuple[str, ...]) -> Callable[[dict[str, Any]], Sequence[Any]]:
    """Return a function that takes the values of these columns from a record, in their order."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: [row[name] for name in names]


def _picked(
    row: dict[str, Any],
    pick: Callable[[dict[str, Any]], Sequence[Any]],
    names: Sequence[str],
    number: int,
    *,
    extra: bool,
) -> Sequence[Any]:
    if len(row) == len(names) or extra:
        try:
            return pick(row)
        except KeyError:
            pass
    check_same(row, names, f"row {number}: ", extra=extra)
    return pick(row)  # the model has a column name twice


def refuse_length(number: int, length: int, first: int) -> NoReturn:
    """Refuse row `number`, which has another length than row 0.

    Raises:
        FeatureMismatch: states both.
    """
    raise FeatureMismatch(f"row {number} has {length} values, row 0 has {first}")


def numbers(lists: Sequence[Sequence[Any]], names: Sequence[str] | None, first: int = 0) -> "array[float]":
    """Convert value by value: missing ones become NaN.

    Args:
        first: the number of the first row, for messages.

    Raises:
        FeatureMismatch: names the first value that is not a number.
    """
    flat = array("d")
    for number, row in enumerate(lists, first):
        for position, value in enumerate(row):
            try:
                flat.append(math.nan if value is None else value)
            except TypeError:
                raise FeatureMismatch(
                    f"{cell(number, position, names)} must be a number, got {shown(value)}"
                ) from None
            except OverflowError:
                raise FeatureMismatch(
                    f"{cell(number, position, names)} is too large for a float64"
                ) from None
    return flat
