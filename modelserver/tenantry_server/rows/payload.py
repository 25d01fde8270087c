"""The rows of a request, as every protocol reads them from its body, and their errors."""

import difflib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tenantry import Model
from tenantry.errors import FeatureMismatch, InvalidRequest
from tenantry.model import Rows

if TYPE_CHECKING:
    import pandas as pd

_COMPARED = 100  # missing columns, to find the one that an unknown one was meant to be
_LONGEST_SHOWN = 40  # characters of a client's text in a message


class Payload(ABC):
    """The rows of one request, read from its body and not checked against a model yet.

    Messages count rows and columns from 0, like the body.

    Attributes:
        large: whether few rows of it may be long, so that converting them takes its time.
        is_forecast: whether it is a ForecastRequest, which `isinstance` takes longer to say of this class.
    """

    __slots__ = ()
    large = False
    is_forecast: ClassVar[bool] = False

    @abstractmethod
    def __len__(self) -> int:
        """The number of rows."""

    @abstractmethod
    def matrix(self, model: Model) -> Rows:
        """Return the rows as one float64 matrix in the model's own column order.

        Returns:
            shape (n, features); every number finite, or NaN where the model accepts missing ones.

        Raises:
            FeatureMismatch: a column is missing, unknown, or not a number the model takes.
        """

    @abstractmethod
    def frame(self, model: Model) -> "pd.DataFrame":
        """Return the rows as a DataFrame, values as in the body, columns in the model's order.

        Raises:
            FeatureMismatch: a column is missing or unknown.
        """

    @abstractmethod
    def values(self, model: Model) -> Sequence[Sequence[Any]]:
        """Return the rows as sequences of values as in the body, in the model's own column order.

        Raises:
            FeatureMismatch: a column is missing or unknown.
        """


def check_same(seen: Any, wanted: Sequence[str], where: str, *, extra: bool = False) -> None:
    """Refuse other column names than the wanted ones, unless `extra` ones are to be left out.

    Args:
        where: starts the message, such as ``row 3: ``.

    Raises:
        FeatureMismatch: names the missing and the unknown ones, and the probable intention.
    """
    known = set(wanted)
    missing = [name for name in wanted if name not in seen]
    unknown = [] if extra and not missing else [name for name in seen if name not in known]
    if not missing and not unknown:
        return
    words = []
    if missing:
        words.append(f"missing {_named(missing)}")
    if unknown:
        probable = [name[:_LONGEST_SHOWN] for name in missing[:_COMPARED]]
        close = difflib.get_close_matches(unknown[0][:_LONGEST_SHOWN], probable, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        words.append(f"unknown {_named(unknown)}{hint}")
    raise FeatureMismatch(f"{where}{' and '.join(words)}; the model takes {_listed(wanted)}")


def check_count(seen: int, model: Model, number: int) -> None:
    """Refuse row `number` where its count of values is not the model's.

    Raises:
        FeatureMismatch: states both counts.
    """
    taken = model.feature_count
    if taken is None and model.feature_names is not None:
        taken = len(model.feature_names)
    if taken is not None and seen != taken:
        raise FeatureMismatch(f"row {number} has {seen} values, the model takes {taken}")


def check_finite(matrix: Rows, names: Sequence[str] | None, model: Model) -> None:
    """Refuse infinities, and NaN where the model takes no missing values.

    Raises:
        FeatureMismatch: names the first such number's row and column.
    """
    finite = np.isfinite(matrix)
    if finite.all():
        return
    refused = np.isinf(matrix) if model.accepts_missing else ~finite
    for number, position in np.argwhere(refused)[:1]:
        missing = bool(np.isnan(matrix[number, position]))
        seen = "missing (null), and this model takes no missing values" if missing else "infinite"
        raise FeatureMismatch(f"{cell(int(number), int(position), names)} is {seen}")


def cell(number: int, position: int, names: Sequence[str] | None) -> str:
    """Return the place of a value, for messages."""
    column = short(names[position]) if names is not None else str(position)
    return f"row {number}, column {column}"


def short(name: str) -> str:
    """Return a client's text, quoted and cut."""
    return repr(name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…")


def shown(value: Any) -> str:
    """Describe a value of a JSON body for a message, cut to a few words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the string {short(value)}"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    return f"the number {value}"[:60]


def _named(names: list[str]) -> str:
    return f"column{'s' if len(names) > 1 else ''} {_listed(names, most=5)}"


def _listed(names: Sequence[str], *, most: int = 20) -> str:
    shown = ", ".join(map(short, names[:most]))
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def refuse_double_keys(document: bytes) -> None:
    """Refuse a JSON document in which an object repeats a key; a slow second reading.

    Raises:
        InvalidRequest: names the key, or says that the document is nested too deeply.
    """

    def checked(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidRequest(f"the key {short(name)} is repeated in one object")
            seen.add(name)

    try:
        json.loads(document, object_pairs_hook=checked, parse_int=float)
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
