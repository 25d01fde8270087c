"""Many linear models of one kind computed together, to the bits that each has alone.

In a model's own call, a row is a product of two vectors (BLAS ddot). So is each row here, in one loop
(`numpy.vecdot`) over weights that are laid side by side: 0.2 us a row instead of 2. Everything before and
after the product works value by value. Rare values, such as huge ones, are left to a model's own call.
Refuses models of several outputs, whose own call is another routine of BLAS.
"""

import threading
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeAlias
from weakref import WeakValueDictionary

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


class Placed(Protocol):
    """What owns a model.

    Attributes:
        model: a kernel.
        place: of its numbers among those of its kind; -1: none.
    """

    model: Any
    place: int


class Kind:
    """Models that can be computed together; one object for all of them, as long as any of them lives.

    The numbers of a model are laid beside those of the others once, and stay there as long as the model
    does: to compute with ten thousand of them is then one gather. That is 8 bytes a number, for models
    that were in a batch. Safe to use from several threads.

    Args:
        pattern: one of the models. It stays, and with it what the key names by its identity.

    Attributes:
        names: the columns that all of them take.
        ignores_extra: whether other columns of a request are left out.
        several: whether each of several rows of one request has the bits that it has alone.
    """

    __slots__ = (
        "__weakref__",
        "_free",
        "_lock",
        "_pattern",
        "_rows",
        "_used",
        "ignores_extra",
        "names",
        "several",
    )

    def __init__(self, pattern: Compiled) -> None:
        self.names = pattern.feature_names or ()
        self.ignores_extra = pattern.ignores_extra
        self.several = takes_several(pattern)
        self._pattern: Any = pattern
        self._rows = np.zeros((0, len(_numbers(pattern))))
        self._used = 0
        self._free: list[int] = []
        self._lock = threading.Lock()

    def add(self, owner: "Placed") -> None:
        """Lay a model's numbers beside those of the others, and name the place to its owner.

        An owner gives its place back (`drop`) once nobody can compute with it any more.
        """
        with self._lock:
            if owner.place >= 0:
                return  # another thread was quicker
            if self._free:
                place = self._free.pop()
            else:
                place = self._used
                self._used += 1
                if place >= len(self._rows):  # a batch that computes goes on with the old array
                    more = np.zeros((max(_FIRST_PLACES, place), self._rows.shape[1]))
                    self._rows = np.concatenate([self._rows, more])
            self._rows[place] = _numbers(owner.model)
            owner.place = place

    def drop(self, place: int) -> None:
        """Let another model have a place. Takes no lock: it is called while objects are freed."""
        self._free.append(place)

    @property
    def count(self) -> int:
        """The number of models whose numbers are here."""
        return self._used - len(self._free)

    def predict(self, places: npt.NDArray[np.intp], rows: Rows) -> Made:
        """Score row i with the model at place i.

        Args:
            rows: float64, shape (n, features); rows with a number that is not finite come out unsure,
                or wrong.

        Returns:
            predictions, shape (n,) or (n, classes); and where they hold, shape (n,): the other rows are to
            be scored by the model's own call.
        """
        pattern = self._pattern
        numbers = self._rows.take(places, axis=0)
        with np.errstate(all="ignore"):
            raw, sure = _RAW[type(pattern)](pattern, numbers[:, :-1], rows)
            raw += numbers[:, -1]
            link = getattr(pattern, "link", None)
            return (raw if link is None else link(raw, pattern.classes)), sure


_FIRST_PLACES = 64


_KINDS: WeakValueDictionary[Hashable, Kind] = WeakValueDictionary()


def kind_of(model: Compiled) -> Kind | None:
    """Return which models this one can be computed together with; None: with none."""
    key = None if model.feature_names is None else key_of(model)
    if key is None:
        return None
    kind = _KINDS.get(key)
    if kind is None:
        kind = _KINDS[key] = Kind(model)
    return kind


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


def _numbers(model: Any) -> Rows:
    """Return all numbers of a model in one row, the intercept last."""
    table = model.weights if isinstance(model, Affine) else model.table
    return np.append(table, model.intercept)


def _affine(_pattern: Any, numbers: Rows, rows: Rows) -> Made:
    return np.vecdot(rows, numbers), np.ones(len(rows), np.bool_)


def _guarded(_pattern: Any, numbers: Rows, rows: Rows) -> Made:
    return np.vecdot(rows, numbers[:, : rows.shape[1]]), _are_usual(rows)


def _staged(pattern: Any, numbers: Rows, rows: Rows) -> Made:
    columns = rows if pattern.columns is None else rows.take(pattern.columns, axis=1)
    width = columns.shape[1]
    sure = _are_usual(columns)
    for place, op in enumerate(pattern.ops):
        columns = op(columns, numbers[:, place * width : (place + 1) * width])
    return np.vecdot(columns, numbers[:, -width:] if width else numbers[:, :0]), sure


_RAW: dict[type, Callable[[Any, Rows, Rows], Made]] = {
    Affine: _affine,
    LinkedAffine: _affine,
    Guarded: _guarded,
    LinkedGuarded: _guarded,
    Staged: _staged,
}


def _are_usual(rows: Rows) -> Mask:
    """Return where the sum of squares is far from where a kernel looks closer, however many rows it has."""
    usual: Mask = np.vecdot(rows, rows) < SAFE * 1e-9
    return usual
