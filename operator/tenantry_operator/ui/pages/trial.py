"""A prediction to try: the form that a model's card asks for, and the request that the form makes.

A card is a stranger's: what it says is read by its types, and anything odd in it means that rows are given
as JSON instead.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MOST_FIELDS = 60
_MOST_OPTIONS = 500
_LONGEST = 2000  # characters of a prefilled value
ROWS = "rows"
"""Name of the field that holds rows as JSON."""


class Unfit(Exception):
    """What was filled in can't be sent; the message says which field, what was seen, and what fits."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the form: one column.

    Attributes:
        name: of the input; never a text of the card's.
        column: of the model.
        kind: of its values, as the card says.
        dtype: as pandas has it, for people.
        value: what the example row has, as it is written into the input; empty: a missing value.
        options: what may be chosen; empty: anything may be written.
    """

    name: str
    column: str
    kind: str
    dtype: str
    value: str
    options: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """What can be tried.

    Attributes:
        fields: one for each column; empty: rows are given as JSON alone.
        rows: an example of a request's body, as JSON.
        is_forecast: whether the body asks for a forecast.
    """

    fields: tuple[Field, ...] = ()
    rows: str = '[\n {"column": 0}\n]'
    is_forecast: bool = False


def of_card(card: Any) -> Form:
    """Return the form for a card; one for JSON where it can't be read."""
    if not isinstance(card, dict):
        return Form()
    forecast = card.get("forecast")
    if isinstance(forecast, dict):
        return Form(rows=_written(forecast), is_forecast=True)
    rows = card.get("rows")
    example = rows[:1] if isinstance(rows, list) else []
    named = card.get("form") in ("frame", "records")
    body = _written(example if named else {"instances": example})
    if card.get("form") != "frame":
        return Form(rows=body)
    first = example[0] if example and isinstance(example[0], dict) else {}
    return Form(_fields(card.get("columns"), first), body)


def filled(form: Form, given: Mapping[str, str]) -> Form:
    """Return the form with what a visitor gave in the place of the example."""
    fields = tuple(
        Field(f.name, f.column, f.kind, f.dtype, given.get(f.name, f.value), f.options) for f in form.fields
    )
    return Form(fields, given.get(ROWS, form.rows), form.is_forecast)


def body_of(form: Form, given: Mapping[str, str]) -> bytes:
    """Return the request's body for a form that was sent.

    Raises:
        Unfit: a field can't be read.
    """
    if ROWS in given or not form.fields:
        try:
            json.loads(given.get(ROWS, ""))
        except (ValueError, RecursionError) as error:
            raise Unfit(f"the rows are not JSON: {error}") from None
        return given[ROWS].encode("utf-8", "replace")
    row = {field.column: _value(field, given.get(field.name, "")) for field in form.fields}
    return json.dumps([row], ensure_ascii=False).encode("utf-8", "replace")


def shown(value: Any) -> str:
    """Return a value of an example row as it stands in an input."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value[:_LONGEST] if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:_LONGEST]


def _fields(columns: Any, example: Mapping[str, Any]) -> tuple[Field, ...]:
    if not isinstance(columns, list) or not 0 < len(columns) <= _MOST_FIELDS:
        return ()
    fields = []
    for number, column in enumerate(columns):
        name = column.get("name") if isinstance(column, dict) else None
        if not isinstance(name, str):
            return ()
        kind = str(column.get("kind"))
        options = _options(kind, column.get("categories"))
        value = shown(example.get(name))
        fields.append(Field(f"c{number}", name, kind, str(column.get("dtype") or kind), value, options))
    return tuple(fields)


def _options(kind: str, categories: Any) -> tuple[Any, ...]:
    if kind == "boolean":
        return (True, False)
    usable = isinstance(categories, Sequence) and not isinstance(categories, str)
    return tuple(categories) if kind == "category" and usable and len(categories) <= _MOST_OPTIONS else ()


def _value(field: Field, given: str) -> Any:
    """Return a value as the model's column takes it; an empty input is a missing value."""
    if given == "":
        return None
    for option in field.options:
        if shown(option) == given:
            return option
    if field.options:
        raise Unfit(f"{field.column!r} is none of its categories: {given!r}")
    if field.kind in ("integer", "number"):
        return _number(field, given)
    if field.kind == "any":
        try:
            return json.loads(given)
        except (ValueError, RecursionError):
            return given
    return given


def _number(field: Field, given: str) -> float:
    try:
        number = int(given) if field.kind == "integer" else float(given)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        wanted = "a whole number" if field.kind == "integer" else "a number"
        raise Unfit(f"{field.column!r} must be {wanted}, got {given!r}")
    return number


def _written(document: Any) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False)[: 64 << 10]
