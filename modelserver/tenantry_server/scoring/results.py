"""What a model returned, as one array of predictions that every protocol can write."""

import decimal
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import orjson

from tenantry.errors import PredictionFailed
from tenantry.model import Predictions

_UNITS = ("ms", "us", "ns")
_FLOAT64 = np.dtype(np.float64)
AT_ONCE = 16_384
"""Values that are written in one step, which takes half a millisecond."""
_SPARSE = "toarray"  # SciPy's matrices have it


def of(returned: Any, rows: int, kind: str) -> Predictions:
    """Return predictions of `rows` rows; row by row, whatever form the model gave them.

    Times become ISO 8601 texts in UTC, Decimal a float64.

    Args:
        kind: of the model, for messages.

    Returns:
        shape (rows,) or (rows, …): numbers, truth values or texts; objects of a shape (rows,) hold lists
        that differ in length, or values of several kinds.

    Raises:
        PredictionFailed: there is another number of them, or JSON has no such value.
    """
    predictions = as_array(returned)
    if predictions.ndim == 0 or len(predictions) != rows:
        raise PredictionFailed(f"{kind} returned shape {predictions.shape} for {rows} rows")
    dtype_kind = predictions.dtype.kind
    if dtype_kind in "fiub" or dtype_kind == "U":
        return predictions
    if dtype_kind == "M":
        return _times(predictions)
    if dtype_kind == "O":
        return _objects(predictions, kind)
    raise PredictionFailed(f"{kind} returned {predictions.dtype}, which JSON has no form for")


