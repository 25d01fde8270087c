"""Rows of users that other servers hold: one request for each server, and what happens where it fails."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest
from aiohttp import web

from tenantry import Model
from tenantry.errors import ArtifactInvalid
from tenantry.registry import Server, ServerReport
from tenantry_server.kernels.affine import Affine
from tenantry_server.kernels.base import Head
from tenantry_server.toys import SumModel
from tests.support.processes import cluster
from tests.support.processes.cluster import Cluster
from tests.support.tenants.callers import gate_of, shown

HOLDERS = {"ann": "a", "bob": "b", "ben": "b", "cal": "c", "sue": "c", "line": "b"}
MODELS: dict[str, Callable[[], Model]] = {
    user_id: (lambda plus=place: SumModel(plus=plus * 100)) for place, user_id in enumerate(HOLDERS)
} | {"line": lambda: Affine(Head(("x",), 1, False), np.array([3.0]), 1.0)}
ROWS = [{"user_id": user_id, "x": float(n)} for n in range(40) for user_id in HOLDERS]
PLUS = {user_id: place * 100.0 for place, user_id in enumerate(HOLDERS)}


def wanted(row: dict[str, Any]) -> float:
    x = float(row["x"])
    return x * 3 + 1 if row["user_id"] == "line" else x + PLUS[row["user_id"]]


@pytest.fixture
async def fleet(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    settings = getattr(request, "param", {})
    async with cluster.running(MODELS, HOLDERS, predict_timeout_s=60.0, **settings) as fleet:
        yield fleet


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def ask(
    session: aiohttp.ClientSession, url: str, rows: list[Any], headers: dict[str, str] | None = None
) -> Any:
    body = orjson.dumps({"rows": rows})
    async with session.post(f"{url}/predict", data=body, headers=headers) as response:
        answer = await response.read()
        assert response.status == 200, answer
        return orjson.loads(answer)


async def test_each_server_answers_its_own_in_one_request(
    fleet: Cluster, session: aiohttp.ClientSession
) -> None:
    """The one that is asked passes the others' rows on, and loads none of their models."""
    answer = await ask(session, fleet["a"].url, ROWS)
    assert answer["errors"] == []
    assert answer["predictions"] == [wanted(row) for row in ROWS]
    loads = {name: set(node.models.loads) for name, node in fleet.nodes.items()}
    assert loads == {"a": {"ann"}, "b": {"bob", "ben", "line"}, "c": {"cal", "sue"}}


async def test_an_error_of_another_server_names_the_row_of_the_whole_batch(
    fleet: Cluster, session: aiohttp.ClientSession
) -> None:
    rows = [{"user_id": "ann", "x": 1}, {"user_id": "bob", "x": "no"}, {"user_id": "line", "y": 1}]
    answer = await ask(session, fleet["a"].url, [*rows, {"user_id": "sue", "x": 1}])
    words = {error["row"]: error["message"] for error in answer["errors"]}
    assert words == {
        1: "row 1, column 'x' must be a number, got the string 'no'",
        2: "row 2: missing column 'x' and unknown column 'y'; the model takes 'x'",
    }
    assert answer["predictions"] == [1.0, None, None, wanted({"user_id": "sue", "x": 1.0})]


async def test_what_was_passed_on_is_not_passed_on_again(
    fleet: Cluster, session: aiohttp.ClientSession
) -> None:
    answer = await ask(session, fleet["a"].url, ROWS, {"Tenantry-Hop": "z"})
    assert answer["predictions"] == [wanted(row) for row in ROWS]
    assert fleet["b"].models.loads == fleet["c"].models.loads == []


async def test_rows_of_a_server_that_is_gone_are_answered_by_others(
    fleet: Cluster, session: aiohttp.ClientSession
) -> None:
    await fleet["b"].stop()
    answer = await ask(session, fleet["a"].url, ROWS)
    assert answer["errors"] == []
    assert answer["predictions"] == [wanted(row) for row in ROWS]
    assert set(fleet["c"].models.loads) >= {"cal", "sue"}


async def test_a_server_without_a_lease_passes_on_and_is_not_believed(
    fleet: Cluster, session: aiohttp.ClientSession
) -> None:
    """Rows for a peer whose lease is over are answered elsewhere, or here."""
    fleet["b"].lease(held=False)
    answer = await ask(session, fleet["a"].url, ROWS)
    assert answer["predictions"] == [wanted(row) for row in ROWS]
    assert fleet["b"].models.loads == []


