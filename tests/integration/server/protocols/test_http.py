"""KServe V1 and Open Inference Protocol V2 over HTTP, on the whole application."""

import asyncio
import gzip
import json
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import numpy as np
import pandas as pd
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tenantry_server.toys import ErrorModel, SumModel
from tests.support.tenants.registered import Tenants
from tests.support.waiting import PATIENCE_S

Client = TestClient[Request, Application]
BODY_BYTES = 20_000
FRAME = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [3.0, 1.0, 2.0]})
CITIES = pd.DataFrame({"city": ["Oslo", "Rome", "Oslo"], "km": [1.0, 2.0, 3.0]})
JSON_LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
def tenants(tmp_path: Path) -> Iterator[Tenants]:
    tenants = Tenants(tmp_path, max_body_bytes=BODY_BYTES)
    tenants.add("ann", SumModel(plus=100))
    tenants.add("ridge", Ridge().fit(FRAME, [1.0, 2.0, 3.0]))
    tenants.add("broken", ErrorModel())
    tenants.assign("soon", None)
    yield tenants
    tenants.engine.dispose()


@pytest.fixture
async def client(tenants: Tenants) -> AsyncIterator[Client]:
    async with TestClient(TestServer(tenants.app())) as client:
        yield client


async def get(client: Client, path: str) -> Any:
    async with client.get(path) as response:
        assert response.headers["Content-Type"] == "application/json"
        assert response.status == 200, await response.text()
        return await response.json()


async def post(client: Client, path: str, document: Any = None) -> Any:
    """The decoded answer to a request that must succeed; None where its body is empty."""
    async with client.post(path, data=None if document is None else json.dumps(document)) as response:
        body = await response.read()
        assert response.status == 200, body
        assert response.headers["Content-Type"] == "application/json"
        return json.loads(body) if body else None


async def refusal(client: Client, path: str, data: Any = None, **how: Any) -> tuple[int, str]:
    """Status and message of an error, which has the one form of these protocols."""
    method = how.pop("method", "post")
    async with client.request(method, path, data=data, **how) as response:
        assert response.headers["Content-Type"] == "application/json", await response.text()
        document = await response.json()
        assert list(document) == ["error"]
        assert isinstance(document["error"], str)
        assert (response.status == 503) == ("Retry-After" in response.headers)
        return response.status, document["error"]


def matrix(rows: list[list[float]], **more: Any) -> dict[str, Any]:
    shape = [len(rows), len(rows[0])]
    return {"inputs": [{"name": "input", "datatype": "FP64", "shape": shape, "data": rows}]} | more


async def data_of(client: Client, user_id: str, document: Any) -> Any:
    (output,) = (await post(client, f"/v2/models/{user_id}/infer", document))["outputs"]
    return output["data"]


async def neighbour_is_well(client: Client) -> None:
    assert await data_of(client, "ann", matrix([[1, 2]])) == [103.0]


# V1


async def test_v1_predicts_for_instances(client: Client) -> None:
    expected = {"predictions": [103.0]}
    for body in ({"instances": [[1, 2]]}, {"instances": [{"b": 2, "a": 1}]}, [{"a": 1, "b": 2}]):
        assert await post(client, "/v1/models/ann:predict", body) == expected
    assert await post(client, "/v1/models/ann:predict", {"instances": []}) == {"predictions": []}


async def test_v1_tells_who_has_a_model_and_whether_it_is_ready(client: Client) -> None:
    assert await get(client, "/") == {"status": "alive"}
    listed = await get(client, "/v1/models")
    assert sorted(listed["models"]) == ["ann", "broken", "ridge", "soon"]
    assert await get(client, "/v1/models/ann") == {"name": "ann", "ready": True}
    status, message = await refusal(client, "/v1/models/zoe", method="get")
    assert (status, "no model is assigned to user 'zoe'" in message) == (404, True)
    assert (await refusal(client, "/v1/models/soon", method="get"))[0] == 503


@pytest.mark.parametrize(
    ("user_id", "body", "status"),
    [
        ("ann", b"", 422),
        ("ann", b"{}", 422),
        ("ann", b'{"instances": 1}', 422),
        ("ann", b'{"instances": [[NaN]]}', 422),
        ("ann", b'{"instances": [], "instances": []}', 422),
        ("ann", b"[" * 10_000, 422),
        ("ridge", b'{"instances": [[1, 2, 3]]}', 422),
        ("ridge", b'{"instances": [[1, 1e999]]}', 422),
        ("zoe", b'{"instances": [[1]]}', 404),
        ("soon", b'{"instances": [[1]]}', 503),
        ("broken", b'{"instances": [[1]]}', 500),
        ("ann", b'{"instances": [[%s]]}' % b",".join([b"1"] * BODY_BYTES), 413),
    ],
)
async def test_v1_refuses_in_its_own_words(client: Client, user_id: str, body: bytes, status: int) -> None:
    assert (await refusal(client, f"/v1/models/{user_id}:predict", body))[0] == status
    await neighbour_is_well(client)


