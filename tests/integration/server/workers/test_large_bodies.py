"""Large bodies are parsed in a worker: answers stay the same, and others get theirs meanwhile."""

import asyncio
import os
import re
import signal
import threading
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from tenantry_server import watchdog
from tenantry_server.rows import forecast_request, infer_request, json_payload
from tenantry_server.rows.batch import Records
from tenantry_server.rows.series import timeseries
from tenantry_server.toys import DriftForecaster
from tenantry_server.watchdog import Holds
from tenantry_server.workers.calls import large_bodies
from tenantry_server.workers.pool import Pool
from tenantry_server.workers.process import Call, Worker
from tests.support.processes.sandboxed import workers
from tests.support.tenants.application import Client
from tests.support.tenants.registered import Tenants

SPACES = b" " * large_bodies.LARGE_BYTES
ROWS = [{"a": float(row), "b": row % 7} for row in range(60_000)]
LISTS = [[row["a"], row["b"]] for row in ROWS]
TENSOR = {
    "name": "x",
    "datatype": "FP64",
    "shape": [len(ROWS), 2],
    "data": [v for row in LISTS for v in row],
}
ROOMY: Any = {"server_id": "s", "peeks": True, "max_body_bytes": 8 << 20, "predict_timeout_s": 120.0}
PREDICT, V1, V2 = "/predict/ridge", "/v1/models/ridge:predict", "/v2/models/ridge/infer"
WITHOUT_B = [*ROWS[:-1], {"a": 1.0}]
FORECAST, SERIES = "/forecast/steps", "/v1/timeseries/forecast"
HISTORY: dict[str, list[Any]] = {"time": list(range(40_000)), "value": [0.5] * 40_000}
ONE_SERIES = {"type": "univariate_time_series", "name": "x", "frequency": "D", "series": [1.5] * 90_000}
MANY = [{"user_id": "ridge", **row} for row in ROWS[:20_000]]
TRIES = 3  # the loop is held too where the machine stands still, but not each time


def series(user_id: str = "steps", **change: Any) -> tuple[str, Any]:
    return SERIES, {"model": user_id, "options": {"horizon": 2}, "inputs": [ONE_SERIES | change]}


ASKED = {
    "records": (PREDICT, ROWS),
    "columns": (PREDICT, {"columns": ["b", "a"], "data": [row[::-1] for row in LISTS]}),
    "V1": (V1, {"instances": LISTS}),
    "V2": (V2, {"id": "7", "inputs": [TENSOR]}),
    "a column is missing": (PREDICT, WITHOUT_B),
    "a text": (PREDICT, [*ROWS, {"a": 1.0, "b": "x"}]),
    "a null": (PREDICT, [*ROWS, {"a": 1.0, "b": None}]),
    "no form": (PREDICT, {"rows": ROWS}),
    "no tensor": (V2, {"inputs": ROWS}),
    "nobody's": ("/predict/nobody", ROWS),
    "a history": (FORECAST, {"horizon": 2, "quantiles": [0.5], "history": HISTORY}),
    "a time twice": (FORECAST, {"horizon": 2, "history": HISTORY | {"time": [1, *HISTORY["time"][:-1]]}}),
    "no column": (FORECAST, {"horizon": 2, "history": HISTORY | {"price": HISTORY["value"]}}),
    "a text in it": (FORECAST, {"horizon": 2, "history": HISTORY | {"value": ["x"] * 40_000}}),
    "no horizon": (FORECAST, {"history": HISTORY}),
    "a history of rows": ("/forecast/ridge", {"horizon": 2, "history": HISTORY}),
    "time series": series(),
    "a null in it": series(series=[*ONE_SERIES["series"], None]),
    "no frequency": series(frequency="?"),
    "nobody's series": series("nobody"),
    "batch": ("/predict", {"rows": MANY}),
    "batch of a wide row": (
        "/predict",
        {"rows": [*MANY[:3], {"user_id": "ridge"} | dict.fromkeys(map(str, range(40_000)), 1)]},
    ),
}


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    async with workers(2, shut_in=False) as pool:
        yield pool


@pytest.fixture
async def apart(tenants: Tenants, pool: Pool) -> AsyncIterator[Client]:
    """A server that has workers; models are loaded in it all the same."""
    async with TestClient(TestServer(tenants.app(pool=pool, **ROOMY))) as client:
        yield client


async def answered(client: Client, path: str, body: bytes) -> tuple[int, bytes]:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 64 << 10):  # the whole would hold the loop, which is the server's too
            yield body[at : at + (64 << 10)]

    async with client.post(path, data=pieces()) as response:
        return response.status, await response.read()


