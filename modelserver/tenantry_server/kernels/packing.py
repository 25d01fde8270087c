"""Kernels as arrays on the wire, as a worker writes them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tenantry_server.kernels import arrays
from tenantry_server.kernels.affine import Affine, Guarded, LinkedAffine, LinkedGuarded, Staged
from tenantry_server.kernels.arrays import Array, Buffer
from tenantry_server.kernels.base import Compiled, Picked
from tenantry_server.kernels.encoded import Codec, Encoded
from tenantry_server.kernels.forest import Trees
from tenantry_server.kernels.steps import Op, Steps
from tenantry_server.kernels.wire_names import OPS, TREE_DTYPES, Fields


def pack(kernel: Compiled) -> list[Buffer]:
    """Write a kernel; forests need `Forest.keeps_arrays`.

    Raises:
        TypeError: its class labels have no form on the wire.
    """
    writer = _Writer()
    document = _WRITERS[type(kernel)](writer, kernel)
    return arrays.encode(document, writer.arrays)


class _Writer:
    """Collects arrays; a document names them by their position."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []

    def add(self, array: Any) -> int | None:
        if array is None:
            return None
        self.arrays.append(np.asarray(array))
        return len(self.arrays) - 1

    def affine(self, kernel: Affine) -> Fields:
        return {
            "kind": "affine",
            **_head(kernel),
            "weights": self.add(kernel.weights),
            "intercept": self.add(kernel.intercept),
            **(self._link(kernel) if isinstance(kernel, LinkedAffine) else {}),
        }

    def guarded(self, kernel: Guarded) -> Fields:
        return {
            "kind": "guarded",
            **_head(kernel),
            "table": self.add(kernel.table),
            "intercept": self.add(kernel.intercept),
            "flat": kernel.weighing == 0,
            **(self._link(kernel) if isinstance(kernel, LinkedGuarded) else {}),
        }

    def staged(self, kernel: Staged) -> Fields:
        return {
            "kind": "staged",
            **_head(kernel),
            "columns": self.add(kernel.columns),
            "ops": _op_names(kernel.ops),
            "table": self.add(kernel.table),
            "intercept": self.add(kernel.intercept),
            "flat": kernel.weighing == -1,
            **self._link(kernel),
        }

    def trees(self, kernel: Trees) -> Fields:
        ensemble = kernel.ensemble
        given = ensemble.forest.arrays
        if given is None:
            raise TypeError("the forest has not kept its arrays")
        return {
            "kind": "trees",
            **_head(kernel),
            "forest": {name: self.add(getattr(given, name)) for name in TREE_DTYPES},
            "single": ensemble.single,
            "takes_missing": ensemble.takes_missing,
            "base": self.add(ensemble.base),
            "flat": ensemble.flat,
            "steps": None if kernel.steps is None else self._steps(kernel.steps),
            **self._link(ensemble),
        }

    def picked(self, kernel: Picked) -> Fields:
        inner = _WRITERS[type(kernel.inner)](self, kernel.inner)
        return {"kind": "picked", **_head(kernel), "used": list(map(int, kernel.used)), "inner": inner}

    def encoded(self, kernel: Encoded) -> Fields:
        return {
            "kind": "encoded",
            **_head(kernel),
            "kinds": kernel.kinds,
            "numbers": kernel.numbers,
            "base": self.add(np.frombuffer(kernel.base, np.float64)),
            "codecs": [self._codec(codec) for codec in kernel.codecs],
            "inner": _WRITERS[type(kernel.inner)](self, kernel.inner),
        }

    def _codec(self, codec: Codec) -> Fields:
        seldom = (codec.missing, codec.unknown)
        entries = [*codec.known.values(), *codec.bins, *(each for each in seldom if each is not None)]
        pairs = [pair for each in entries for pair in each]
        return {
            "column": codec.column,
            "text": codec.text,
            "known": list(codec.known),
            "bins": len(codec.bins),
            "edges": self.add(np.array(codec.edges, np.float64)),
            "missing": codec.missing is not None,
            "unknown": codec.unknown is not None,
            "ends": self.add(np.cumsum([len(each) for each in entries], dtype=np.int64)),
            "places": self.add(np.array([place for place, _ in pairs], np.int64)),
            "amounts": self.add(np.array([amount for _, amount in pairs], np.float64)),
        }

    def _steps(self, steps: Steps) -> Fields:
        return {
            "inputs": int(steps.inputs),
            "columns": self.add(steps.columns),
            "ops": _op_names(steps.ops),
            "operands": [self.add(operand) for operand in steps.operands],
        }

    def _link(self, kernel: Any) -> Fields:
        return {
            "link": None if kernel.link is None else kernel.link.__name__,
            "classes": self.add(kernel.classes),
        }


_WRITERS: dict[type[Compiled], Callable[[_Writer, Any], Fields]] = {
    Affine: _Writer.affine,
    LinkedAffine: _Writer.affine,
    Guarded: _Writer.guarded,
    LinkedGuarded: _Writer.guarded,
    Staged: _Writer.staged,
    Trees: _Writer.trees,
    Picked: _Writer.picked,
    Encoded: _Writer.encoded,
}


def _head(kernel: Compiled) -> Fields:
    return {
        "names": kernel.feature_names,
        "count": int(kernel.feature_count),
        "accepts_missing": bool(kernel.accepts_missing),
        "ignores_extra": bool(kernel.ignores_extra),
    }


def _op_names(ops: Sequence[Op]) -> list[str]:
    names = {op: name for name, op in OPS.items()}
    return [names[op] for op in ops]