@pytest.mark.parametrize("user_id", ["ann@shop.example", "a+b", "a:b~c", "a:predict"])
async def test_a_model_is_found_by_any_user_id(client: Client, tenants: Tenants, user_id: str) -> None:
    tenants.add(user_id, SumModel(plus=7))
    for escaped in {quote(user_id, safe=":"), quote(user_id, safe="@+:~")}:  # in V1 a colon ends it
        async with client.session.post(
            f"{client.make_url('/v1/models/')}{escaped}:predict", json={"instances": [[1]]}
        ) as response:
            assert await response.json() == {"predictions": [8.0]}
    for escaped in {quote(user_id, safe=""), quote(user_id, safe="@+:~")}:
        async with client.session.post(
            f"{client.make_url('/v2/models/')}{escaped}/infer", json=matrix([[1]])
        ) as response:
            assert (await response.json())["model_name"] == user_id


# V2


async def test_v2_infers_in_json(client: Client) -> None:
    expected = Ridge().fit(FRAME, [1.0, 2.0, 3.0]).predict(FRAME)
    for document in (
        matrix(FRAME.to_numpy().tolist(), id="7"),
        {
            "id": "7",
            "inputs": [
                {"name": name, "datatype": "FP64", "shape": [3, 1], "data": FRAME[name].tolist()}
                for name in ("b", "a")
            ],
        },
    ):
        answered = await post(client, "/v2/models/ridge/infer", document)
        (output,) = answered.pop("outputs")
        assert answered == {"model_name": "ridge", "model_version": "unpinned", "id": "7"}
        assert output.pop("data") == pytest.approx(expected)
        assert output == {"name": "predict", "datatype": "FP64", "shape": [3]}


