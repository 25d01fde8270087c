"""Which models of a batch a trial would tell nothing new of, as one that is built alike was tried.

Linear models of scikit-learn, alone or behind its scalers, only add and multiply: whether `predict` works
depends on their classes, their parameters, and the types and shapes of what they were fitted to, but not on
the values of their coefficients. So of those that agree in all this, one is tried; the others are read back
from their bytes, as a server reads them, and compared. Every other model is tried by itself.
"""

import threading
from collections.abc import Hashable
from typing import Any

import numpy as np

from tenantry import ModelId
from tenantry_server.formats import format_of

_MOST_BYTES = 1 << 16  # a linear model is small; reading something else twice takes longer than trying it
_LINEAR = ("sklearn.linear_model.", "sklearn.svm._classes.Linear")
_STEPS = frozenset(
    f"sklearn.{name}"
    for name in (
        "pipeline.Pipeline",
        "preprocessing._data.StandardScaler",
        "preprocessing._data.MinMaxScaler",
        "preprocessing._data.MaxAbsScaler",
        "preprocessing._data.RobustScaler",
    )
)
# What a fit counted, and no method reads that a server calls.
_COUNTED = frozenset({"n_iter_", "n_samples_seen_", "rank_"})


class Alike:
    """The structures of the models that were tried, of one batch."""

    def __init__(self) -> None:
        self._tried: set[Hashable] = set()
        self._lock = threading.Lock()

    def key(self, model: Any, data: bytes, exact: ModelId) -> Hashable | None:
        """Return what decides whether a trial of this model works; None: only a trial can tell.

        Reads the artifact where its class is known; what goes wrong then is for the trial to say.

        Args:
            model: the object that was dumped; None: the artifact was a file.
            data: the bytes of the artifact.
            exact: how it is declared.
        """
        if len(data) > _MOST_BYTES or format_of(exact).name != "sklearn":
            return None
        if model is None and b"sklearn.linear_model" not in data:
            return None
        if model is not None and not _may_be_known(type(model)):
            return None
        from tenantry_server.formats.sklearn import reader  # noqa: PLC0415 - with the first model that is tried

        try:
            return (exact.method, exact.extra_columns, _structure(reader.read(data)))
        except KeyboardInterrupt:
            raise
        except (
            BaseException
        ):  # a pickle may call sys.exit; the trial reads it again, and says what is wrong
            return None

    def was_tried(self, key: Hashable | None) -> bool:
        """Return whether one of this structure was."""
        return key is not None and key in self._tried

    def add(self, key: Hashable | None) -> None:
        """Note that a trial of this structure worked."""
        if key is not None:
            with self._lock:
                self._tried.add(key)


class _UnknownError(Exception):
    """Something that may decide by its values."""


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _may_be_known(kind: type) -> bool:
    name = _name(kind)
    return name.startswith(_LINEAR) or name in _STEPS


def _structure(value: Any) -> Hashable:
    """Return everything about a value but the floating-point numbers in it.

    Raises:
        _UnknownError: it is of another class than those that are known to only compute.
    """
    kind: Any = type(value)
    if kind is float or kind is np.float64 or kind is np.float32:
        return (kind,)
    if value is None or kind in (str, bool, int):
        return (kind, value)
    if kind is np.ndarray:
        return _of_array(value)
    if isinstance(value, np.generic) and value.dtype.kind in "iub":
        return (kind, int(value))
    if kind in (list, tuple):
        return (kind, *(_structure(each) for each in value))
    if kind is dict:
        return (kind, *((key, _structure(each)) for key, each in value.items()))
    if not _may_be_known(kind):
        raise _UnknownError
    return (
        kind,
        *((name, None if name in _COUNTED else _structure(each)) for name, each in vars(value).items()),
    )


def _of_array(array: "np.ndarray[Any, Any]") -> Hashable:
    if array.dtype.kind == "f":
        return (array.dtype, array.shape)
    if array.dtype.kind in "iub":
        return (array.dtype, array.shape, array.tobytes())
    if array.dtype.kind in "OU" and all(type(each) in (str, np.str_) for each in array.ravel()):
        return (array.dtype, array.shape, *array.ravel().tolist())
    raise _UnknownError
