"""What a fitted encoder answers to each value that it knows, as a table of numbers.

An encoder treats every column, and every row, by itself. So a column is a table from values to numbers, and
the encoder's own transform fills that table: whatever it does about unknown, infrequent and missing values
is in it. Types are compared, not looked up with isinstance: a subclass may do anything.
"""

import math
import warnings
from collections.abc import Iterable, Sequence
from itertools import count, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, TargetEncoder

from tenantry_server.compiling import transformers
from tenantry_server.kernels.base import CannotCompile
from tenantry_server.kernels.encoded import Codec, Entries
from tenantry_server.rows import columns
from tenantry_server.rows.columns import Column, Kind

_ENCODERS = (OneHotEncoder, OrdinalEncoder, TargetEncoder, KBinsDiscretizer)
_MOST_CELLS = 4 << 20  # of a table that is filled to read one block: 32 MiB
UNKNOWN = "a text that no encoder was fitted with"
PLAIN = {
    Kind.NUMBER: ("", "float64"),
    Kind.INTEGER: ("", "int64"),
    Kind.BOOLEAN: ("", "bool"),
    Kind.ANY: ("",),
}
"""How pandas writes the types of the columns that a matrix of float64 may hold, by kind."""

Matrix = npt.NDArray[np.float64]


def _parts(block: Any) -> list[Any]:
    if type(block) is not Pipeline:
        return [block]
    return [leaf for _, part in block.steps for leaf in _parts(part)]


def encodes(block: Any) -> bool:
    """Return whether one of the parts of a block is an encoder."""
    return any(type(part) in _ENCODERS for part in _parts(block))


def cast(rows: Sequence[Sequence[Any]], types: Sequence[Column]) -> pd.DataFrame:
    """Return rows of values as the frame that the original is given for them.

    Raises:
        FeatureMismatch: a value has another type than its column.
    """
    frame = pd.DataFrame([list(row) for row in rows], columns=[column.name for column in types])
    return columns.cast(frame, types)


def is_text(column: Column) -> bool:
    """Return whether its values are texts; else numbers."""
    if column.kind is not Kind.CATEGORY:
        return column.kind is Kind.TEXT
    return isinstance(next(iter(column.categories), ""), str)


def a_new_number(known: Iterable[Any]) -> int:
    """Return a whole number that is not among them."""
    taken = set(known)
    return next(number for number in count(1) if number not in taken)


def read_block(
    block: Any, taken: Sequence[int], types: Sequence[Column], first: int
) -> tuple[list[Codec], Matrix]:
    """Return the codecs of a block's columns, and what its outputs are where no column decides.

    Args:
        taken: the columns of the block.
        first: place of its first output.
    """
    parts = _parts(block)
    encoders = [part for part in parts if type(part) in _ENCODERS]
    others = [part for part in parts if type(part) not in (*_ENCODERS, SimpleImputer)]
    for part in others:
        transformers.check_known(part)
    if len(encoders) != 1:
        raise CannotCompile("two encoders after one another are not compiled")
    trial = _Trial(block, [types[column] for column in taken])
    if type(encoders[0]) is KBinsDiscretizer:
        if len(parts) > 1 or encoders[0].dtype not in (None, np.float64):
            raise CannotCompile("bins after other steps, or of single precision, are not compiled")
        return _bins(trial, encoders[0], taken, first)
    known = [_known(encoders[0].categories_[at], parts, types[column]) for at, column in enumerate(taken)]
    return _tables(trial, known, taken, first)


class _Trial:
    """Asks a fitted block about rows, each of which differs from the first one in one column."""

    def __init__(self, block: Any, types: Sequence[Column]) -> None:
        self.block = block
        self.types = types

    def ask(self, rows: Sequence[Sequence[Any]]) -> Matrix:
        """Return the block's answer.

        Raises:
            ValueError: it refuses a value.
        """
        frame = cast(rows, self.types)
        with warnings.catch_warnings(action="ignore"):  # about unknown values, which are asked for here
            given = self.block.transform(frame)
        width = given.shape[1]
        if len(rows) * width > _MOST_CELLS:
            raise CannotCompile(f"a table of {len(rows)} x {width} is too large")
        dense = given.toarray() if hasattr(given, "toarray") else np.asarray(given)
        return dense.astype(np.float64)

    def ask_or_none(self, row: Sequence[Any]) -> Matrix | None:
        try:
            answer: Matrix = self.ask([row])[0]
        except ValueError:
            return None
        return answer


