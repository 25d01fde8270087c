"""Tree ensembles at run time, through the C interface of treelite.

The Python function ``treelite.gtil.predict`` takes 31 us for a row before it visits a tree, and sums
in an order of its own. Here the C function gives the leaf of each tree (9 us for 100 trees of depth 8)
and the sum is done in scikit-learn's order, so that the answer is the same to the last bit.

Only treelite's library is loaded, never its Python package, which imports SciPy and pandas.
"""

import ctypes
import importlib.util
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tenantry.model import Predictions, Rows
from tenantry_server.kernels.base import SAFE, Compiled, Head, answer_bytes
from tenantry_server.kernels.links import Link
from tenantry_server.kernels.steps import Steps
from tenantry_server.kernels.tree_arrays import TreeArrays

_LEAVES_AT_ONCE = 1 << 20  # 8 MiB: a large request to a large forest is split
_SAFE_SINGLE = 1e76  # where the squares add up to less, every value fits a float32
_LIBRARIES = {"darwin": "libtreelite.dylib", "win32": "treelite.dll"}


class Forest:
    """Gives the value of the leaf that each row reaches in each tree.

    Args:
        arrays: the trees, checked by `TreeArrays.problem`.
        features: columns of the rows.

    Raises:
        ImportError: treelite is not installed.
        ValueError: the arrays would make C code read what is not theirs.
    """

    __slots__ = ("__weakref__", "_address", "arrays", "outputs", "trees")

    keeps_arrays: ClassVar[bool] = False  # True in a process that hands them on

    def __init__(self, arrays: TreeArrays, features: int) -> None:
        self._address: int | None = None
        problem = arrays.problem(features)
        if problem is not None:
            raise ValueError(problem)
        self.trees = len(arrays.counts)
        self.outputs = arrays.value.shape[1]
        self.arrays = arrays if self.keeps_arrays else None
        self._address = _built(arrays, features)

    def leaves(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Look up the leaf values.

        Args:
            rows: float64 in C order, shape (n, features) with exactly the model's features, as C reads it.

        Returns:
            shape (n, trees, outputs).
        """
        found = np.empty((len(rows), self.trees, self.outputs))
        library, config = _treelite()
        failed = library.TreeliteGTILPredict(
            self._address, rows.ctypes.data, b"float64", len(rows), found.ctypes.data, config
        )
        _check(failed)
        return found

    def own_bytes(self) -> int:
        """Bytes in memory: treelite serialises exactly the arrays that it holds."""
        data, length = ctypes.c_void_p(), ctypes.c_size_t()
        library, _ = _treelite()
        _check(
            library.TreeliteSerializeModelToBytes(self._address, ctypes.byref(data), ctypes.byref(length))
        )
        return length.value

    def __del__(self) -> None:
        if self._address is not None:
            _treelite()[0].TreeliteFreeModel(self._address)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a forest is measured and sent by its arrays, not pickled")


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Trees, and how scikit-learn computes an answer from their leaves.

    Attributes:
        forest: the trees.
        single: True where the columns are rounded to float32 first.
        takes_missing: True where the trees have a branch for a missing value.
        base: added before the first tree, shape (outputs,); None for a mean of the trees, not a sum.
        flat: True where the raw numbers have shape (n,).
        link: makes the answer; None where it is the raw numbers.
        classes: labels, where the link needs them.
    """

    forest: Forest
    single: bool
    takes_missing: bool
    base: npt.NDArray[np.float64] | None
    flat: bool
    link: Link | None
    classes: npt.NDArray[Any] | None

    def own_bytes(self) -> int:
        """Bytes in memory; everything but the trees is small."""
        return self.forest.own_bytes()


class Trees(Compiled):
    """A tree ensemble whose leaves are added up as scikit-learn does.

    Args:
        head: the columns that it takes.
        ensemble: the trees.
        steps: applied to the rows before; None for none.
    """

    __slots__ = ("ensemble", "steps")

    def __init__(self, head: Head, ensemble: Ensemble, steps: Steps | None) -> None:
        super().__init__(head)
        self.ensemble = ensemble
        self.steps = steps

    @property
    def row_bytes(self) -> int:
        """As `Compiled.row_bytes`."""
        return answer_bytes(self.ensemble.forest.outputs, self.ensemble.classes)

    def predict_rows(self, rows: Rows) -> Predictions:
        """Score a matrix, as `Model.predict_rows` says.

        Raises:
            ValueError: a value is missing or too large where the original refuses it too.
        """
        if not len(rows) or rows.shape[1] != self.feature_count:
            self._refuse_bad_shape(rows)
        ensemble = self.ensemble
        columns = self._columns(rows)
        at_once = max(1, _LEAVES_AT_ONCE // (ensemble.forest.trees * ensemble.forest.outputs))
        if len(rows) <= at_once:
            raw = _raw(ensemble, columns)
        else:
            pieces = range(0, len(rows), at_once)
            raw = np.concatenate([_raw(ensemble, columns[first : first + at_once]) for first in pieces])
        if ensemble.flat:
            raw = raw[:, 0]
        return raw if ensemble.link is None else ensemble.link(raw, ensemble.classes)

    def _columns(self, rows: Rows) -> Rows:
        """Return the trees' input: float64 in C order, rounded to float32 where scikit-learn does that."""
        single = self.ensemble.single
        columns = rows if self.steps is None else self.steps.apply(rows)
        if not np.vdot(columns, columns) < (_SAFE_SINGLE if single else SAFE):
            self._check(columns)
        if single:
            columns = columns.astype(np.float32, order="C")
        return columns.astype(np.float64, order="C", copy=False)

    def _check(self, columns: Rows) -> None:
        taken = None if self.steps is None else self.steps.columns
        missing = np.isnan(columns)
        if missing.any() and not self.ensemble.takes_missing:
            problem = "is missing, and the model takes no missing values there"
            self._refuse_taken(missing, taken, problem)
        if self.ensemble.single:
            with np.errstate(over="ignore"):
                large = np.isinf(columns.astype(np.float32))
            if large.any():
                self._refuse_taken(large, taken, "is too large for a float32")


def _raw(ensemble: Ensemble, columns: Rows) -> npt.NDArray[np.float64]:
    """Return the sum or mean of the leaves: accumulate adds one by one, where sum adds in pairs."""
    leaves = ensemble.forest.leaves(columns)
    if ensemble.base is None:
        mean: npt.NDArray[np.float64] = np.add.accumulate(leaves, axis=1)[:, -1] / ensemble.forest.trees
        return mean
    leaves = leaves.reshape(len(leaves), -1, len(ensemble.base))
    leaves[:, 0] += ensemble.base
    return np.add.accumulate(leaves, axis=1)[:, -1]


def _built(arrays: TreeArrays, features: int) -> int:
    """Hand the trees to treelite, as a forest of regressors, whose leaves hold all numbers unchanged.

    Its importer for classifiers divides each leaf by its sum once more, which changes last bits.

    Returns:
        the address of the model.
    """
    library, _ = _treelite()
    ends = np.cumsum(arrays.counts)
    first = ends - arrays.counts
    ones = np.ones(int(arrays.counts.max()))  # of the samples in a node, which decide nothing
    counted = ones.astype(np.int64)
    parts = [arrays.left, arrays.right, arrays.feature, arrays.threshold, arrays.value, arrays.missing_left]
    columns = [np.ascontiguousarray(each) for each in parts]  # held until the call is over, as are `tables`
    tables = [_addresses(each, first) for each in columns]
    tables += [np.full(len(first), each.ctypes.data, np.uintp) for each in (counted, ones, ones)]
    counts = np.ascontiguousarray(arrays.counts)
    model = ctypes.c_void_p()
    _check(
        library.TreeliteLoadSKLearnRandomForestRegressorEx(
            len(first),
            features,
            arrays.value.shape[1],
            counts.ctypes.data,
            *(table.ctypes.data for table in tables),
            ctypes.byref(model),
        )
    )
    if model.value is None:
        raise RuntimeError("treelite made no model")
    return model.value


def _addresses(values: npt.NDArray[Any], first: npt.NDArray[np.int64]) -> npt.NDArray[np.uintp]:
    """Return where each tree's part of an array begins."""
    return (values.ctypes.data + first * values.strides[0]).astype(np.uintp)


def _check(failed: int) -> None:
    if failed:
        message = _treelite()[0].TreeliteGetLastError().decode(errors="replace")
        raise RuntimeError(f"treelite: {message}")


@lru_cache(maxsize=1)
def _treelite() -> tuple[Any, int]:
    """Return treelite's loaded library, and the settings of each call: one thread, all leaves.

    Its C interface is declared in treelite/c_api.h (4.8).

    Raises:
        ImportError: treelite is not installed.
    """
    library = ctypes.CDLL(str(_library_path()))
    address, number = ctypes.c_void_p, ctypes.c_uint64
    library.TreeliteGetLastError.restype = ctypes.c_char_p
    library.TreeliteGTILParseConfig.argtypes = [ctypes.c_char_p, ctypes.POINTER(address)]
    library.TreeliteGTILPredict.argtypes = [address, address, ctypes.c_char_p, number, address, address]
    library.TreeliteFreeModel.argtypes = [address]
    library.TreeliteSerializeModelToBytes.argtypes = [address, address, address]
    library.TreeliteLoadSKLearnRandomForestRegressorEx.argtypes = [ctypes.c_int] * 3 + [address] * 11
    config = address()
    wanted = b'{"predict_type": "score_per_tree", "nthread": 1}'
    if library.TreeliteGTILParseConfig(wanted, ctypes.byref(config)) or config.value is None:
        raise RuntimeError(f"treelite: {library.TreeliteGetLastError().decode(errors='replace')}")
    return library, config.value


def _library_path() -> Path:
    """Find the library inside the installed package, without importing it."""
    found = importlib.util.find_spec("treelite")
    if found is None or found.origin is None:
        raise ImportError("treelite is not installed")
    return Path(found.origin).parent / "lib" / _LIBRARIES.get(sys.platform, "libtreelite.so")
