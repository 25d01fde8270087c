"""What is asked: rows and options as the requests of Tenantry's own protocol."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tenantry.client.errors import RequestRefused

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,252}")


@dataclass(frozen=True, slots=True)
class Question:
    """One request, whichever server gets it.

    Attributes:
        path: with the query.
        body: JSON; None: the request is a GET, which runs no model and may be repeated.
        headers: of this request alone.
    """

    user_id: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """Of HTTP."""
        return "GET" if self.body is None else "POST"


def predict(user_id: str, rows: Any, *, class_names: bool, fresh: bool) -> Question:
    """Ask for predictions.

    Args:
        rows: as `Client.predict` takes them.

    Raises:
        RequestRefused: a row or the user id can't be sent.
    """
    query = "?classes=names" if class_names else ""
    asked = {"Tenantry-Fresh": "required"} if fresh else {}
    return Question(user_id, f"/predict/{_checked(user_id)}{query}", written(_rows(rows)), asked)


def forecast(user_id: str, horizon: int, **options: Any) -> Question:
    """Ask for a forecast.

    Args:
        options: the members of the request beside the horizon, tables as rows; None: left out.

    Raises:
        RequestRefused: a value or the user id can't be sent.
    """
    document: dict[str, Any] = {"horizon": horizon}
    for name, value in options.items():
        if value is not None:
            document[name] = records(value) if name in ("exog", "history") else value
    return Question(user_id, f"/forecast/{_checked(user_id)}", written(document))


def metadata(user_id: str) -> Question:
    """Ask what a user's model takes and gives."""
    return Question(user_id, f"/v2/models/{_checked(user_id)}")


def card(user_id: str) -> Question:
    """Ask for the card of a user's model."""
    return Question(user_id, f"/cards/{_checked(user_id)}")


def _checked(user_id: str) -> str:
    if _USER.fullmatch(user_id) is None:
        raise refused(
            f"{user_id!r} is not a user id: 1 to 253 characters of A-Z a-z 0-9 . _ ~ @ : + - that begin "
            "with a letter or a digit"
        )
    return user_id


def refused(message: str) -> RequestRefused:
    """Return the error of what can't be sent."""
    return RequestRefused(message, reason="InvalidRequest")


def _rows(rows: Any) -> Any:
    """Return rows as one of the three bodies."""
    if hasattr(rows, "columns") and hasattr(rows, "dtypes"):
        return _split(rows)
    if hasattr(rows, "ndim"):
        if rows.ndim != 2:
            raise refused(f"an array of rows must have the shape (rows, columns), got {rows.shape}")
        return {"instances": rows.tolist()}
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes):
        raise refused(f"rows must be a DataFrame, an array or a list, got {type(rows).__name__}")
    if all(isinstance(row, Mapping) for row in rows):
        return list(rows)
    return {"instances": [row.tolist() if hasattr(row, "tolist") else row for row in rows]}


def _split(frame: Any) -> dict[str, Any]:
    names = [str(name) for name in frame.columns]
    columns = [frame.iloc[:, place].tolist() for place in range(len(names))]
    rows = [list(row) for row in zip(*columns, strict=True)] if names else [[] for _ in range(len(frame))]
    return {"columns": names, "data": rows}


def records(rows: Any) -> Any:
    """Return the rows of a DataFrame as records; anything else as it is."""
    if hasattr(rows, "columns") and hasattr(rows, "dtypes"):
        split = _split(rows)
        return [dict(zip(split["columns"], row, strict=True)) for row in split["data"]]
    return rows


def written(document: Any) -> bytes:
    """Write JSON; a document of Python's own types needs no second look at each value."""
    try:
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        text = json.dumps(_plain(document), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: missing values are null, and times ISO 8601."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float | Decimal):
        return _number(float(value))
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars
        return _plain(value.tolist())
    raise refused(f"a row holds {value!r} of type {type(value).__name__}, which JSON has not; convert it")


def _number(value: float) -> float | None:
    if math.isinf(value):
        raise refused(
            "a row holds an infinity, which JSON has not; send a number, or None where it is missing"
        )
    return None if math.isnan(value) else value