async def test_v2_infers_in_binary_without_a_content_type(client: Client) -> None:
    """As tritonclient sends it."""
    data = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32).tobytes()
    parameters = {"binary_data_size": len(data)}
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 2], "parameters": parameters}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    async with client.post(
        "/v2/models/ann/infer",
        data=text + data,
        headers={JSON_LENGTH: str(len(text))},
        skip_auto_headers=["Content-Type"],
    ) as response:
        body = await response.read()
        assert response.status == 200, body
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert re.fullmatch("[a-z0-9]+-[0-9a-f]{24}", response.headers["Tenantry-Model-Id"])
        length = int(response.headers[JSON_LENGTH])
    (output,) = json.loads(body[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(body[length:], "<f8").tolist() == [103.0, 107.0]


async def test_v2_takes_text_where_the_model_does(client: Client, tenants: Tenants) -> None:
    columns = ColumnTransformer([("city", OneHotEncoder(), ["city"])], remainder="passthrough")
    by_city = make_pipeline(columns, Ridge()).fit(CITIES, [1.0, 2.0, 3.0])
    tenants.add("cities", by_city)
    km = {"name": "km", "datatype": "FP32", "shape": [1, 1], "data": [2.0]}
    city = {"name": "city", "datatype": "BYTES", "shape": [1, 1], "data": ["Rome"]}
    assert await data_of(client, "cities", {"inputs": [km, city]}) == pytest.approx(
        by_city.predict(CITIES[1:2])
    )
    described = await get(client, "/v2/models/cities")
    assert [(each["name"], each["shape"]) for each in described["inputs"]] == [
        ("city", [-1, 1]),
        ("km", [-1, 1]),
    ]


async def test_v2_describes_what_a_model_takes_and_gives(client: Client, tenants: Tenants) -> None:
    assert await get(client, "/v2/models/ridge") == {
        "name": "ridge",
        "versions": ["unpinned"],
        "platform": "tenantry_sklearn",
        "inputs": [{"name": "input", "datatype": "FP64", "shape": [-1, 2]}],
        "outputs": [{"name": "predict", "datatype": "FP64", "shape": [-1]}],
        "feature_names": ["a", "b"],
    }
    assert (await get(client, "/v2/models/ann"))["inputs"][0]["shape"] == [-1, -1]
    classes = LogisticRegression().fit(FRAME.to_numpy(), ["early", "late", "late"])
    tenants.add("chances", classes, "#method=predict_proba")
    (output,) = (await get(client, "/v2/models/chances"))["outputs"]
    assert output["name"] == "predict_proba"
    answered = await post(client, "/v2/models/chances/infer", matrix([[1, 3]]))
    assert answered["outputs"][0]["name"] == "predict_proba"
    assert answered["outputs"][0]["shape"] == [1, 2]


async def test_v2_knows_the_one_version_that_answers(client: Client, tenants: Tenants) -> None:
    uri = tenants.add("bob", SumModel())
    tenants.assign("bob", f"{uri}?versionId=v7-of-many")
    (version,) = (await get(client, "/v2/models/bob"))["versions"]
    assert version == "v7-of-ma"
    base = f"/v2/models/bob/versions/{version}"
    assert (await post(client, f"{base}/infer", matrix([[1, 2]])))["model_version"] == version
    assert await get(client, f"{base}/ready") == {"name": "bob", "ready": True}
    assert (await get(client, base))["versions"] == [version]
    for method, path in (("post", "/infer"), ("get", "/ready"), ("get", "")):
        body = json.dumps(matrix([[1, 2]])) if method == "post" else None
        wrong = f"/v2/models/bob/versions/1{path}"
        status, message = await refusal(client, wrong, body, method=method)
        assert status == 404
        assert "user 'bob' is answered by version 'v7-of-ma', not '1'" in message


async def test_v2_tells_of_the_server(client: Client, tenants: Tenants) -> None:
    server = await get(client, "/v2")
    assert server["name"] == "tenantry"
    assert "binary_tensor_data" in server["extensions"]
    assert await get(client, "/v2/health/live") == {"live": True}
    assert await get(client, "/v2/health/ready") == {"ready": True}
    tenants.is_ready = False
    assert (await refusal(client, "/v2/health/ready", method="get"))[0] == 503
    assert await get(client, "/v2/health/live") == {"live": True}


async def test_v2_loads_and_forgets(client: Client) -> None:
    async def in_memory() -> list[str]:
        return [entry["name"] for entry in await post(client, "/v2/repository/index", {"ready": True})]

    assert await in_memory() == []
    index = {entry["name"]: entry for entry in await post(client, "/v2/repository/index")}
    assert index["ann"]["state"] == "UNAVAILABLE"
    assert index["ann"]["reason"] == "not in memory; the next request loads it"
    assert index["soon"] == {
        "name": "soon",
        "state": "UNAVAILABLE",
        "reason": "no version has loaded yet",
    }
    assert await post(client, "/v2/repository/models/ann/load", {}) is None
    assert await in_memory() == ["ann"]
    assert await post(client, "/v2/repository/models/ann/unload", {"parameters": {"x": True}}) is None
    assert await in_memory() == []
    assert await get(client, "/v2/models/ann/ready") == {"name": "ann", "ready": True}
    await neighbour_is_well(client)
    assert await in_memory() == ["ann"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v2/repository/index", b'{"ready": 1}', 422),
        ("/v2/repository/index", b"[]", 422),
        ("/v2/repository/index", b"{", 422),
        ("/v2/repository/models/ann/load", b'{"parameters": {"config": "{}"}}', 422),
        ("/v2/repository/models/zoe/load", b"", 404),
        ("/v2/repository/models/zoe/unload", b"", 404),
        ("/v2/repository/models/soon/load", b"", 503),
        ("/v2/models/zoe/infer", json.dumps(matrix([[1]])).encode(), 404),
        ("/v2/models/soon/infer", json.dumps(matrix([[1]])).encode(), 503),
        ("/v2/models/broken/infer", json.dumps(matrix([[1]])).encode(), 500),
        ("/v2/models/ridge/infer", json.dumps(matrix([[1]])).encode(), 422),
        ("/v2/models/ridge/infer", json.dumps(matrix([[1, 2]], outputs=[{"name": "x"}])).encode(), 422),
        ("/v2/models/ann/infer", b"", 422),
        ("/v2/models/ann/infer", b"x" * (BODY_BYTES + 1), 413),
        ("/v2/nothing", b"", 404),
    ],
)
async def test_v2_refuses_in_its_own_words(client: Client, path: str, body: bytes, status: int) -> None:
    assert (await refusal(client, path, body))[0] == status
    await neighbour_is_well(client)


async def test_another_method_is_refused_with_the_right_one(client: Client) -> None:
    async with client.get("/v2/models/ann/infer") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert list(await response.json()) == ["error"]


# Bodies


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_a_body_may_be_compressed(client: Client, pack: Any) -> None:
    """As tritonclient's `request_compression_algorithm` does."""
    headers = {"Content-Encoding": "gzip" if pack is gzip.compress else "deflate"}
    packed = pack(json.dumps(matrix([[1, 2]])).encode())
    async with client.post("/v2/models/ann/infer", data=packed, headers=headers) as response:
        assert (await response.json())["outputs"][0]["data"] == [103.0]
    packed = pack(b'{"instances": [[1, 2]]}')
    async with client.post("/v1/models/ann:predict", data=packed, headers=headers) as response:
        assert await response.json() == {"predictions": [103.0]}


@pytest.mark.parametrize("path", ["/v1/models/ann:predict", "/v2/models/ann/infer"])
@pytest.mark.parametrize(
    ("encoding", "body", "status", "told"),
    [
        ("gzip", gzip.compress(b"[" * 10_000_000), 413, "exceeded"),
        ("deflate", zlib.compress(b"[" * 10_000_000), 413, "exceeded"),
        ("deflate", zlib.compress(b"[" * 10_000_000)[:-1000], 413, "exceeded"),
        ("gzip", gzip.compress(np.random.default_rng(1).bytes(900_000)), 413, "exceeded"),
        ("gzip", b"no gzip at all", 400, "can't read the body"),
        ("gzip", gzip.compress(json.dumps({"instances": [[1] * 1000]}).encode())[:-20], 422, "not JSON"),
        ("snappy", b"{}", 422, "unknown Content-Encoding 'snappy'"),
        ("gzip, gzip", b"{}", 422, "unknown Content-Encoding 'gzip, gzip'"),
    ],
    ids=[
        *("bomb, gzip", "bomb, deflate", "bomb, cut off", "random"),
        *("no gzip", "cut off", "unknown", "twice"),
    ],  # a compressed body has the second of its making in it, and an id has to be the same everywhere
)
async def test_a_compressed_body_that_lies_is_refused(
    client: Client, path: str, encoding: str, body: bytes, status: int, told: str
) -> None:
    """10 MB in 10 KB are given up at the limit of a body, and not unpacked to be dropped."""
    seen, message = await refusal(client, path, body, headers={"Content-Encoding": encoding})
    assert (seen, told in message) == (status, True), message
    await neighbour_is_well(client)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b'{"inputs": [',
        b"POST",
    ],
)
async def test_a_client_that_ends_in_the_middle_leaves_nothing_behind(client: Client, sent: bytes) -> None:
    """Half-closed: it can't send more, and would still read."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    head = (
        b""
        if sent == b"POST"
        else b"POST /v2/models/ann/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    )
    writer.write(head + sent)
    writer.write_eof()
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    assert answer == b"" or answer.split()[1].startswith(b"4")
    writer.close()
    await neighbour_is_well(client)


async def test_predictions_of_every_protocol_are_counted(client: Client) -> None:
    await post(client, "/v1/models/ann:predict", {"instances": [[1, 2]]})
    await neighbour_is_well(client)
    await refusal(client, "/v2/models/zoe/infer", json.dumps(matrix([[1]])))
    async with client.get("/metrics") as response:
        text = await response.text()
    assert 'tenantry_requests_total{code="200"} 2.0' in text
    assert 'tenantry_requests_total{code="404"} 1.0' in text


# The description


async def test_every_route_is_described_and_nothing_else(tenants: Tenants, client: Client) -> None:
    document = await get(client, "/openapi.json")
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    served = {
        (route.method, route.resource.canonical)
        for route in tenants.app().router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert described == served


async def test_every_example_is_of_its_schema(client: Client) -> None:
    document = await get(client, "/openapi.json")
    checked = 0
    for methods in document["paths"].values():
        for operation in methods.values():
            for holder in (operation.get("requestBody", {}), *operation["responses"].values()):
                content = holder.get("content", {}).get("application/json", {})
                if "example" in content:
                    schema = content["schema"] | {"components": document["components"]}
                    jsonschema.Draft202012Validator(schema).validate(content["example"])
                    checked += 1
    assert checked > 20


async def test_the_page_shows_every_operation_and_asks_no_other_host(client: Client) -> None:
    async with client.get("/docs") as response:
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        page = await response.text()
    for path in (await get(client, "/openapi.json"))["paths"]:
        assert f"<code>{path}</code>" in page
    assert not re.search(r"""(src|href|action)=["']?(\w+:)?//|url\(|@import""", page)
    assert "<script" not in page