def _known(recorded: Any, parts: Sequence[Any], column: Column) -> list[Any]:
    """Return the values that the steps of a block tell apart, but for missing ones."""
    text = is_text(column)
    if not text and column.kind not in (Kind.INTEGER, Kind.NUMBER, Kind.CATEGORY):
        raise CannotCompile(f"an encoder of a column of kind {column.kind} is not compiled")
    values = [value for value in recorded.tolist() if value is not None and value == value]  # noqa: PLR0124 - NaN
    sought = [part.missing_values for part in parts if type(part) is SimpleImputer]
    values += [value for value in sought if isinstance(value, str) and text and value not in values]
    allowed = str if text else int | float
    if not values or any(isinstance(value, bool) or not isinstance(value, allowed) for value in values):
        raise CannotCompile("an encoder of other values than texts or numbers is not compiled")
    if not text and any(abs(value) >= 2**53 for value in values):
        raise CannotCompile("an encoder of numbers that a float64 can't tell apart is not compiled")
    return values


def _tables(
    trial: _Trial, known: Sequence[list[Any]], taken: Sequence[int], first: int
) -> tuple[list[Codec], Matrix]:
    start = [values[0] for values in known]
    rows = [start]
    for at, values in enumerate(known):
        rows += [[*start[:at], value, *start[at + 1 :]] for value in values]
    if len(rows) * len(rows) > _MOST_CELLS:
        raise CannotCompile(f"{len(rows):,} values are too many to compile")
    answers = trial.ask(rows)
    base, following = answers[0], iter(answers[1:])
    by_column = [np.array(list(islice(following, len(values)))) for values in known]
    special = [_special(trial, start, at, known[at]) for at in range(len(known))]
    owned = _owned(base, by_column, special)
    codecs = []
    for at, column in enumerate(taken):
        places = np.flatnonzero(owned[at])
        missing, unknown = (_entries(answer, places, first) for answer in special[at])
        table = {
            value: _entries_of(answer, places, first)
            for value, answer in zip(known[at], by_column[at], strict=True)
        }
        text = is_text(trial.types[at])
        codecs.append(Codec(column, text=text, known=table, missing=missing, unknown=unknown))
    return codecs, np.where(np.any(owned, axis=0), 0.0, base)


def _special(
    trial: _Trial, start: list[Any], at: int, known: list[Any]
) -> tuple[Matrix | None, Matrix | None]:
    """Return the answers to a missing and to an unknown value in one column; None: it is refused."""
    text = isinstance(known[0], str)
    strange = UNKNOWN if text else a_new_number(known)
    missing, unknown = (
        trial.ask_or_none([*start[:at], value, *start[at + 1 :]]) for value in (None, strange)
    )
    return missing, unknown


def _owned(
    base: Matrix, by_column: Sequence[Matrix], special: Sequence[tuple[Matrix | None, Matrix | None]]
) -> list[npt.NDArray[np.bool_]]:
    """Return for each column which outputs change with it.

    Raises:
        CannotCompile: an output depends on two columns.
    """
    owned = []
    for answers, others in zip(by_column, special, strict=True):
        seen = np.vstack([answers, *(each for each in others if each is not None)])
        same = (seen == base) | (np.isnan(seen) & np.isnan(base))
        owned.append(~same.all(axis=0))
    if np.sum(owned, axis=0).max(initial=0) > 1:
        raise CannotCompile("an encoder whose columns depend on one another")
    return owned


def _entries(answer: Matrix | None, places: npt.NDArray[np.intp], first: int) -> Entries | None:
    return None if answer is None else _entries_of(answer, places, first)


def _entries_of(answer: Matrix, places: npt.NDArray[np.intp], first: int) -> Entries:
    return tuple((first + int(place), float(answer[place])) for place in places if answer[place] != 0)


def _bins(
    trial: _Trial, encoder: KBinsDiscretizer, taken: Sequence[int], first: int
) -> tuple[list[Codec], Matrix]:
    for column in trial.types:
        if column.kind not in (Kind.INTEGER, Kind.NUMBER) or column.dtype not in PLAIN[column.kind]:
            raise CannotCompile(f"bins of a column of {column.dtype or column.kind} are not compiled")
    edges = [[float(edge) for edge in each] for each in encoder.bin_edges_]
    start = [each[0] if math.isfinite(each[0]) else 0.0 for each in edges]  # infinite: it was constant
    rows = [start] + [
        [*start[:at], edge if math.isfinite(edge) else 0.0, *start[at + 1 :]]
        for at, each in enumerate(edges)
        for edge in each[:-1]
    ]
    answers = trial.ask(rows)
    base, following = answers[0], iter(answers[1:])
    by_column = [np.array(list(islice(following, len(each) - 1))) for each in edges]
    owned = _owned(base, by_column, [(None, None)] * len(edges))
    codecs = []
    for at, position in enumerate(taken):
        places = np.flatnonzero(owned[at])
        bins = tuple(_entries_of(answer, places, first) for answer in by_column[at])
        inner = tuple(edges[at][1:-1])
        missing = _entries(trial.ask_or_none([*start[:at], None, *start[at + 1 :]]), places, first)
        codecs.append(
            Codec(position, text=False, known={}, missing=missing, unknown=None, edges=inner, bins=bins)
        )
    return codecs, np.where(np.any(owned, axis=0), 0.0, base)
