"""Many linear models of one kind computed together, to the bits that each has alone.

In a model's own call, a row is a product of two vectors (BLAS ddot). So is each row here, in one loop
(`numpy.vecdot`) over weights that are laid side by side: 0.2 us a row instead of 2. Everything before and
after the product works value by value. Rare values, such as huge ones, are left to a model's own call.
Refuses models of several outputs, whose own call is another routine of BLAS.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tenantry.model import Predictions, Rows
from tenantry_server.kernels import links
from tenantry_server.kernels.affine import Affine, Guarded, LinkedAffine, LinkedGuarded, Staged
from tenantry_server.kernels.base import SAFE, Compiled

Mask: TypeAlias = npt.NDArray[np.bool_]
Made: TypeAlias = tuple[Predictions, Mask]
_Read: TypeAlias = Callable[[Any], "tuple[Hashable, ...] | None"]

_VALUE_BY_VALUE = frozenset(
    {links.positive, links.not_negative, links.sigmoid, links.steep_sigmoid, links.huber, links.exponential}
)
_DOUBLE = np.dtype(np.float64)


def key_of(model: Compiled) -> Hashable | None:
    """Return what is equal for models that can be computed together; None: not this one.

    The key holds identities of objects that the model keeps, so it is worth nothing after the model.
    """
    kind: Any = type(model)
    read = _KEYS.get(kind)
    key = None if read is None else read(model)
    # All with the same names have the same columns; how many tells those apart that have none.
    return None if key is None else (kind, id(model.feature_names), model.feature_count, *key)


def _of_affine(model: Any) -> tuple[Hashable, ...] | None:
    weights = model.weights
    if weights.ndim > 1 or weights.dtype is not _DOUBLE:
        return None
    return model.accepts_missing, model.ignores_extra


def _of_guarded(model: Any) -> tuple[Hashable, ...] | None:
    return None if model.weighing != 0 else (model.accepts_missing, model.ignores_extra, len(model.table))


def _of_staged(model: Any) -> tuple[Hashable, ...] | None:
    if model.weighing != -1 or not (model.link is None or model.link in _VALUE_BY_VALUE):
        return None
    columns = None if model.columns is None else model.columns.tobytes()
    flags = model.accepts_missing, model.ignores_extra
    return *flags, model.ops, columns, model.link, id(model.classes)


def _linked(read: _Read) -> _Read:
    def of_linked(model: Any) -> tuple[Hashable, ...] | None:
        key = None if model.link not in _VALUE_BY_VALUE else read(model)
        return None if key is None else (*key, model.link, id(model.classes))

    return of_linked


_KEYS: dict[type, _Read] = {
    Affine: _of_affine,
    LinkedAffine: _linked(_of_affine),
    Guarded: _of_guarded,
    LinkedGuarded: _linked(_of_guarded),
    Staged: _of_staged,
}


def takes_several(model: Compiled) -> bool:
    """Return whether each of several rows of one request has the bits that it has alone."""
    return type(model) is not Staged


def predict(models: Sequence[Compiled], rows: Rows) -> Made:
    """Score row i with model i; all models have one key.

    Args:
        rows: float64, shape (n, features), every number finite.

    Returns:
        predictions, shape (n,) or (n, classes); and where they hold, shape (n,): the other rows are to be
        scored by the model's own call.
    """
    with np.errstate(all="ignore"):
        raw, sure = _RAW[type(models[0])](models, rows)
        link = getattr(models[0], "link", None)
        if link is not None:
            return link(raw, models[0].classes), sure  # type: ignore[attr-defined]
        return raw, sure


def _affine(models: Sequence[Any], rows: Rows) -> Made:
    weights = np.concatenate([model.weights for model in models]).reshape(rows.shape)
    return np.vecdot(rows, weights) + _intercepts(models), np.ones(len(rows), np.bool_)


def _guarded(models: Sequence[Any], rows: Rows) -> Made:
    tables = _tables(models, rows.shape[1])
    return np.vecdot(rows, tables[:, 0]) + _intercepts(models), _are_usual(rows)


def _staged(models: Sequence[Any], rows: Rows) -> Made:
    first = models[0]
    columns = rows if first.columns is None else rows.take(first.columns, axis=1)
    tables = _tables(models, columns.shape[1])
    sure = _are_usual(columns)
    for place, op in enumerate(first.ops):
        columns = op(columns, tables[:, place])
    return np.vecdot(columns, tables[:, -1]) + _intercepts(models), sure


_RAW: dict[type, Callable[[Sequence[Any], Rows], Made]] = {
    Affine: _affine,
    LinkedAffine: _affine,
    Guarded: _guarded,
    LinkedGuarded: _guarded,
    Staged: _staged,
}


def _tables(models: Sequence[Any], width: int) -> Rows:
    height = len(models[0].table)
    return np.concatenate([model.table for model in models]).reshape(len(models), height, width)


def _intercepts(models: Sequence[Any]) -> Rows:
    return np.array([model.intercept for model in models], np.float64).reshape(len(models))


def _are_usual(rows: Rows) -> Mask:
    """Return where the sum of squares is far from where a kernel looks closer, however many rows it has."""
    usual: Mask = np.vecdot(rows, rows) < SAFE * 1e-9
    return usual
