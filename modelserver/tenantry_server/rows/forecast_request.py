"""What a request for a forecast asks, as JSON or as a query, before any model has seen it.

Knows no model and no calendar: whether times and columns fit is for `scoring.forecasts` to say.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import orjson

from tenantry import Model
from tenantry.errors import FeatureMismatch, InvalidRequest, NotAForecaster
from tenantry.model import Rows
from tenantry_server.rows.payload import Payload, refuse_double_keys, short, shown

if TYPE_CHECKING:
    import pandas as pd

MOST_STEPS = 10_000
"""From the end of a series to the last step of a horizon: 27 years of days."""

TIME = "time"
_MOST_QUANTILES = 50
_MEMBERS = ("horizon", "from", "history", "exog", "quantiles")
_IN_A_QUERY = ("horizon", "from", "quantiles")

Table = Mapping[str, Sequence[Any]]
"""Columns of equal length; TIME is one of them where the request has times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRequest(Payload):
    """One request for a forecast.

    Attributes:
        horizon: steps to answer, 1 to MOST_STEPS.
        start: the time of the first of them, or its number; None: the one that follows the history.
        history: the series itself, later than the model's own; None: the model's own.
        exog: of each step of the horizon; None: there is none.
        quantiles: between 0 and 1, ascending.
    """

    horizon: int
    start: str | int | None = None
    history: Table | None = None
    exog: Table | None = None
    quantiles: tuple[float, ...] = ()
    is_forecast: ClassVar[bool] = True

    def __len__(self) -> int:
        """The number of steps, which are the rows of the answer."""
        return self.horizon

    def matrix(self, model: Model) -> Rows:  # noqa: ARG002 - the interface
        """Refuse: it is asked of a model that predicts rows."""
        raise NotAForecaster

    def frame(self, model: Model) -> "pd.DataFrame":  # noqa: ARG002 - as above
        """Refuse, as `matrix`."""
        raise NotAForecaster

    def values(self, model: Model) -> Sequence[Sequence[Any]]:  # noqa: ARG002 - as above
        """Refuse, as `matrix`."""
        raise NotAForecaster

    def document(self) -> dict[str, Any]:
        """Return the request as `of_document` reads it."""
        members = {
            "horizon": self.horizon,
            "from": self.start,
            "history": self.history,
            "exog": self.exog,
            "quantiles": list(self.quantiles),
        }
        return {name: value for name, value in members.items() if value not in (None, [])}


class Takes(Protocol):
    """What a forecaster says of itself; a `Forecaster` does."""

    @property
    def takes_quantiles(self) -> bool:
        """Whether it answers quantiles."""

    @property
    def takes_history(self) -> bool:
        """Whether a request may bring a history."""

    @property
    def exog_names(self) -> Sequence[str]:
        """The exogenous columns that a request must bring."""


def refuse_untaken(model: Takes, asked: ForecastRequest) -> None:
    """Refuse a request for what a forecaster does not do.

    Raises:
        InvalidRequest: it takes no history, or forecasts no quantiles.
        FeatureMismatch: it takes no exogenous columns.
    """
    if asked.quantiles and not model.takes_quantiles:
        raise InvalidRequest("this user's model forecasts no quantiles; leave them out")
    if asked.history is not None and not model.takes_history:
        raise InvalidRequest(
            "this user's model forecasts from the end of the series that it was fitted with, and takes no "
            "other history; leave it out, or publish a new version"
        )
    if asked.exog is not None and not model.exog_names:
        got = ", ".join(name for name in asked.exog if name != TIME) or TIME
        raise FeatureMismatch(f"exog: the model takes no exogenous columns, got {got}")


