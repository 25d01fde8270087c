"""The rows of a V2 request: one matrix, or a column in each tensor, checked against what the model takes.

Refuses shapes of other ranks than [rows, columns] and [rows], and rows that the tensors do not hold.
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tenantry import Model
from tenantry.errors import FeatureMismatch, InvalidRequest
from tenantry.model import Rows
from tenantry_server.rows import datatypes
from tenantry_server.rows.payload import Payload, check_count, check_finite, check_same, short

if TYPE_CHECKING:
    import pandas as pd

_FEW = 64  # up to so many values, Python's sum finds a NaN in a tenth of the time of numpy's isfinite
_LARGEST_DIMENSION = 2**31 - 1
_NUMBERS = frozenset({float, int})


@dataclass(slots=True)  # frozen costs 1 us a request
class Tensor:
    """One input; the number and datatype of its values were checked.

    Attributes:
        name: as given.
        rows: the first dimension.
        columns: the second; 1 where there is none.
        values: row by row: numbers as an array of shape (rows * columns,), texts as a list in which
            None is a missing one, or as the bytes that hold them and are not read yet.
    """

    name: str
    rows: int
    columns: int
    values: npt.NDArray[Any] | list[str | None] | memoryview

    def __reduce__(self) -> tuple[Any, ...]:
        values = bytes(self.values) if isinstance(self.values, memoryview) else self.values
        return _tensor, (self.name, self.rows, self.columns, values)

    def doubles(self) -> npt.NDArray[np.float64]:
        """Return the values as float64, shape (rows * columns,); a model may work in place on them.

        Raises:
            FeatureMismatch: they are texts.
        """
        values = self.values
        if not isinstance(values, np.ndarray):
            raise FeatureMismatch(f"input {short(self.name)} is text (BYTES), and the model takes numbers")
        if values.dtype.itemsize < 8 and values.dtype.kind == "f":
            with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN; don't warn
                return values.astype(np.float64)
        return values.astype(np.float64)  # a view of a body is read-only, and may be unaligned

    def objects(self, model: Model) -> npt.NDArray[Any] | Sequence[str | None]:
        """Return the values for a model that takes a DataFrame.

        Raises:
            FeatureMismatch: texts that can't be read, or an infinite number.
        """
        if isinstance(self.values, memoryview):
            try:
                return datatypes.unpack_texts(self.values, self.rows * self.columns)
            except FeatureMismatch as error:
                raise FeatureMismatch(f"input {short(self.name)}: {error}") from None
        if isinstance(self.values, np.ndarray) and self.values.dtype.kind == "f":
            names = [self.name] if self.columns == 1 else None
            check_finite(self.values.reshape(self.rows, self.columns), names, model)
        return self.values


class Tensors(Payload):
    """The inputs of one V2 request: one of shape [n, k], or several of shape [n] or [n, 1].

    One tensor holds the features in the model's own order, whatever its name; several are told apart
    by their names, or by their order where the model knows no names.

    Args:
        inputs: at least one.

    Raises:
        InvalidRequest: their counts of rows differ, a name is there twice, or one of several has more
            than one column.
    """

    __slots__ = ("inputs",)

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.inputs = inputs
        if len(inputs) > 1:
            _check_together(inputs)

    def __len__(self) -> int:
        return self.inputs[0].rows

    def matrix(self, model: Model) -> Rows:
        """As `Payload.matrix`."""
        if len(self.inputs) == 1:
            (only,) = self.inputs
            names = model.feature_names
            check_count(only.columns, model, 0)
            matrix = only.doubles().reshape(only.rows, only.columns)
        else:
            ordered = self._in_order(model)
            names = [tensor.name for tensor in ordered]
            matrix = np.empty((len(self), len(ordered)))
            for position, tensor in enumerate(ordered):
                matrix[:, position] = tensor.doubles()
        if matrix.size > _FEW or not math.isfinite(sum(matrix.ravel().tolist())):
            check_finite(matrix, names, model)
        return matrix

    def frame(self, model: Model) -> "pd.DataFrame":
        """As `Payload.frame` says; each column in its tensor's own type."""
        import pandas as pd  # noqa: PLC0415 - where a frame is needed, a worker makes it

        if len(self.inputs) > 1:
            ordered = self._in_order(model)
            return pd.DataFrame({tensor.name: tensor.objects(model) for tensor in ordered})
        (only,) = self.inputs
        check_count(only.columns, model, 0)
        values = only.objects(model)
        rows: Any
        if isinstance(values, np.ndarray):
            rows = values.reshape(only.rows, only.columns).copy()
        else:
            rows = [values[at : at + only.columns] for at in range(0, len(values), only.columns)]
        names = model.feature_names
        return pd.DataFrame(rows, columns=None if names is None else list(names))

    def values(self, model: Model) -> Sequence[Sequence[Any]]:
        """As `Payload.values`."""
        if len(self.inputs) > 1:
            return list(zip(*(_listed(tensor, model) for tensor in self._in_order(model)), strict=True))
        (only,) = self.inputs
        check_count(only.columns, model, 0)
        flat = _listed(only, model)
        return [flat[at : at + only.columns] for at in range(0, len(flat), only.columns)]

    def _in_order(self, model: Model) -> Sequence[Tensor]:
        names = model.feature_names
        if names is None:
            check_count(len(self.inputs), model, 0)
            return self.inputs
        given = {tensor.name: tensor for tensor in self.inputs}
        check_same(given, names, "", extra=model.ignores_extra)
        return [given[name] for name in names]


def _listed(tensor: Tensor, model: Model) -> Sequence[Any]:
    values = tensor.objects(model)
    listed: Sequence[Any] = values.tolist() if isinstance(values, np.ndarray) else values
    return listed


