"""How a large request for a forecast is written as a small document and JSON in pieces, and read again.

A kernel answers from short histories alone, so nothing here makes the values of a long column. They are
made in the worker that has the model.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, overload

import numpy.typing as npt
import orjson

from tenantry.errors import InvalidRequest
from tenantry_server.rows import forecast_request
from tenantry_server.rows.forecast_request import ForecastRequest, Table
from tenantry_server.rows.large.pieces import Written, dumps
from tenantry_server.rows.series import timeseries
from tenantry_server.rows.series.timeseries import Asked, Series

_AT_ONCE = 4096  # values: half a millisecond to read


class Column(Sequence[Any]):
    """The values of a column, read from JSON when they are used.

    Args:
        count: of values.
        pieces: JSON lists of `_AT_ONCE` values, the last one of fewer.
    """

    __slots__ = ("_count", "_pieces")

    def __init__(self, count: int, pieces: Sequence[memoryview | bytes]) -> None:
        self._count = count
        self._pieces = pieces

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        for piece in self._pieces:
            yield from orjson.loads(piece)

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> list[Any]: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return list(self)[at]
        place = range(self._count)[at]
        return orjson.loads(self._pieces[place // _AT_ONCE])[place % _AT_ONCE]

    def __reduce__(self) -> tuple[Any, ...]:
        return _listed, ([bytes(piece) for piece in self._pieces],)


class LargeForecast(ForecastRequest):
    """A request that was read from a large body."""

    __slots__ = ()
    large = True


def _listed(pieces: Sequence[bytes]) -> list[Any]:
    return list(chain.from_iterable(map(orjson.loads, pieces)))


def write_forecast(body: bytes) -> Written:
    """Write a body that `forecast_request.parse` reads.

    Raises:
        InvalidRequest: as `forecast_request.parse`.
    """
    return _written(forecast_request.parse(body))


def read_forecast(document: Mapping[str, Any], arrays: Sequence[npt.NDArray[Any]]) -> ForecastRequest:
    """Read what `write_forecast` wrote."""
    return _read(document, iter(arrays))


def write_timeseries(body: bytes) -> Written:
    """Write a body that `timeseries.parse` reads.

    Raises:
        InvalidRequest: as `timeseries.parse`.
    """
    asked = timeseries.parse(body)
    made: list[npt.NDArray[Any]] = []
    series: list[dict[str, Any]] = []
    for each in asked.series:
        document, parts = _written(each.asked)
        series.append({"name": each.name, "frequency": each.frequency, "asked": document})
        made += parts
    refused = None if asked.refused is None else str(asked.refused)
    return {"user_id": asked.user_id, "series": series, "refused": refused}, made


def read_timeseries(document: Mapping[str, Any], arrays: Sequence[npt.NDArray[Any]]) -> Asked:
    """Read what `write_timeseries` wrote."""
    following = iter(arrays)
    series = [
        Series(each["name"], each["frequency"], _read(each["asked"], following))
        for each in document["series"]
    ]
    refused = document["refused"]
    return Asked(document["user_id"], series, None if refused is None else InvalidRequest(refused))


def _written(asked: ForecastRequest) -> Written:
    made: list[npt.NDArray[Any]] = []
    document: dict[str, Any] = {
        "horizon": asked.horizon,
        "start": asked.start,
        "quantiles": asked.quantiles,
    }
    for what, table in (("history", asked.history), ("exog", asked.exog)):
        if table is None:
            continue
        columns = []
        for name, values in table.items():
            parts = [dumps(values[at : at + _AT_ONCE]) for at in range(0, len(values), _AT_ONCE)]
            columns.append({"name": name, "count": len(values), "parts": len(parts)})
            made += parts
        document[what] = columns
    return document, made


def _read(document: Mapping[str, Any], following: Iterator[npt.NDArray[Any]]) -> ForecastRequest:
    tables: dict[str, Table | None] = {"history": None, "exog": None}
    for what in tables:
        if what not in document:
            continue
        table = tables[what] = {}
        for each in document[what]:
            parts = [next(following).data for _ in range(int(each["parts"]))]
            count = int(each["count"])
            small = count <= _AT_ONCE
            table[each["name"]] = (
                _listed([bytes(part) for part in parts]) if small else Column(count, parts)
            )
    return LargeForecast(
        horizon=document["horizon"],
        start=document["start"],
        quantiles=tuple(document["quantiles"]),
        history=tables["history"],
        exog=tables["exog"],
    )
