"""Large bodies are parsed in a worker: answers stay the same, and others get theirs meanwhile."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from tenantry_server import watchdog
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
    bodies = {name: (path, orjson.dumps(asked)) for name, (path, asked) in ASKED.items()}
    bodies["not JSON"] = PREDICT, bodies["records"][1][:-1]
    bodies["a key twice"] = PREDICT, b'[{"a": 1, "b": 2, "a": 3}' + SPACES + b"]"
    async with TestClient(TestServer(tenants.app(**ROOMY))) as plain:
        for name, (path, body) in bodies.items():
            assert len(body) > large_bodies.LARGE_BYTES
            assert await answered(apart, path, body) == await answered(plain, path, body), name
    assert len(pool.workers) == 1, "one after another, they are parsed by one"


async def test_the_loop_goes_on_while_large_bodies_are_parsed(apart: Client) -> None:
    """Parsed in a thread, eight of them held it 19 times, 166 ms at the longest, by the watchdog too."""
    body = orjson.dumps(ROWS * 4)
    await answered(apart, PREDICT, body)
    holds = Holds()
    watching = asyncio.create_task(watchdog.watch(holds=holds))
    answers = await asyncio.gather(*(answered(apart, PREDICT, body) for _ in range(8)))
    watching.cancel()
    await asyncio.wait([watching])
    print(f"    {holds.count} holds, the longest {holds.longest_s * 1e3:.0f} ms")
    assert {status for status, _ in answers} == {200}
    assert holds.longest_s < 0.1


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