def parse(body: bytes) -> ForecastRequest:
    """Read the body of ``POST /forecast/{user_id}``.

    Raises:
        InvalidRequest: it is not JSON, or a member is not what it should be; names the member.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    refuse_double_keys(body)
    return of_document(document)


def of_document(document: Any) -> ForecastRequest:
    """Read a request from a decoded JSON document.

    Raises:
        InvalidRequest: as `parse`.

    Example:
        >>> of_document({"horizon": 2, "exog": [{"price": 1.5}, {"price": 2}]}).exog
        {'price': [1.5, 2]}
    """
    if not isinstance(document, dict):
        raise InvalidRequest(f'the body must be an object such as {{"horizon": 14}}, got {shown(document)}')
    _refuse_unknown(document, _MEMBERS)
    start = document.get("from")
    if start is not None and not _is_integer(start) and not isinstance(start, str):
        raise InvalidRequest(f"from must be a time or the number of a step, got {shown(start)}")
    return ForecastRequest(
        horizon=_horizon(document.get("horizon")),
        start=start,
        history=_table(document.get("history"), "history"),
        exog=_table(document.get("exog"), "exog"),
        quantiles=_quantiles(document.get("quantiles")),
    )


def of_query(query: Sequence[tuple[str, str]]) -> ForecastRequest:
    """Read the query of ``GET /forecast/{user_id}``: ``horizon``, ``from``, ``quantiles=0.1,0.9``.

    Raises:
        InvalidRequest: as `parse`.

    Example:
        >>> of_query([("horizon", "14"), ("quantiles", "0.9,0.1")]).quantiles
        (0.1, 0.9)
    """
    members = dict(query)
    if len(members) < len(query):
        raise InvalidRequest("a parameter of the query is repeated; write several quantiles as 0.1,0.9")
    _refuse_unknown(members, _IN_A_QUERY)
    start = members.get("from")
    quantiles = members.get("quantiles")
    return of_document(
        {
            "horizon": _number(members.get("horizon"), int),
            "from": _number(start, int),
            "quantiles": None if quantiles is None else [_number(q, float) for q in quantiles.split(",")],
        }
    )


def _number(text: str | None, kind: type[int] | type[float]) -> Any:
    """Return a text as a number where it is one; what is wrong with another one is said later."""
    try:
        return None if text is None else kind(text)
    except ValueError:
        return text


def _refuse_unknown(given: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name[:40], known, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise InvalidRequest(f"unknown {short(name)}{hint}; a forecast takes {', '.join(known)}")


def _horizon(given: Any) -> int:
    if not _is_integer(given) or not 1 <= given <= MOST_STEPS:
        seen = "nothing" if given is None else shown(given)
        raise InvalidRequest(f"horizon must be a whole number from 1 to {MOST_STEPS:,}, got {seen}")
    return int(given)


def _quantiles(given: Any) -> tuple[float, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise InvalidRequest(f"quantiles must be a list such as [0.1, 0.9], got {shown(given)}")
    if len(given) > _MOST_QUANTILES:
        raise InvalidRequest(f"there are {len(given)} quantiles; at most {_MOST_QUANTILES} are answered")
    for each in given:
        if isinstance(each, bool) or not isinstance(each, int | float) or not 0 < each < 1:
            raise InvalidRequest(f"a quantile must be a number between 0 and 1, got {shown(each)}")
    if len(set(given)) < len(given):
        raise InvalidRequest("a quantile is repeated")
    return tuple(sorted(map(float, given)))


def _table(given: Any, what: str) -> dict[str, list[Any]] | None:
    """Return columns, from columns or from records."""
    if given is None:
        return None
    if isinstance(given, list):
        given = _of_records(given, what)
    if not isinstance(given, dict):
        forms = f'columns such as {{"{TIME}": […], …}} or a list of records'
        raise InvalidRequest(f"{what} must be {forms}, got {shown(given)}")
    for name, values in given.items():
        if not isinstance(values, list):
            raise InvalidRequest(f"{what}: column {short(name)} must be a list, got {shown(values)}")
    lengths = {len(values) for values in given.values()}
    if len(lengths) > 1:
        counted = ", ".join(f"{short(name)} {len(values)}" for name, values in list(given.items())[:5])
        raise InvalidRequest(f"{what}: its columns differ in length: {counted}")
    if lengths in (set(), {0}):
        raise InvalidRequest(f"{what} has no rows; leave it out, or send some")
    return given


def _of_records(rows: list[Any], what: str) -> dict[str, list[Any]]:
    names = list(rows[0]) if rows and isinstance(rows[0], dict) else []
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InvalidRequest(f"{what}: row {number} must be an object, got {shown(row)}")
        if row.keys() != set(names):
            odd = next(iter(row.keys() ^ set(names)))
            raise InvalidRequest(f"{what}: row {number} and row 0 do not both have {short(odd)}")
    return {name: [row[name] for row in rows] for name in names}


def check_numbers(values: Sequence[Any], what: str, column: str) -> None:
    """Refuse what is not a finite number.

    Raises:
        InvalidRequest: names the row, the column and what was seen.
    """
    for number, value in enumerate(values):
        if value is None:
            raise InvalidRequest(f"{what}: row {number}, column {short(column)} is missing (null)")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            where = f"{what}: row {number}, column {short(column)}"
            raise InvalidRequest(f"{where} must be a number, got {shown(value)}")


def _is_integer(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool)