async def test_answers_and_errors_are_those_of_a_server_without_workers(
    tenants: Tenants, apart: Client, pool: Pool
) -> None:
    tenants.add("steps", DriftForecaster(None, 9))
    bodies = {name: (path, orjson.dumps(asked)) for name, (path, asked) in ASKED.items()}
    bodies["not JSON"] = PREDICT, bodies["records"][1][:-1]
    bodies["a key twice"] = PREDICT, b'[{"a": 1, "b": 2, "a": 3}' + SPACES + b"]"
    async with TestClient(TestServer(tenants.app(**ROOMY))) as plain:
        for name, (path, body) in bodies.items():
            assert len(body) > large_bodies.LARGE_BYTES
            said, wanted = await answered(apart, path, body), await answered(plain, path, body)
            assert without_ids(said) == without_ids(wanted), name
    assert len(pool.workers) == 1, "one after another, they are parsed by one"


def without_ids(answer: tuple[int, bytes]) -> tuple[int, bytes]:
    """Leave out what KServe's protocol draws by chance, and the time."""
    status, body = answer
    return status, re.sub(rb'"(id|created_at)":[^,]*,', b"", body)


@pytest.mark.parametrize("name", ["records", "V2", "a history", "time series"])
async def test_the_server_parses_no_large_body(
    name: str, tenants: Tenants, apart: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call of a parser holds the interpreter, in whatever thread it is made."""
    tenants.add("steps", DriftForecaster(None, 9))
    for module in (json_payload, infer_request, forecast_request, timeseries):
        monkeypatch.setattr(module, "parse", refuse)
    path, asked = ASKED[name]
    assert (await answered(apart, path, orjson.dumps(asked)))[0] == 200


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("parsed in the server")


async def test_a_batch_does_nothing_long_on_the_event_loop(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of one model are converted, and in the end freed, in a thread that gives way."""
    seen: dict[str, set[bool]] = {"payload": set(), "free": set()}
    for name, threads in seen.items():
        method = getattr(Records, name)

        def noted(self: Records, *given: Any, _method: Any = method, _threads: Any = threads) -> Any:
            _threads.add(threading.current_thread() is threading.main_thread())
            return _method(self, *given)

        monkeypatch.setattr(Records, name, noted)
    rows = [{"user_id": "good", "a": 1.0, "b": 2.0}] * 9000
    wide = {"user_id": "good"} | dict.fromkeys(map(str, range(2000)), 1.0)
    async with TestClient(TestServer(tenants.app(**ROOMY))) as client:
        for asked in (rows, [wide] * 65):
            status, answer = await answered(client, "/predict", orjson.dumps({"rows": asked}))
            assert (status, orjson.loads(answer)["errors"]) == (200, [])
    assert seen == {"payload": {False}, "free": {False}}


async def test_the_loop_goes_on_while_large_bodies_are_parsed(apart: Client) -> None:
    """Parsed in a thread, eight of them held it 19 times, 166 ms at the longest, by the watchdog too."""
    body = orjson.dumps(ROWS * 4)
    await answered(apart, PREDICT, body)
    longest_s: list[float] = []
    while len(longest_s) < TRIES and min(longest_s, default=1.0) >= 0.1:
        longest_s.append(await longest_hold_s(apart, body))
    assert min(longest_s) < 0.1


async def longest_hold_s(client: Client, body: bytes) -> float:
    """Send eight bodies at once; return for how long the event loop was held at the longest."""
    holds = Holds()
    watching = asyncio.create_task(watchdog.watch(holds=holds))
    answers = await asyncio.gather(*(answered(client, PREDICT, body) for _ in range(8)))
    watching.cancel()
    await asyncio.wait([watching])
    print(f"    {holds.count} holds, the longest {holds.longest_s * 1e3:.0f} ms")
    assert {status for status, _ in answers} == {200}
    return holds.longest_s


async def test_a_body_that_ends_its_worker_is_refused(
    apart: Client, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = orjson.dumps(ROWS)
    submit = Pool.submit

    def killed(self: Pool, worker: Worker, call: Call) -> None:
        submit(self, worker, call)
        os.kill(worker.pid, signal.SIGKILL)

    monkeypatch.setattr(Pool, "submit", killed)
    status, answer = await answered(apart, PREDICT, body)
    error = orjson.loads(answer)["error"]
    assert (status, error["reason"]) in ((400, "InvalidRequest"), (503, "WorkersUnavailable")), error
    monkeypatch.undo()
    assert (await answered(apart, PREDICT, body))[0] == 200
