"""What every compiled model shares: how it takes rows, and what compiled models share in memory."""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from tenantry import Model
from tenantry.model import Predictions, Rows
from tenantry_server.rows.payload import check_finite

if TYPE_CHECKING:
    import pandas as pd

SAFE = 1e300
"""Where the squares of all values add up to less, every one is finite and below 1e150."""


_NUMBER_BYTES = 8
_SHARED = frozenset({"feature_names", "classes", "ops", "link"})
_T = TypeVar("_T")


class CannotCompile(Exception):
    """The original model serves; the message says why."""


@dataclass(frozen=True, slots=True)
class Head:
    """The columns that a compiled model takes.

    Attributes:
        names: the columns, as the original has them; None where it takes them by position.
        count: how many columns.
        accepts_missing: whether any of them may be missing.
        ignores_extra: whether other columns of a request are left out.
    """

    names: tuple[str, ...] | None
    count: int
    accepts_missing: bool
    ignores_extra: bool = False


KERNELS: set[type] = set()
"""The classes of kernels: to find one here takes a fifth of what `isinstance` of an abstract class does."""


class Compiled(Model):
    """A model that was compiled from a fitted estimator, which it no longer needs.

    Args:
        head: the columns that it takes; models with the same names share them.
    """

    __slots__ = ("accepts_missing", "feature_count", "feature_names", "ignores_extra")

    numeric = True
    independent_rows = True
    may_block = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        KERNELS.add(cls)

    def __init__(self, head: Head) -> None:
        self.feature_names = None if head.names is None else one_of(head.names)
        self.feature_count: int = head.count
        self.accepts_missing = head.accepts_missing
        self.ignores_extra = head.ignores_extra

    @property
    def outputs(self) -> int:
        """How many raw numbers it computes for a row, at most."""
        return 1

    @property
    def row_bytes(self) -> int:
        """The memory that the answer to one row takes at most, with what is made on the way to it."""
        return answer_bytes(self.outputs, getattr(self, "classes", None))

    def predict(self, data: "pd.DataFrame") -> Predictions:
        """Score a DataFrame of numbers; without names, take columns by position, as the original does."""
        if self.feature_names is not None:
            data = data[list(self.feature_names)]
        rows = data.to_numpy(dtype=np.float64, na_value=np.nan)
        check_finite(rows, self.feature_names, self)
        return self.predict_rows(rows)

    def _refuse_bad_shape(self, rows: Rows) -> None:
        """Raise ValueError for no rows, and for another number of columns than the original's.

        No rows are refused because scikit-learn refuses them.
        """
        if not len(rows):
            raise ValueError("there are no rows")
        if rows.shape[1] != self.feature_count:
            raise ValueError(f"each row has {rows.shape[1]} values, the model takes {self.feature_count}")

    def _refuse(self, refused: npt.NDArray[np.bool_], problem: str) -> NoReturn:
        """Raise ValueError about the first refused value of rows in the model's own columns."""
        row, column = (int(position) for position in np.argwhere(refused)[0])
        name = column if self.feature_names is None else repr(self.feature_names[column])
        raise ValueError(f"row {row}, column {name} {problem}")

    def _refuse_taken(
        self,
        refused: npt.NDArray[np.bool_],
        columns: npt.NDArray[np.intp] | None,
        problem: str,
    ) -> NoReturn:
        """Like `_refuse`, where the refused value is in columns selected from the rows."""
        if columns is None:
            self._refuse(refused, problem)
        row, taken = np.argwhere(refused)[0]
        whole = np.zeros((len(refused), self.feature_count), dtype=np.bool_)
        whole[row, columns[taken]] = True
        self._refuse(whole, problem)

    def own_bytes(self) -> int:
        """Return the bytes in memory that are freed with this model, without what it shares with others.

        Within 5 % of tracemalloc; for trees, the length of treelite's own serialised form.
        """
        return sys.getsizeof(self) + sum(
            _bytes_of(getattr(self, slot)) for slot in _slots(type(self)) if slot not in _SHARED
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), tuple(getattr(self, slot) for slot in _slots(type(self))))


