"""A large request for a forecast gives what a small one gives, by way of JSON in pieces."""

import pickle
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tenantry.errors import InvalidRequest
from tenantry_server.kernels import arrays
from tenantry_server.rows import forecast_request
from tenantry_server.rows.large import series
from tenantry_server.rows.large.pieces import Written
from tenantry_server.rows.series import timeseries

LONG = 10_000
HISTORY = {"time": list(range(LONG)), "value": [None, "x", 2**60, 0.5] * (LONG // 4)}
SERIES = {"type": "univariate_time_series", "name": "x", "frequency": "month"}


def sent(written: Written) -> tuple[dict[str, Any], Any]:
    """Return a document and its arrays as they come from the other process."""
    return arrays.decode(b"".join(arrays.encode(*written)))


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except InvalidRequest as error:
        return type(error), str(error)


def plain(asked: forecast_request.ForecastRequest) -> Any:
    """Return everything that a request asks, as a worker that has the model gets it."""
    tables = [
        None if table is None else {name: list(values) for name, values in table.items()}
        for table in (asked.history, asked.exog)
    ]
    return asked.horizon, asked.start, asked.quantiles, tables


@pytest.mark.parametrize(
    "asked",
    [
        {"horizon": 2, "history": HISTORY, "quantiles": [0.9, 0.1]},
        {"horizon": 2, "from": "2026-01-01", "exog": [{"price": 1}, {"price": 2.5}]},
        {"horizon": 2, "history": HISTORY | {"value": [1]}},
        {"horizon": "x"},
        [1],
    ],
    ids=["long", "short", "two lengths", "no horizon", "a list"],
)
def test_forecasts(asked: Any) -> None:
    body = orjson.dumps(asked)
    wanted = outcome(lambda: plain(forecast_request.parse(body)))
    assert outcome(lambda: plain(series.read_forecast(*sent(series.write_forecast(body))))) == wanted


def test_a_worker_gets_plain_lists() -> None:
    body = orjson.dumps({"horizon": 2, "history": HISTORY})
    large = series.read_forecast(*sent(series.write_forecast(body)))
    assert large.large
    assert large.history is not None
    assert [type(values) for values in large.history.values()] == [series.Column] * 2
    times = large.history["time"]
    assert (len(times), times[0], times[-1], times[4096:4098]) == (LONG, 0, LONG - 1, [4096, 4097])
    unpickled = pickle.loads(pickle.dumps(large))
    assert unpickled.history == HISTORY


@pytest.mark.parametrize(
    "change",
    [
        {"series": [0.5] * LONG},
        {"series": [0.5] * 3, "start_timestamp": "2026-01-31"},
        {"series": [None]},
        {"series": [], "frequency": "?"},
        {"series": 1},
    ],
    ids=["long", "times", "a null", "no frequency", "no list"],
)
def test_time_series(change: dict[str, Any]) -> None:
    asked = {
        "model": "ann",
        "options": {"horizon": 2},
        "inputs": [SERIES | {"series": []}, SERIES | change],
    }
    body = orjson.dumps(asked)

    def read(asked: timeseries.Asked) -> Any:
        each = [(one.name, one.frequency, plain(one.asked)) for one in asked.series]
        return asked.user_id, each, str(asked.refused)

    wanted = read(timeseries.parse(body))
    assert read(series.read_timeseries(*sent(series.write_timeseries(body)))) == wanted


def test_a_body_that_names_nobody_is_refused_in_the_same_words() -> None:
    for body in (b"", b"[]", b'{"model": 1}', b'{"model": "a", "model": "b"}'):
        wanted = outcome(lambda body=body: timeseries.parse(body))  # type: ignore[misc]
        assert outcome(lambda body=body: series.write_timeseries(body)) == wanted  # type: ignore[misc]
        assert wanted[0] is InvalidRequest