def _tensor(name: str, rows: int, columns: int, values: Any) -> Tensor:
    """Unpickle: texts that are not read yet are a view of bytes again."""
    return Tensor(name, rows, columns, memoryview(values) if isinstance(values, bytes) else values)


def from_binary(name: str, datatype: str, shape: Any, data: memoryview) -> Tensor:
    """Read a tensor of the binary extension without copying.

    Args:
        data: exactly the bytes that the request announces.

    Raises:
        InvalidRequest: datatype, shape and length do not fit together.
    """
    rows, columns = _dimensions(name, shape)
    count = rows * columns
    if datatype == datatypes.TEXT:
        if len(data) < count * datatypes.LENGTH_BYTES or (count == 0 and len(data)):
            raise InvalidRequest(_unfitting(name, shape, f"{len(data)} bytes of text can't hold that"))
        return Tensor(name, rows, columns, data)
    dtype = _dtype(name, datatype)
    if len(data) != count * dtype.itemsize:
        held = f"{len(data)} bytes are not {count} values of {datatype}"
        raise InvalidRequest(_unfitting(name, shape, held))
    values = np.frombuffer(data, np.uint8 if dtype.kind == "b" else dtype)
    if dtype.kind == "b":
        if (values > 1).any():
            raise InvalidRequest(f"input {short(name)}: a BOOL is a byte of 0 or 1")
        values = values.view(np.bool_)
    return Tensor(name, rows, columns, values)


def from_json(name: str, datatype: str, shape: Any, data: Any) -> Tensor:
    """Read a tensor whose values are in the JSON, flat or nested like its shape.

    Raises:
        InvalidRequest: datatype, shape and data do not fit together.
    """
    rows, columns = _dimensions(name, shape)
    if not isinstance(data, list):
        raise InvalidRequest(f"input {short(name)}: 'data' must be a list")
    if data and isinstance(data[0], list) and len(shape) == 2:
        if len(data) != rows or any(type(row) is not list or len(row) != columns for row in data):
            raise InvalidRequest(_unfitting(name, shape, "the lists in 'data' are of another"))
        data = list(chain.from_iterable(data))
    if len(data) != rows * columns:
        raise InvalidRequest(_unfitting(name, shape, f"'data' holds {len(data)} values"))
    return Tensor(name, rows, columns, _values(name, datatype, data))


def _dimensions(name: str, shape: Any) -> tuple[int, int]:
    if not isinstance(shape, list) or not 1 <= len(shape) <= 2:
        raise InvalidRequest(f"input {short(name)}: 'shape' must be [rows, columns] or [rows]")
    for size in shape:
        if type(size) is not int or not 0 <= size <= _LARGEST_DIMENSION:
            raise InvalidRequest(f"input {short(name)}: 'shape' must hold counts, got {size!r}"[:160])
    rows, columns = shape if len(shape) == 2 else (shape[0], 1)
    if rows and not columns:  # any number of them would fit into no bytes
        raise InvalidRequest(f"input {short(name)}: {rows} rows without columns")
    return rows, columns


def _dtype(name: str, datatype: str) -> np.dtype[Any]:
    try:
        return datatypes.NUMERIC[datatype]
    except KeyError:
        known = ", ".join(datatypes.NAMES)
        raise InvalidRequest(
            f"input {short(name)}: no datatype {short(datatype)}; this server knows {known}"
        ) from None


def _values(name: str, datatype: str, data: list[Any]) -> npt.NDArray[Any] | list[str | None]:
    kinds = set(map(type, data))
    if datatype == datatypes.TEXT:
        _check_kinds(name, datatype, data, kinds, {str, type(None)})
        return data
    dtype = _dtype(name, datatype)
    try:
        if dtype.kind != "f":
            _check_kinds(name, datatype, data, kinds, {bool} if dtype.kind == "b" else {int})
            return np.array(data, dtype)
        if kinds <= _NUMBERS:
            given = data
        else:
            _check_kinds(name, datatype, data, kinds, {*_NUMBERS, type(None)})
            given = [math.nan if value is None else value for value in data]
        doubles = np.frombuffer(array("d", given)) if given else np.empty(0)
    except OverflowError:
        raise InvalidRequest(f"input {short(name)}: a value does not fit into {datatype}") from None
    if dtype.itemsize == 8:
        return doubles
    with np.errstate(over="ignore"):  # to infinity, which is refused with row and column
        return doubles.astype(dtype)


def _article(datatype: str) -> str:
    return "a" if datatype.startswith(("B", "U")) else "an"


def _check_kinds(name: str, datatype: str, data: list[Any], kinds: set[type], allowed: set[type]) -> None:
    if kinds <= allowed:
        return
    position = next(index for index, value in enumerate(data) if type(value) not in allowed)
    seen = f"{data[position]!r}"[:40]
    raise InvalidRequest(
        f"input {short(name)}: value {position} is not {_article(datatype)} {datatype}: {seen}"
    )


def _check_together(inputs: Sequence[Tensor]) -> None:
    first = inputs[0]
    seen = set()
    for tensor in inputs:
        if tensor.name in seen:
            raise InvalidRequest(f"input {short(tensor.name)} is given twice")
        seen.add(tensor.name)
        if tensor.columns != 1:
            raise InvalidRequest(
                f"input {short(tensor.name)} has {tensor.columns} columns; send one tensor of shape "
                "[rows, columns], or one of shape [rows, 1] for each feature"
            )
        if tensor.rows != first.rows:
            raise InvalidRequest(
                f"input {short(tensor.name)} has {tensor.rows} rows, {short(first.name)} has {first.rows}"
            )


def _unfitting(name: str, shape: Any, why: str) -> str:
    return f"input {short(name)}: its shape is {shape}, and {why}"
