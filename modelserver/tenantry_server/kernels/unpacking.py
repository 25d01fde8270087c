"""Kernels from the wire: the process that wrote them ran a stranger's code, so everything is checked."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tenantry import Model
from tenantry_server.kernels import arrays
from tenantry_server.kernels.affine import Affine, Guarded, LinkedAffine, LinkedGuarded, Staged
from tenantry_server.kernels.arrays import Array, Buffer, Malformed
from tenantry_server.kernels.base import Compiled, Head, Picked, one_array_of, one_of
from tenantry_server.kernels.encoded import KINDS, Codec, Encoded
from tenantry_server.kernels.forest import Ensemble, Forest, Trees
from tenantry_server.kernels.links import Link
from tenantry_server.kernels.series import wire
from tenantry_server.kernels.steps import Steps
from tenantry_server.kernels.tree_arrays import TreeArrays
from tenantry_server.kernels.wire_names import LINKS, OPS, TREE_DTYPES, Fields


def unpack(data: Buffer) -> Model:
    """Read a kernel that may have been written by anybody.

    Raises:
        Malformed: it is not a kernel, or one that reads what is not its own.
    """
    document, given = arrays.decode(data)
    try:
        if document["kind"] == wire.KIND:
            return wire.read(document, given)
        return _read(document, given)
    except Malformed:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None


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
        self.head = Head(
            None if names is None else tuple(names),
            count,
            bool(document["accepts_missing"]),
            bool(document["ignores_extra"]),
        )

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
        link = LINKS[name]
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
    ops = [OPS[name] for name in fields["ops"]]
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
    shapes: dict[str, tuple[None, ...]] = dict.fromkeys(TREE_DTYPES, (None,)) | {"value": (None, None)}
    given = {
        name: reader.array(fields["forest"][name], shapes[name], dtype)
        for name, dtype in TREE_DTYPES.items()
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
    ops = tuple(OPS[name] for name in fields["ops"])
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


def _encoded(reader: _Reader, given: list[Array]) -> Compiled:
    fields, head = reader.fields, reader.head
    if fields["inner"]["kind"] in ("picked", "encoded"):
        raise Malformed("encoders before others")
    inner = _read(fields["inner"], given)
    kinds, numbers = tuple(fields["kinds"]), tuple(fields["numbers"])
    base = reader.array(fields["base"], (inner.feature_count,))
    if len(kinds) != head.count or not KINDS.issuperset(kinds):
        raise Malformed("its kinds are not one known kind for each column")
    if len(numbers) > len(base) or not all(_is_position(each, head.count) for each in numbers):
        raise Malformed("its numbers are not columns")
    codecs = tuple(_codec(reader, each, len(numbers), len(base)) for each in fields["codecs"])
    return Encoded(head, kinds, numbers, codecs, base, inner)


def _codec(reader: _Reader, fields: Fields, first: int, width: int) -> Codec:
    known, text, bins, column = fields["known"], bool(fields["text"]), fields["bins"], fields["column"]
    if not _is_position(column, reader.head.count) or type(bins) is not int or bins < 0:
        raise Malformed(f"a codec of column {column!r} with {bins!r} bins")
    if not all(type(value) in ((str,) if text else (int, float)) for value in known):
        raise Malformed("values of another type than their column")
    edges = reader.array(fields["edges"], (max(bins - 1, 0),))
    if not (edges[:-1] <= edges[1:]).all():
        raise Malformed("edges out of order")
    flags = [bool(fields["missing"]), bool(fields["unknown"])]
    ends = reader.array(fields["ends"], (len(known) + bins + sum(flags),), np.int64).tolist()
    amounts = reader.array(fields["amounts"], (None,))
    places = reader.array(fields["places"], (len(amounts),), np.int64)
    if len(places) and not (places.min() >= first and places.max() < width):
        raise Malformed("a codec writes where no column of texts or codes is")
    pairs = list(zip(places.tolist(), amounts.tolist(), strict=True))
    starts = [0, *ends[:-1]]
    if (ends and ends[-1] != len(pairs)) or any(a > b for a, b in zip(starts, ends, strict=False)):
        raise Malformed("entries that don't add up")
    entries = iter([tuple(pairs[a:b]) for a, b in zip(starts, ends, strict=False)])
    return Codec(
        column,
        text=text,
        known={value: next(entries) for value in known},
        bins=tuple(next(entries) for _ in range(bins)),
        missing=next(entries) if flags[0] else None,
        unknown=next(entries) if flags[1] else None,
        edges=tuple(edges.tolist()),
    )


def _is_position(given: Any, count: int) -> bool:
    return type(given) is int and 0 <= given < count


_READERS: dict[str, Callable[[_Reader, list[Array]], Compiled]] = {
    "affine": _affine,
    "guarded": _guarded,
    "staged": _staged,
    "trees": _trees,
    "picked": _picked,
    "encoded": _encoded,
}