def to_json(predictions: Predictions, *, bare: bool) -> bytes:
    """Write predictions as a JSON list, or as an object with the list as ``predictions``.

    Raises:
        PredictionFailed: they hold values that JSON has not.
    """
    dtype = predictions.dtype
    if dtype is _FLOAT64 and predictions.size == 1:  # orjson takes longer to find out what an array is
        few = predictions.tolist()
        return orjson.dumps(few if bare else {"predictions": few})
    values: Any = predictions
    if dtype.kind in "fiub" and not (dtype == np.float64 and predictions.flags.c_contiguous):
        # orjson writes these itself, in the machine's own byte order, to 64 bits
        native = np.dtype(np.float64) if dtype.itemsize > 8 else dtype.newbyteorder("=")
        values = np.ascontiguousarray(predictions, dtype=native)
    try:
        text = list_as_json(values)
        if text is not None:
            return text if bare else b"".join((b'{"predictions":', text, b"}"))
        listed = values if values.dtype.kind in "fiub" else values.tolist()
        return orjson.dumps(listed if bare else {"predictions": listed}, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise PredictionFailed(f"the predictions can't be written as JSON: {error}") from None


def list_as_json(values: Any) -> bytes | None:
    """Write a JSON list where one call of orjson for all of it would take too long; None: it would not.

    A call holds the interpreter, so many values are written some thousand at a time. Joining a MiB of bytes
    or more does without it.

    Args:
        values: an array of at least one dimension; a list.

    Raises:
        TypeError: JSON has no form for one of them.
    """
    count = len(values)
    if isinstance(values, np.ndarray):
        plain = values.dtype.kind in "fiub"
        if values.size <= AT_ONCE:
            return None
        at_once = max(1, AT_ONCE * count // values.size)
        pieces = (values[at : at + at_once] for at in range(0, count, at_once))
        written = [_inside(piece if plain else piece.tolist()) for piece in pieces]
    elif count <= AT_ONCE:
        return None
    else:
        written = [_inside(values[at : at + AT_ONCE]) for at in range(0, count, AT_ONCE)]
    return joined(b"[", written, b"]")


def joined(begin: bytes, parts: Sequence[bytes], end: bytes) -> bytes:
    """Return the parts with commas between them, and what comes before and after."""
    pieces = [begin]
    for part in parts:
        pieces += (part, b",")
    pieces[len(pieces) - bool(parts) :] = [end]
    return b"".join(pieces)


def _inside(values: Any) -> bytes:
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]


def by_row(outputs: Sequence[Predictions]) -> Predictions:
    """Return the arrays of several outputs row by row, such as a multi-output classifier's probabilities.

    Args:
        outputs: each of shape (n, classes), classes as that output has them.

    Returns:
        shape (n, outputs, classes) where all have as many classes; else (n,), of lists of lists.
    """
    if len({output.shape for output in outputs}) == 1:
        return np.stack(outputs, axis=1)
    return listed([[row.tolist() for row in rows] for rows in zip(*outputs, strict=True)])


def together(answers: Mapping[str, Predictions]) -> Predictions:
    """Return what several methods gave as one object for each row.

    Returns:
        shape (n,), of dicts by method.
    """
    rows = zip(*map(_plainly, answers.values()), strict=True)
    return listed([dict(zip(answers, row, strict=True)) for row in rows])


def _plainly(answer: Predictions) -> list[Any]:
    if answer.dtype.kind == "f" and answer.dtype.itemsize < 8:  # the shortest text that is this number
        answer = answer.astype(str).astype(np.float64)
    values: list[Any] = answer.tolist()
    return values


def by_method(predictions: Predictions, names: Sequence[str]) -> dict[str, Predictions]:
    """Return the answers of each method; of several, from those that `together` made.

    Raises:
        PredictionFailed: they are something else.
    """
    if len(names) == 1:
        return {names[0]: predictions}
    try:
        return {name: as_array([row[name] for row in predictions.tolist()]) for name in names}
    except (TypeError, KeyError) as error:
        raise PredictionFailed(f"there is no answer of each method: {error!r}") from None


def as_array(returned: Any) -> Predictions:
    """Return what a model gave as an array: of a sparse matrix, a Series, a DataFrame, lists."""
    if hasattr(returned, _SPARSE):
        return np.asarray(returned.toarray())
    if hasattr(returned, "to_numpy"):  # a Series or DataFrame; times with a zone stay what they are
        return np.asarray(returned.to_numpy())
    try:
        array = np.asarray(returned)
    except ValueError:  # lists of different lengths
        return listed(list(returned))
    if array.dtype.kind == "U" and isinstance(returned, list):
        values = np.asarray(returned, dtype=object)
        if not all(isinstance(value, str) for value in values.ravel()):
            return values  # a number beside a text stays a number
    return array


def listed(values: list[Any]) -> Predictions:
    """Return values as they are, shape (n,), whatever they hold."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _times(times: Predictions) -> Predictions:
    unit: Any = np.datetime_data(times.dtype)[0]
    texts: Any = np.datetime_as_string(times, unit=unit if unit in _UNITS else "s", timezone="UTC")
    missing = np.isnat(times)
    if not missing.any():
        return np.asarray(texts)
    return listed([None if gone else str(text) for text, gone in zip(texts, missing, strict=True)])


def _objects(predictions: Predictions, kind: str) -> Predictions:
    plain = [_plain(value, kind) for value in predictions.tolist()]
    if predictions.ndim == 1:
        return listed(plain)
    whole = np.empty(predictions.shape, dtype=object)
    whole[...] = plain
    return whole


def _plain(value: Any, kind: str) -> Any:
    """Return a value as JSON has it."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        return _plain((_times(array.reshape(-1)) if array.dtype.kind == "M" else array).tolist(), kind)
    if isinstance(value, list | tuple):
        return [_plain(each, kind) for each in value]
    if isinstance(value, dict):
        return {str(name): _plain(each, kind) for name, each in value.items()}
    return _scalar(value, kind)


def _scalar(value: Any, kind: str) -> Any:
    name = type(value).__name__
    if name in ("NaTType", "NAType"):  # pandas' own, which this module does without
        return None
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime):
        moment = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
        return f"{moment.isoformat()}Z"
    if isinstance(value, date):
        return value.isoformat()
    raise PredictionFailed(f"{kind} returned a {name}, which JSON has no form for; return numbers or texts")
