"""The application over HTTP: each route, every bad input, and the neighbour who must not notice."""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from aiohttp.test_utils import TestClient, TestServer
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tenantry_server.toys import SumModel
from tests.support.tenants.application import FRAME, Client, Returns, ask, refusal
from tests.support.tenants.registered import Tenants

# What is answered


async def test_a_plain_list_is_answered_with_a_plain_list(client: Client, tenants: Tenants) -> None:
    await ask(client, "good", [{"a": 1, "b": 2}])
    async with client.post("/predict/good", json=[{"b": 2, "a": 1}, {"a": 3, "b": 4}]) as response:
        assert await response.json() == [103.0, 107.0]
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Tenantry-Server"] == "server-7"
        assert re.fullmatch("[a-z0-9]+-[0-9a-f]{24}", response.headers["Tenantry-Model-Id"])
        assert "Tenantry-Registry-Age" not in response.headers


async def test_the_other_forms_are_answered_as_kserve_does(client: Client) -> None:
    by_column = {"columns": ["b", "a"], "data": [[2, 1]]}
    assert await ask(client, "good", by_column) == {"predictions": [103.0]}
    assert await ask(client, "good", {"instances": [[1, 2]]}) == {"predictions": [103.0]}
    assert await ask(client, "good", {"instances": [{"a": 1, "b": 2}]}) == {"predictions": [103.0]}


async def test_no_rows_get_no_predictions(client: Client) -> None:
    assert await ask(client, "ridge", []) == []
    assert await ask(client, "ridge", {"instances": []}) == {"predictions": []}


async def test_each_user_is_answered_by_their_own_model(client: Client, tenants: Tenants) -> None:
    for number in range(20):
        tenants.add(f"user-{number}", SumModel(plus=number))
    answers = await asyncio.gather(*(ask(client, f"user-{n}", [{"a": 0}]) for n in range(20)))
    assert answers == [[float(number)] for number in range(20)]


async def test_scikit_learn_models_answer_as_in_the_notebook(client: Client, tenants: Tenants) -> None:
    cities = pd.DataFrame({"city": ["Oslo", "Rome", "Oslo"], "km": [1.0, 2.0, 3.0]})
    columns = ColumnTransformer([("city", OneHotEncoder(), ["city"])], remainder="passthrough")
    by_city = make_pipeline(columns, Ridge()).fit(cities, [1.0, 2.0, 3.0])
    tenants.add("cities", by_city)
    classes = LogisticRegression().fit(FRAME, ["early", "late", "late"])
    uri = tenants.add("chances", classes)
    tenants.add("labels", classes)
    tenants.assign("chances", f"{uri}#method=predict_proba")
    ridge = Ridge().fit(FRAME, [1.0, 2.0, 3.0])
    row = [{"b": 1, "a": 2}]
    assert await ask(client, "ridge", row) == ridge.predict(FRAME[1:2]).tolist()
    assert await ask(client, "labels", row) == classes.predict(FRAME[1:2]).tolist()
    assert np.asarray(await ask(client, "chances", row)) == pytest.approx(classes.predict_proba(FRAME[1:2]))
    answer = await ask(client, "cities", [{"km": 2, "city": "Rome"}])
    assert answer == pytest.approx(by_city.predict(cities[1:2]))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (np.array([1, 2]), [1, 2]),
        (np.array([True, False]), [True, False]),
        (np.array([[1.5, 2.5], [3.5, 4.5]]), [[1.5, 2.5], [3.5, 4.5]]),
        (np.array([[1.5, 2.5], [3.5, 4.5]]).T, [[1.5, 3.5], [2.5, 4.5]]),
        (np.array(["a", "ä"]), ["a", "ä"]),
        (np.array(["a", None], dtype=object), ["a", None]),
        (np.array([1.0, np.nan]), [1.0, None]),
        (np.array([1.0, 2.0], dtype=">f8"), [1.0, 2.0]),
        (np.array([0.5, 2.0], dtype=np.longdouble), [0.5, 2.0]),
        ([3, 4], [3, 4]),
        (pd.Series([3.0, 4.0]), [3.0, 4.0]),
    ],
)
async def test_whatever_array_a_model_returns_becomes_json(
    answer: Any, expected: Any, client: Client, tenants: Tenants
) -> None:
    tenants.add("returns", Returns(answer))
    assert await ask(client, "returns", [{"a": 1}, {"a": 2}]) == expected


@pytest.mark.parametrize("user_id", ["ann@shop.example", "a+b", "a:b~c", "a.b-c_d"])
async def test_a_user_id_may_come_percent_encoded(user_id: str, client: Client, tenants: Tenants) -> None:
    tenants.add(user_id, SumModel(plus=7))
    for path in {quote(user_id, safe=""), quote(user_id, safe="@+:~")}:
        request = client.session.post(
            f"{client.make_url('/predict/')}{path}",
            json=[{"a": 1}],
        )
        async with request as response:
            assert await response.json() == [8.0]


async def test_chunked_and_compressed_bodies_are_understood(client: Client) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'[{"a": 1', b', "b"', b": 2}]"):
            yield piece

    async with client.post("/predict/good", data=pieces()) as response:
        assert response.request_info.headers["Transfer-Encoding"] == "chunked"
        assert await response.json() == [103.0]
    packed = gzip.compress(b'[{"a": 1, "b": 2}]')
    headers = {"Content-Encoding": "gzip"}
    async with client.post("/predict/good", data=packed, headers=headers) as response:
        assert await response.json() == [103.0]


async def test_health_is_plain_and_readiness_is_asked_for(tenants: Tenants) -> None:
    is_ready = False
    app = tenants.app(server_id="server-7", ready=lambda: is_ready)
    async with TestClient(TestServer(app)) as client:
        async with client.get("/healthz") as response:
            assert (response.status, await response.json()) == (200, {"status": "ok"})
        async with client.get("/readyz") as response:
            assert (await refusal(response))[:2] == (503, "NotReady")
            assert response.headers["Retry-After"] == "1"
        is_ready = True
        async with client.get("/readyz") as response:
            assert (response.status, await response.json()) == (200, {"status": "ready"})


async def test_old_knowledge_says_how_old_it_is(tenants: Tenants) -> None:
    app = tenants.app(registry_age_s=lambda: 17.9)
    async with (
        TestClient(TestServer(app)) as client,
        client.post("/predict/good", json=[{"a": 1}]) as response,
    ):
        assert response.headers["Tenantry-Registry-Age"] == "17"
