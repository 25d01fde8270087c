"""Tree ensembles at run time, through the C interface of treelite.

The Python function ``treelite.gtil.predict`` takes 31 us for a row before it visits a tree, and sums
in an order of its own. Here the C function gives the leaf of each tree (9 us for 100 trees of depth 8)
and the sum is done in scikit-learn's order, so that the answer is the same to the last bit.
"""

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import treelite
from treelite.libpath import find_lib_path

from tenantry.model import Predictions, Rows
from tenantry_server.compiling.base import SAFE, CannotCompile, Compiled, Head
from tenantry_server.compiling.links import Link
from tenantry_server.compiling.steps import Steps

_LEAVES_AT_ONCE = 1 << 20  # 8 MiB: a large request to a large forest is split
_SAFE_SINGLE = 1e76  # where the squares add up to less, every value fits a float32


class Forest:
    """Gives the value of the leaf that each row reaches in each tree.

    Args:
        model: from treelite's importer.
        trees: how many it holds.
        outputs: numbers in a leaf.
    """

    __slots__ = ("_address", "_model", "outputs", "trees")

    def __init__(self, model: treelite.Model, trees: int, outputs: int) -> None:
        if model.input_type != "float64" or model.num_tree != trees:
            raise CannotCompile("treelite read other trees than it was given")
        self._model = model
        self._address = model.handle.value
        self.trees = trees
        self.outputs = outputs

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
        if failed:
            raise RuntimeError(f"treelite: {library.TreeliteGetLastError().decode(errors='replace')}")
        return found

    def own_bytes(self) -> int:
        """Bytes in memory: treelite serialises exactly the arrays that it holds."""
        return len(self._model.serialize_bytes())

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._model.serialize_bytes(), self.trees, self.outputs)


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


def _restored(data: bytes, trees: int, outputs: int) -> Forest:
    return Forest(treelite.Model.deserialize_bytes(data), trees, outputs)


@lru_cache(maxsize=1)
def _treelite() -> tuple[Any, int]:
    """Return treelite's loaded library, and the settings of each call: one thread, all leaves.

    Its C interface is declared in treelite/c_api.h.
    """
    library = ctypes.CDLL(str(find_lib_path()[0]))
    address, number = ctypes.c_void_p, ctypes.c_uint64
    library.TreeliteGetLastError.restype = ctypes.c_char_p
    library.TreeliteGTILParseConfig.argtypes = [ctypes.c_char_p, ctypes.POINTER(address)]
    library.TreeliteGTILPredict.argtypes = [address, address, ctypes.c_char_p, number, address, address]
    config = address()
    wanted = b'{"predict_type": "score_per_tree", "nthread": 1}'
    if library.TreeliteGTILParseConfig(wanted, ctypes.byref(config)) or config.value is None:
        raise RuntimeError(f"treelite: {library.TreeliteGetLastError().decode(errors='replace')}")
    return library, config.value
