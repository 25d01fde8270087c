"""Reads the part of a pipeline that encodes texts and codes: tables, beside columns that stay numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer

from tenantry_server.compiling import transformers
from tenantry_server.compiling.lines import side_by_side
from tenantry_server.compiling.tables import (
    PLAIN,
    UNKNOWN,
    Matrix,
    a_new_number,
    encodes,
    is_text,
    read_block,
)
from tenantry_server.kernels.base import CannotCompile
from tenantry_server.kernels.encoded import Codec, Entries
from tenantry_server.kernels.steps import Steps
from tenantry_server.rows.columns import Column, Kind


@dataclass(frozen=True, slots=True)
class Encoding:
    """What happens to a request's columns before the first step on numbers.

    Attributes:
        kinds: of all columns, as `Encoded` takes them.
        numbers: columns that stay numbers.
        codecs: of the columns that do not.
        base: the row of numbers where no column was read yet, shape (width,).
        steps: on the row of numbers.
    """

    kinds: tuple[str, ...]
    numbers: tuple[int, ...]
    codecs: tuple[Codec, ...]
    base: Matrix
    steps: Steps

    def refusing_missing(self) -> "Encoding":
        """Return it for steps that take no missing number: a value that becomes one is refused.

        Raises:
            CannotCompile: a value that an encoder was fitted with is.
        """
        known = [entries for codec in self.codecs for entries in (*codec.known.values(), *codec.bins)]
        if np.isnan(self.base).any() or not all(map(_is_finite, known)):
            raise CannotCompile("a value that is known becomes a missing number")
        codecs = tuple(
            Codec(
                codec.column,
                text=codec.text,
                known=codec.known,
                missing=codec.missing if _is_finite(codec.missing) else None,
                unknown=codec.unknown if _is_finite(codec.unknown) else None,
                edges=codec.edges,
                bins=codec.bins,
            )
            for codec in self.codecs
        )
        return replace(self, codecs=codecs)


def read(first: Any, types: Sequence[Column]) -> Encoding:
    """Read the first part of a pipeline.

    Args:
        first: a ColumnTransformer, or an encoder of all columns.
        types: of all columns.

    Raises:
        CannotCompile: something in it is not known exactly.
    """
    if type(first) is ColumnTransformer:
        blocks = list(transformers.side_parts(first))
    else:
        blocks = [(first, list(range(len(types))))]
    plain = {column for part, taken in blocks if not encodes(part) for column in taken}
    numbers = tuple(sorted(plain))
    kinds = tuple(_kind(column, is_read=position in plain) for position, column in enumerate(types))
    place = {column: at for at, column in enumerate(numbers)}
    codecs: list[Codec] = []
    bases = [np.zeros(len(numbers))]
    taken_of: list[list[int]] = []  # by each block, places in the row of numbers
    width = len(numbers)
    for part, taken in blocks:
        if not encodes(part):
            taken_of.append([place[column] for column in taken])
            continue
        made, base = read_block(part, taken, types, width)
        codecs += made
        bases.append(base)
        taken_of.append(list(range(width, width + len(base))))
        width += len(base)
    whole = Steps.none(width)
    steps = [
        whole.taking(places) if encodes(part) else transformers.read(part, whole.taking(places))
        for (part, _), places in zip(blocks, taken_of, strict=True)
    ]
    return Encoding(kinds, numbers, tuple(codecs), np.concatenate(bases), side_by_side(steps))


def has_encoder(first: Any) -> bool:
    """Return whether the first part of a pipeline encodes any column."""
    parts = [part for _, part, _ in first.transformers_] if type(first) is ColumnTransformer else [first]
    return any(map(encodes, parts))


def probes(encoding: Encoding, numbers: Matrix) -> list[list[Any]]:
    """Return rows to try a model on: each column runs through its values, beside these numbers.

    Args:
        numbers: rows for the steps on numbers; their first places are used, one row after the other.
    """
    width = len(encoding.kinds)
    runs: dict[int, list[Any]] = {}
    for codec in encoding.codecs:
        seldom = [
            (codec.missing, None),
            (codec.unknown, UNKNOWN if codec.text else a_new_number(codec.known)),
        ]
        values: list[Any] = [value for entries, value in seldom if entries is not None]
        if codec.bins:
            values = [None] * (codec.missing is not None) + _around(codec.edges)
        runs.setdefault(codec.column, []).extend([*codec.known, *values])
    rows: list[list[Any]] = []
    for at in range(max([len(numbers), *map(len, runs.values())])):
        row: list[Any] = [None] * width
        for place, column in enumerate(encoding.numbers):
            row[column] = _fitting(float(numbers[at % len(numbers), place]), encoding.kinds[column])
        for column, values in runs.items():
            row[column] = values[at % len(values)]
        rows.append(row)
    return rows


def _around(edges: Sequence[float]) -> list[float]:
    beside = [(edge, math.nextafter(edge, math.inf), math.nextafter(edge, -math.inf)) for edge in edges]
    return [-1e9, 0.0, 1e9, *(each for three in beside for each in three)]


def _fitting(number: float, kind: str) -> Any:
    return number > 0 if kind == Kind.BOOLEAN else number


def _is_finite(entries: Entries | None) -> bool:
    return entries is None or all(math.isfinite(number) for _, number in entries)


def _kind(column: Column, *, is_read: bool) -> str:
    """Return a column's kind as a kernel checks it.

    Raises:
        CannotCompile: it is none that a kernel reads.
    """
    if column.kind in PLAIN and (column.dtype in PLAIN[column.kind] or not is_read):
        return str(column.kind)
    if is_read or column.kind is Kind.TIME:
        raise CannotCompile(f"a column of {column.dtype or column.kind} is not compiled")
    if column.kind is Kind.CATEGORY:
        return str(Kind.TEXT if is_text(column) else Kind.NUMBER)
    return str(column.kind)
