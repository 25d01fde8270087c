"""Forecasts over HTTP: Tenantry's own protocol and KServe's, in this process and in a worker."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from click.testing import CliRunner, Result
from sklearn.linear_model import Ridge

from tenantry_cli.main import cli
from tenantry_server import CachedModelRepository, SQLAlchemyModelInfoRepository, bounded_cache, make_app
from tenantry_server.artifacts.repositories import FileSystemModelRepository
from tenantry_server.toys import DriftForecaster
from tenantry_server.workers.loading import WorkerLoads
from tenantry_server.workers.pool import Pool
from tests.support.processes import cluster
from tests.support.tenants.registered import Tenants

Client = TestClient[Request, Application]
LAST = pd.Timestamp("2026-11-29")
NEXT = [
    {"time": "2026-11-30", "mean": 11.0, "0.1": 11.1},
    {"time": "2026-12-01", "mean": 12.0, "0.1": 12.1},
]
SERIES = {"type": "univariate_time_series", "name": "demand", "frequency": "D", "series": []}


@pytest.fixture
def tenants(tmp_path: Path) -> Iterator[Tenants]:
    tenants = Tenants(tmp_path)
    tenants.add("ann", DriftForecaster("D", LAST))
    tenants.add("priced", DriftForecaster("D", LAST, exog_names=("price",)))
    tenants.add("months", DriftForecaster("MS", pd.Timestamp("2026-11-01")))
    tenants.add("ridge", Ridge().fit([[0.0], [1.0]], [0.0, 1.0]))
    yield tenants
    tenants.engine.dispose()


@pytest.fixture(params=["here", "in a worker"])
async def client(tenants: Tenants, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    if request.param == "here":
        async with TestClient(TestServer(tenants.app())) as client:
            yield client
        return
    pool = Pool(most=2)
    pool.start()
    try:
        await pool.until_ready()
        files = FileSystemModelRepository()
        files.loader = WorkerLoads(pool, timeout_s=60).load
        models = CachedModelRepository(files, bounded_cache(1 << 20))
        app = make_app(SQLAlchemyModelInfoRepository(tenants.engine), models, pool=pool)
        async with TestClient(TestServer(app)) as client:
            yield client
    finally:
        pool.close()


async def post(client: Client, path: str, document: Any, status: int = 200) -> Any:
    async with client.post(path, data=json.dumps(document)) as response:
        answer = await response.json()
        assert response.status == status, answer
        return answer


async def test_a_forecast_is_answered_by_step(client: Client) -> None:
    """By POST and GET alike, with quantiles, from a later step, with exogenous columns, after a history."""
    asked = {"horizon": 2, "quantiles": [0.1]}
    assert await post(client, "/forecast/ann", asked) == {"forecast": NEXT}
    async with client.get("/forecast/ann?horizon=2&quantiles=0.1") as response:
        assert (response.status, await response.json()) == (200, {"forecast": NEXT})
        assert response.headers["Tenantry-Model-Id"].startswith("unpinned-")
    later = await post(client, "/forecast/ann", {"horizon": 1, "from": "2026-12-01"})
    assert later == {"forecast": [{"time": "2026-12-01", "mean": 12.0}]}
    priced = await post(client, "/forecast/priced", {"horizon": 1, "exog": [{"price": 5}]})
    assert priced == {"forecast": [{"time": "2026-11-30", "mean": 16.0}]}
    history = {"time": ["2026-12-05", "2026-12-06"], "value": [1, 2]}
    after = await post(client, "/forecast/ann", {"horizon": 1, "history": history})
    assert after == {"forecast": [{"time": "2026-12-07", "mean": 3.0}]}
    long = await post(client, "/forecast/ann", {"horizon": 10_000})
    assert long["forecast"][-1] == {"time": "2054-04-16", "mean": 10_010.0}


async def test_what_does_not_fit_is_refused_in_words(client: Client) -> None:
    for user_id, document, reason, words in (
        ("ann", {"horizon": 0}, "InvalidRequest", "horizon must be a whole number from 1 to 10,000"),
        ("ann", {"horizon": 10**9}, "InvalidRequest", "got the number 1000000000"),
        (
            "ann",
            {"horizon": 1, "from": "2026-11-01"},
            "TimelineMismatch",
            "not after the end of the series",
        ),
        ("priced", {"horizon": 2}, "FeatureMismatch", "exog is missing: column price"),
        ("ridge", {"horizon": 2}, "NotAForecaster", "POST /predict"),
    ):
        error = (await post(client, f"/forecast/{user_id}", document, 422))["error"]
        assert error["reason"] == reason
        assert words in error["message"]
    error = (await post(client, "/predict/ann", [{"a": 1}], 422))["error"]
    assert error["reason"] == "OnlyForecasts"
    assert (await post(client, "/forecast/nobody", {"horizon": 1}, 404))["error"][
        "reason"
    ] == "ModelNotAssigned"
    async with client.get("/forecast/ann?horizon=soon") as response:
        assert response.status == 422
        assert "got the string 'soon'" in await response.text()


async def test_kserves_protocol(client: Client) -> None:
    """Each input is a series with its own history; without one, the model's own is continued."""
    inputs = [SERIES, SERIES | {"series": [1, 2], "start_timestamp": "2026-12-05T00:00:00"}]
    asked = {"model": "ann", "inputs": inputs, "options": {"horizon": 2, "quantiles": [0.1]}}
    answer = await post(client, "/v1/timeseries/forecast", asked)
    (output,) = answer["outputs"]
    own, after = output["content"]
    assert own["mean_forecast"] == [11.0, 12.0]
    assert own["quantiles"] == {"0.1": [11.1, 12.1]}
    assert (after["start_timestamp"], after["mean_forecast"]) == ("2026-12-07", [3.0, 4.0])
    months = SERIES | {"series": [1, 5], "frequency": "month", "start_timestamp": "2026-12-01"}
    asked = {"model": "months", "inputs": [months], "options": {"horizon": 1}}
    (content,) = (await post(client, "/v1/timeseries/forecast", asked))["outputs"][0]["content"]
    assert (content["start_timestamp"], content["mean_forecast"]) == ("2027-02-01", [6.0])