class Picked(Compiled):
    """Scores the columns that a model uses; the others may hold anything.

    A ColumnTransformer that drops columns never reads them, so they may hold text.

    Args:
        head: all columns of the original.
        inner: takes only the used columns, in the order of `used`.
        used: their positions among all columns.
    """

    __slots__ = ("inner", "used")

    numeric = False

    def __init__(self, head: Head, inner: Compiled, used: list[int]) -> None:
        super().__init__(head)
        self.inner = inner
        self.used = used

    @property
    def row_bytes(self) -> int:
        """As `Compiled.row_bytes`."""
        return self.inner.row_bytes

    def predict(self, data: "pd.DataFrame") -> Predictions:
        """Score the used columns of a DataFrame that holds all of them."""
        if self.feature_names is not None:
            data = data[list(self.feature_names)]
        elif data.shape[1] != self.feature_count:
            raise ValueError(f"each row has {data.shape[1]} values, the model takes {self.feature_count}")
        return self.inner.predict(data.iloc[:, self.used])


def answer_bytes(outputs: int, classes: npt.NDArray[Any] | None = None) -> int:
    """Return the memory of the answer to one row: raw numbers, and then a label or probabilities.

    Args:
        outputs: raw numbers of a row.
        classes: the labels; None: there are none.
    """
    label = 0
    if classes is not None and classes.size:
        texts = classes.dtype.hasobject
        label = max(map(sys.getsizeof, classes.flat)) if texts else classes.itemsize
    return (2 * outputs + 1) * _NUMBER_BYTES + label


def deep_bytes(values: Any) -> int:
    """Return the memory of a tuple and of what is in it, or of an array, in bytes."""
    if isinstance(values, tuple):
        return sys.getsizeof(values) + sum(map(sys.getsizeof, values))
    return sys.getsizeof(values) + 2 * int(values.nbytes)  # its bytes are in the key too


class _Shared(Generic[_T]):
    """Values of which one copy does for all: ten thousand tenants have the same columns.

    Bounded in bytes, because what an artifact holds is its publisher's choice.
    """

    def __init__(self, max_bytes: int) -> None:
        self._kept: OrderedDict[Hashable, _T] = OrderedDict()  # the last used one last
        self._bytes, self._max_bytes = 0, max_bytes
        self._lock = threading.Lock()  # models are loaded in several threads

    def copy_of(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return the copy under this key, made where there is none; one over the bound is not kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
            made = make()
            size_bytes = deep_bytes(made)
            if size_bytes <= self._max_bytes:
                self._kept[key] = made
                self._bytes += size_bytes
                while self._bytes > self._max_bytes:
                    self._bytes -= deep_bytes(self._kept.popitem(last=False)[1])
            return made


_TUPLES: _Shared[tuple[Any, ...]] = _Shared(32 << 20)
_ARRAYS: _Shared[npt.NDArray[Any]] = _Shared(8 << 20)


def one_of(values: tuple[_T, ...]) -> tuple[_T, ...]:
    """Return the first tuple that was equal to this one, so that equal ones take memory once."""
    return _TUPLES.copy_of(values, lambda: values)


def one_array_of(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Like `one_of`, for an array such as the class labels; it must not be written to."""
    if values.dtype.hasobject:
        return np.array(values)
    key = (values.dtype.str, values.shape, values.tobytes())
    return _ARRAYS.copy_of(key, lambda: np.frombuffer(key[2], dtype=key[0]).reshape(key[1]))


def _restored(kind: type[Compiled], values: tuple[Any, ...]) -> Compiled:
    """Unpickle: slots, with what is shared taken from this process."""
    model = kind.__new__(kind)
    for slot, value in zip(_slots(kind), values, strict=True):
        setattr(
            model, slot, one_of(value) if slot in ("feature_names", "ops") and value is not None else value
        )
    return model


def _bytes_of(value: Any) -> int:
    measure = getattr(value, "own_bytes", None)
    if measure is not None:
        return int(measure())
    if value is None or isinstance(value, bool) or (isinstance(value, int) and -5 <= value <= 256):
        return 0  # Python keeps one of each
    return sys.getsizeof(value)


@lru_cache(maxsize=16)
def _slots(kind: type) -> tuple[str, ...]:
    return tuple(slot for base in kind.__mro__ for slot in base.__dict__.get("__slots__", ()))
