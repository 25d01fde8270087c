"""The card as a type, and its JSON: columns and their types, example rows and their answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import orjson

from tenantry.errors import InvalidRequest
from tenantry_server.rows import forecast_request
from tenantry_server.rows.columns import Column, Kind
from tenantry_server.rows.json_payload import parse
from tenantry_server.rows.payload import Payload

VERSION = 1


class CardInvalid(Exception):
    """The bytes are not a card; the message says why."""


class Form(StrEnum):
    """What a model is given for its rows."""

    FRAME = "frame"
    ARRAY = "array"
    TEXTS = "texts"  # a list of texts, as vectorizers take it
    RECORDS = "records"  # a list of dicts
    SERIES = "series"  # nothing: it is asked for a horizon


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What was recorded of a model where it was trained.

    Attributes:
        form: what the model is given.
        columns: in their order; for texts, one column.
        rows: example rows as a client sends them: records of a frame, else lists.
        answers: what the model gave for each row, as this server writes it.
        method: that gave them.
        relative: how much of its size an answer may differ.
        absolute: by how much an answer may differ where it is near zero.
        versions: of Python and of the libraries, by their distribution's name.
        statistics: of each column of numbers: count, missing, mean, std, min and max.
        forecast: of a series, the example request in the place of rows, and `answers` are its steps.
        classes: names of the classes that probabilities are of, in their order; of several outputs a list
            for each. None: unknown, or there are none.
    """

    form: Form
    columns: tuple[Column, ...]
    rows: list[Any]
    answers: list[Any]
    method: str
    relative: float
    absolute: float
    versions: Mapping[str, str]
    statistics: Mapping[str, Mapping[str, float]]
    forecast: Mapping[str, Any] | None = None
    classes: list[Any] | None = None

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the columns; None: they have none."""
        return tuple(column.name for column in self.columns) if self.form is Form.FRAME else None

    @property
    def is_numeric(self) -> bool:
        """Whether every column is a number."""
        return self.form in (Form.FRAME, Form.ARRAY) and all(column.is_number for column in self.columns)

    @property
    def has_example(self) -> bool:
        """Whether it has something to ask a model."""
        return bool(self.rows) or self.forecast is not None

    def payload(self) -> Payload:
        """Return the example rows, or the example of a forecast, as a request brings them."""
        if self.forecast is not None:
            return forecast_request.of_document(dict(self.forecast))
        named = self.form in (Form.FRAME, Form.RECORDS)
        return parse(orjson.dumps(self.rows if named else {"instances": self.rows}))

    def to_json(self) -> bytes:
        """Write the card.

        Example:
            >>> card = Card(
            ...     form=Form.FRAME, columns=(Column("km", Kind.NUMBER, "float64"),), method="predict",
            ...     rows=[{"km": 1.5}], answers=[3.0], relative=1e-6, absolute=0.0,
            ...     versions={}, statistics={},
            ... )
            >>> Card.read(card.to_json()) == card
            True
        """
        columns = [
            {"name": column.name, "kind": column.kind, "dtype": column.dtype}
            | ({"categories": list(column.categories)} if column.kind is Kind.CATEGORY else {})
            | ({"ordered": True} if column.ordered else {})
            | ({"none": True} if column.none else {})
            for column in self.columns
        ]
        return orjson.dumps(
            {
                "card": VERSION,
                "form": self.form,
                "method": self.method,
                "columns": columns,
                "rows": self.rows,
                "answers": self.answers,
                "tolerance": {"relative": self.relative, "absolute": self.absolute},
                "versions": dict(self.versions),
                "statistics": dict(self.statistics),
            }
            | ({} if self.forecast is None else {"forecast": dict(self.forecast)})
            | ({} if self.classes is None else {"classes": self.classes})
        )

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read what `to_json` wrote; unknown members are ignored, so that a newer writer may add some.

        Raises:
            CardInvalid: it is something else; says what.
        """
        try:
            document = orjson.loads(data)
            version = document["card"]
            if version != VERSION:
                raise CardInvalid(f"it is of version {version!r}, this server reads {VERSION}")
            tolerance = document["tolerance"]
            card = cls(
                form=Form(document["form"]),
                columns=tuple(_column(each) for each in document["columns"]),
                rows=list(document["rows"]),
                answers=list(document["answers"]),
                method=str(document["method"]),
                relative=float(tolerance["relative"]),
                absolute=float(tolerance["absolute"]),
                versions={str(name): str(value) for name, value in document["versions"].items()},
                statistics=dict(document["statistics"]),
                forecast=document.get("forecast"),
                classes=document.get("classes"),
            )
            if card.forecast is not None:
                card.payload()
        except orjson.JSONDecodeError as error:
            raise CardInvalid(f"it is not JSON: {error}") from None
        except KeyError as error:
            raise CardInvalid(f"it has no member {error}") from None
        except (TypeError, ValueError, AttributeError, InvalidRequest) as error:
            raise CardInvalid(f"{error}") from None
        if card.forecast is None and len(card.rows) != len(card.answers):
            raise CardInvalid(f"it has {len(card.rows)} rows and {len(card.answers)} answers")
        return card


def _column(document: Mapping[str, Any]) -> Column:
    return Column(
        str(document["name"]),
        Kind(document["kind"]),
        str(document["dtype"]),
        tuple(document.get("categories", ())),
        ordered=bool(document.get("ordered", False)),
        none=bool(document.get("none", False)),
    )
