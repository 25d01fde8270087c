"""Kernels as arrays on the wire: written by a worker, read by the front as a stranger's."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tenantry_server.kernels import arrays, links
from tenantry_server.kernels.affine import Affine, Guarded, LinkedAffine, LinkedGuarded, Staged
from tenantry_server.kernels.arrays import Array, Buffer, Malformed
from tenantry_server.kernels.base import Compiled, Head, Picked, one_array_of, one_of
from tenantry_server.kernels.forest import Ensemble, Forest, TreeArrays, Trees
from tenantry_server.kernels.links import Link
from tenantry_server.kernels.steps import Op, Steps, fill

Fields: TypeAlias = dict[str, Any]

_LINKS: dict[str, Link] = {
    link.__name__: link
    for link in (
        links.positive,
        links.not_negative,
        links.largest,
        links.sigmoid,
        links.steep_sigmoid,
        links.sigmoid_shares,
        links.softmax,
        links.huber,
        links.huber_shares,
        links.exponential,
    )
}
_OPS: dict[str, Op] = {
    "subtract": np.subtract,
    "divide": np.divide,
    "multiply": np.multiply,
    "add": np.add,
    "fill": fill,
}
_TREE_DTYPES = {
    "counts": np.int64,
    "left": np.int64,
    "right": np.int64,
    "feature": np.int64,
    "threshold": np.float64,
    "missing_left": np.uint8,
    "value": np.float64,
}


def pack(kernel: Compiled) -> list[Buffer]:
    """Write a kernel; forests need `Forest.keeps_arrays`.

    Raises:
        TypeError: its class labels have no form on the wire.
    """
    writer = _Writer()
    document = _WRITERS[type(kernel)](writer, kernel)
    return arrays.encode(document, writer.arrays)


def unpack(data: Buffer) -> Compiled:
    """Read a kernel that may have been written by anybody.

    Raises:
        Malformed: it is not a kernel, or one that reads what is not its own.
    """
    document, given = arrays.decode(data)
    try:
        return _read(document, given)
    except Malformed:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None


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
            "forest": {name: self.add(getattr(given, name)) for name in _TREE_DTYPES},
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
}


def _head(kernel: Compiled) -> Fields:
    return {
        "names": kernel.feature_names,
        "count": int(kernel.feature_count),
        "accepts_missing": bool(kernel.accepts_missing),
    }


def _op_names(ops: Sequence[Op]) -> list[str]:
    names = {op: name for name, op in _OPS.items()}
    return [names[op] for op in ops]


class _Reader:
    """Takes arrays out, checked for their dtype and shape."""

    def __init__(self, document: Fields, given: list[Array]) -> None:
        self.fields = document
        self._given = given
        names, count = document["names"], document["count"]
        if type(count) is not int or count < 0:
            raise Malformed(f"{count!r} columns")
        if names is not None and (len(names) != count or not all(type(name) is str for name in names)):
            raise Malformed("its names are not one text for each column")
        self.head = Head(None if names is None else tuple(names), count, bool(document["accepts_missing"]))

    def any(self, position: Any) -> Array:
        """Return an array of any dtype and shape."""
        if type(position) is not int or not 0 <= position < len(self._given):
            raise Malformed(f"no array {position!r}")
        return self._given[position]

    def array(self, position: Any, shape: tuple[int | None, ...], dtype: Any = np.float64) -> Array:
        """Return an array of this shape (None: any size)."""
        found = self.any(position)
        fits = len(shape) == found.ndim and all(
            wanted in (None, size) for wanted, size in zip(shape, found.shape, strict=True)
        )
        if found.dtype != dtype or not fits:
            raise Malformed(f"an array of {found.dtype}{found.shape} instead of {np.dtype(dtype)}{shape}")
        return found

    def intercept(self, outputs: int | None) -> Any:
        """Return one number, or one for each output."""
        position = self.fields["intercept"]
        if outputs is None:
            return float(self.array(position, ()))
        return self.array(position, (outputs,))

    def columns(self, position: Any, inputs: int) -> Array:
        found = self.array(position, (None,), np.int64)
        if len(found) and not (found.min() >= 0 and found.max() < inputs):
            raise Malformed(f"a column that is not one of {inputs}")
        return found.astype(np.intp)

    def link(self, outputs: int) -> tuple[Link | None, Array | None]:
        """Return what makes the answer, and the labels that it needs."""
        name, position = self.fields["link"], self.fields["classes"]
        if name is None:
            return None, None
        link = _LINKS[name]
        if position is None:
            return link, None
        classes = self.any(position)
        if classes.ndim != 1 or len(classes) < max(outputs, 1):
            raise Malformed(f"{classes.shape} labels for {outputs} outputs")
        return link, one_array_of(classes)


def _read(document: Fields, given: list[Array]) -> Compiled:
    return _READERS[document["kind"]](_Reader(document, given), given)


def _affine(reader: _Reader, _: list[Array]) -> Compiled:
    fields, count = reader.fields, reader.head.count
    flat = reader.any(fields["weights"]).ndim == 1
    weights = reader.array(fields["weights"], (count,) if flat else (count, None))
    outputs = None if flat else weights.shape[1]
    weights = weights if flat else np.asfortranarray(weights)
    intercept = reader.intercept(outputs)
    if "link" not in fields:
        return Affine(reader.head, weights, intercept)
    link, classes = reader.link(2 if outputs is None else outputs)
    if link is None:
        raise Malformed("no link")
    return LinkedAffine(reader.head, weights, intercept, link, classes)


def _guarded(reader: _Reader, _: list[Array]) -> Compiled:
    fields, head = reader.fields, reader.head
    table = reader.array(fields["table"], (None, head.count))
    outputs = len(table) - 1 - head.accepts_missing
    flat = bool(fields["flat"])
    if outputs < 1 or (flat and outputs != 1):
        raise Malformed(f"a table of {len(table)} rows")
    intercept = reader.intercept(None if flat else outputs)
    if "link" not in fields:
        return Guarded(head, table, intercept, flat=flat)
    link, classes = reader.link(2 if flat else outputs)
    if link is None:
        raise Malformed("no link")
    return LinkedGuarded(head, table, intercept, flat=flat, link=link, classes=classes)


def _staged(reader: _Reader, _: list[Array]) -> Compiled:
    fields, head = reader.fields, reader.head
    ops = [_OPS[name] for name in fields["ops"]]
    columns = None if fields["columns"] is None else reader.columns(fields["columns"], head.count)
    width = head.count if columns is None else len(columns)
    table = reader.array(fields["table"], (None, width))
    flat = bool(fields["flat"])
    outputs = len(table) - len(ops)
    if outputs < 1 or (flat and outputs != 1):
        raise Malformed(f"a table of {len(table)} rows for {len(ops)} operations")
    kernel = Staged.__new__(Staged)
    Compiled.__init__(kernel, head)
    kernel.columns = columns
    kernel.ops = one_of(tuple(ops))
    kernel.table = table
    kernel.weighing = -1 if flat else slice(len(ops), None)
    kernel.intercept = reader.intercept(None if flat else outputs)
    kernel.link, kernel.classes = reader.link(2 if flat else outputs)
    return kernel


def _trees(reader: _Reader, _: list[Array]) -> Compiled:
    fields, head = reader.fields, reader.head
    steps = None if fields["steps"] is None else _steps(reader, fields["steps"])
    features = head.count if steps is None else len(steps.columns)
    shapes: dict[str, tuple[None, ...]] = dict.fromkeys(_TREE_DTYPES, (None,)) | {"value": (None, None)}
    given = {
        name: reader.array(fields["forest"][name], shapes[name], dtype)
        for name, dtype in _TREE_DTYPES.items()
    }
    forest = Forest(TreeArrays(**given), features)
    base = None if fields["base"] is None else reader.array(fields["base"], (None,))
    leaves = forest.outputs * forest.trees
    if forest.outputs < 1 or (base is not None and (not len(base) or leaves % len(base))):
        raise Malformed("its leaves don't fit its outputs")
    outputs = forest.outputs if base is None else len(base)
    link, classes = reader.link(max(outputs, 2) if base is not None else outputs)
    ensemble = Ensemble(
        forest,
        single=bool(fields["single"]),
        takes_missing=bool(fields["takes_missing"]),
        base=base,
        flat=bool(fields["flat"]),
        link=link,
        classes=classes,
    )
    return Trees(head, ensemble, steps)


def _steps(reader: _Reader, fields: Fields) -> Steps:
    if fields["inputs"] != reader.head.count:
        raise Malformed(f"steps that take {fields['inputs']!r} columns")
    columns = reader.columns(fields["columns"], reader.head.count)
    operands = tuple(reader.array(each, (len(columns),)) for each in fields["operands"])
    ops = tuple(_OPS[name] for name in fields["ops"])
    if len(ops) != len(operands):
        raise Malformed(f"{len(operands)} operands for {len(ops)} operations")
    return Steps(reader.head.count, columns, ops, operands)


def _picked(reader: _Reader, given: list[Array]) -> Compiled:
    inner_fields, used = reader.fields["inner"], reader.fields["used"]
    if inner_fields["kind"] == "picked":
        raise Malformed("a selection of a selection")
    inner = _read(inner_fields, given)
    if len(used) != inner.feature_count or not all(
        type(each) is int and 0 <= each < reader.head.count for each in used
    ):
        raise Malformed("it selects columns that are not there")
    return Picked(reader.head, inner, used)


_READERS: dict[str, Callable[[_Reader, list[Array]], Compiled]] = {
    "affine": _affine,
    "guarded": _guarded,
    "staged": _staged,
    "trees": _trees,
    "picked": _picked,
}