async def test_kserves_protocol_refuses_in_its_own_form(client: Client) -> None:
    whole = {"model": "ann", "inputs": [SERIES], "options": {"horizon": 2}}
    weeks = {"frequency": "W", "series": [1, 2], "start_timestamp": "2026-12-06"}
    for change, status, words in (
        ({"model": 3}, 422, "model must be a text, got the number 3"),
        ({"model": "nobody"}, 404, "no model is assigned to user 'nobody'"),
        ({"inputs": []}, 422, "inputs must hold 1 to 32 series, got 0"),
        ({"inputs": [SERIES | {"type": "multivariate_time_series"}]}, 422, "inputs[0].type must be"),
        ({"inputs": [SERIES | {"frequency": "fortnight"}]}, 422, "inputs[0].frequency must be one of"),
        ({"inputs": [SERIES | {"series": [1, None]}]}, 422, "inputs[0]: row 1, column 'series' is missing"),
        ({"inputs": [SERIES | weeks]}, 422, "2026-12-07 is missing between 2026-12-06 and 2026-12-13"),
        ({"inputs": [SERIES | weeks | {"start_timestamp": "soon"}]}, 422, "start_timestamp must be a time"),
        ({"options": {}}, 422, "horizon must be a whole number from 1 to 10,000, got nothing"),
    ):
        answer = await post(client, "/v1/timeseries/forecast", whole | change, status)
        assert words in answer["error"]["message"]
        assert set(answer["error"]) == {"code", "message", "param", "type"}


async def test_the_openapi_document_has_these_answers(client: Client) -> None:
    async with client.get("/openapi.json") as response:
        document = await response.json()
    for path in ("/forecast/{user_id}", "/v1/timeseries/forecast"):
        operation = document["paths"][path]["post"]
        example = operation["requestBody"]["content"]["application/json"]["example"]
        if "inputs" in example:
            assert example["model"] == "ann"
        answer = await post(client, path.format(user_id="ann"), example)
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(answer, schema | {"components": document["components"]})


async def test_the_holder_answers_wherever_a_forecast_arrives() -> None:
    """A path names the user, or, for KServe's protocol, the body does."""
    models = {"ann": lambda: DriftForecaster("D", LAST), "bob": lambda: DriftForecaster("D", LAST)}
    async with cluster.running(models, {"ann": "a", "bob": "b"}) as three:
        async with TestClient[Request, Application](TestServer(three["c"].app)) as session:
            for path, body in (
                ("/forecast/ann", {"horizon": 1}),
                (
                    "/v1/timeseries/forecast",
                    {"model": "ann", "inputs": [SERIES], "options": {"horizon": 1}},
                ),
            ):
                async with session.post(path, data=json.dumps(body)) as response:
                    assert response.status == 200
                    assert response.headers["Tenantry-Server"] == "a"
                    assert response.headers["Tenantry-Hop"] == "c"
            async with session.get("/forecast/bob?horizon=1") as response:
                assert (response.status, response.headers["Tenantry-Server"]) == (200, "b")
        assert three["c"].models.loads == []


async def test_the_command_asks_for_a_forecast(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "asked.json"
    file.write_text(json.dumps({"horizon": 9, "exog": [{"price": 1}, {"price": 1}]}))

    async def asked(*argv: str) -> Result:
        command = ["forecast", *argv, "--url", str(client.make_url("/"))]
        return await asyncio.to_thread(CliRunner().invoke, cli, command)

    done = await asked("ann", "-n", "2", "-q", "0.1")
    assert json.loads(done.stdout) == {"forecast": NEXT}
    assert "answered by server-0 with unpinned-" in done.stderr
    later = await asked("ann", "-n", "1", "--from", "2026-12-01")
    assert json.loads(later.stdout)["forecast"][0]["mean"] == 12.0
    priced = await asked("priced", "-n", "2", "-f", str(file))
    assert [step["mean"] for step in json.loads(priced.stdout)["forecast"]] == [12.0, 13.0]
    assert "give the number of steps with --horizon" in (await asked("ann")).stderr
    assert "422 InvalidRequest: horizon must be" in (await asked("ann", "-n", "1000000000")).stderr