async def test_a_model_that_can_not_be_loaded_anywhere_fails_alone(
    fleet: Cluster, session: aiohttp.ClientSession
) -> None:
    for node in fleet.nodes.values():
        node.models.failure = ArtifactInvalid("s3://models/x", "it is not a model")
    fleet["a"].models.failure = None
    answer = await ask(session, fleet["b"].url, [{"user_id": "ann", "x": 1}, {"user_id": "bob", "x": 1}])
    assert answer["predictions"][0] == 1.0
    assert [(error["row"], error["reason"]) for error in answer["errors"]] == [(1, "ArtifactInvalid")]
    assert "s3://" not in answer["errors"][0]["message"]


@pytest.mark.parametrize("fleet", [{"near_cache_bytes": 1 << 20}], indirect=True)
async def test_kernels_that_are_asked_for_often_are_answered_here(
    fleet: Cluster, session: aiohttp.ClientSession
) -> None:
    """As near copies, which single requests make too."""
    rows = [{"user_id": "line", "x": float(n)} for n in range(5)]
    async with asyncio.timeout(60):
        while len(fleet["a"].cache.near or ()) == 0:
            assert (await ask(session, fleet["a"].url, rows))["predictions"] == [
                wanted(row) for row in rows
            ]
            await asyncio.sleep(0.01)
    await fleet["b"].stop()
    assert (await ask(session, fleet["a"].url, rows))["predictions"] == [wanted(row) for row in rows]
    assert "line" not in fleet["a"].models.loads


@pytest.mark.parametrize(
    "fleet",
    [{"secret": "secret", "gate": lambda hops: gate_of({"ns": ("ann", "b*")}, hops)}],
    indirect=True,
)
async def test_servers_believe_one_another_and_callers_show_keys(
    fleet: Cluster, session: aiohttp.ClientSession
) -> None:
    """The server that is asked judges each user; another one takes its word, by its proof."""
    rows = [{"user_id": user_id, "x": 1.0} for user_id in HOLDERS]
    answer = await ask(session, fleet["a"].url, rows, shown("ns"))
    allowed = [row["user_id"] in ("ann", "bob", "ben") for row in rows]
    assert [value is not None for value in answer["predictions"]] == allowed
    assert {error["status"] for error in answer["errors"]} == {403}
    assert set(fleet["b"].models.loads) == {"bob", "ben"}
    assert fleet["a"].models.loads == ["ann"]


async def test_a_large_part_goes_in_several_requests(session: aiohttp.ClientSession) -> None:
    """Where another server would take it for too large: numbers may be longer than they came."""
    settings: dict[str, Any] = {"max_body_bytes": 9_000, "predict_timeout_s": 60.0}
    async with cluster.running(MODELS, HOLDERS, **settings) as fleet:
        rows = [{"user_id": "bob", "x": n / 3} for n in range(200)]
        body = b"\n".join(orjson.dumps(row) for row in rows)
        assert len(body) < 9_000
        headers = {"Content-Type": "application/x-ndjson", "Accept": "application/json"}
        async with session.post(f"{fleet['a'].url}/predict", data=body, headers=headers) as response:
            answer = await response.json()
        assert answer["predictions"] == [wanted(row) for row in rows]
        assert fleet["a"].models.loads == []


async def test_a_peer_that_answers_nonsense_is_passed_over(
    fleet: Cluster, session: aiohttp.ClientSession
) -> None:
    async def nonsense(_request: web.Request) -> web.Response:
        return web.Response(body=b'{"predictions": [1], "errors": []}', headers={"Tenantry-Server": "b"})

    strange = web.Application()
    strange.router.add_post("/predict", nonsense)
    runner = web.AppRunner(strange)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    urls = {"b": address, "c": fleet["c"].url}
    servers = [Server(name, url, 1, 10.0, 1 << 20, ServerReport()) for name, url in urls.items()]
    fleet["a"].peers.update(servers)
    try:
        answer = await ask(session, fleet["a"].url, ROWS)
    finally:
        await runner.cleanup()
    assert answer["predictions"] == [wanted(row) for row in ROWS]
