"""Who is answered with TENANTRY_AUTH=required, and how others are refused."""

import json
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tenantry_server.access.gate import Gate, Need
from tenantry_server.access.hops import Hops
from tenantry_server.access.keyring import KeyRing
from tenantry_server.app import FAST_PATH
from tenantry_server.peers import challenge, near_copies, warm_query
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.predicting.user_models import UserModels
from tenantry_server.protocols import admission
from tests.support.tenants.application import Client
from tests.support.tenants.callers import Keys, gate_of, shown
from tests.support.tenants.registered import Tenants

KEYS = {"goods": ("goo*",), "admin": ("*",), "admin-goods": ("goo*",), "all": ("*",)}
HOST = "server-7:80"
ROWS = [{"a": 1, "b": 2}]
V1 = {"instances": [[1, 2]]}
V2 = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}
SERIES = {"type": "univariate_time_series", "name": "x", "frequency": "D", "series": [1.0]}
PREDICTIONS: dict[str, Any] = {
    "/predict/{}": ROWS,
    "/v1/models/{}:predict": V1,
    "/v2/models/{}/infer": V2,
    "/forecast/{}": {"horizon": 1},
    "/v1/timeseries/forecast": {"model": "{}", "inputs": [SERIES], "options": {"horizon": 1}},
}


@pytest.fixture
async def guarded(tenants: Tenants) -> AsyncIterator[Client]:
    app = tenants.app(
        server_id="server-7", peeks=True, gate=gate_of(KEYS, Hops("secret", HOST)), predict_timeout_s=60.0
    )

    async def warm(_shards: Any) -> list[str]:
        return ["good"]

    app.add_routes(warm_query.routes(warm))
    async with TestClient(TestServer(app)) as client:
        assert client.server.runner is not None
        assert client.server.runner.server is not None
        app[FAST_PATH].install(client.server.runner.server)
        yield client


def request_of(path: str, user_id: str) -> dict[str, Any]:
    return {"path": path.format(user_id), "data": json.dumps(PREDICTIONS[path]).replace("{}", user_id)}


@pytest.mark.parametrize("path", PREDICTIONS)
@pytest.mark.parametrize(("key", "status"), [(None, 401), ("unknown", 401), ("goods", 403)])
async def test_a_refusal_has_the_form_of_its_protocol(
    guarded: Client, path: str, key: str | None, status: int
) -> None:
    reason = {401: "Unauthenticated", 403: "Forbidden"}[status]
    async with guarded.post(**request_of(path, "ridge"), headers=shown(key) if key else {}) as response:
        body = await response.json()
        assert response.status == status, body
        assert response.headers["Tenantry-Reason"] == reason
        assert response.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)
    error = body["error"]
    if "timeseries" in path:
        assert error["type"] == reason
    elif path.startswith("/v"):
        assert isinstance(error, str)
    else:
        assert error["reason"] == reason


@pytest.mark.parametrize("path", list(PREDICTIONS)[:3])
async def test_a_key_is_answered_for_its_users(guarded: Client, path: str) -> None:
    for _ in range(3):  # also once the model is warm and the head is known
        async with guarded.post(**request_of(path, "good"), headers=shown("goods")) as response:
            assert response.status == 200, await response.text()
            assert "103" in await response.text()
        async with guarded.post(**request_of(path, "good"), headers=shown("other")) as response:
            assert response.status == 401


@pytest.mark.parametrize("path", PREDICTIONS)
async def test_who_may_not_ask_does_not_learn_who_exists(
    guarded: Client, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answer, and nothing of a tenant is looked up: that takes the same time for each."""
    looked_up: list[Any] = []
    asked = {DataPlane: ("predict_now", "predict"), UserModels: ("find_quick", "model_of", "card_of")}
    for owner, names in asked.items():
        for name in names:
            monkeypatch.setattr(owner, name, lambda *given, **_: looked_up.append(given))
    answers = set()
    for user_id in ("ridge", "nobody"):
        async with guarded.post(**request_of(path, user_id), headers=shown("goods")) as response:
            answers.add((response.status, await response.text()))
    assert len(answers) == 1
    assert looked_up == []


@pytest.mark.parametrize("key", [None, "goods", "admin-goods", "all", "admin"])
async def test_what_only_admins_of_everyone_are_answered(guarded: Client, key: str | None) -> None:
    expected = {None: 401, "admin": 200}.get(key, 403)
    headers = shown(key) if key else {}
    for path in ("/v1/models", "/v1/timeseries/models", "/metrics", "/docs", "/openapi.json"):
        async with guarded.get(path, headers=headers) as response:
            assert response.status == expected, path
    async with guarded.post("/v2/repository/index", headers=headers) as response:
        assert response.status == expected


@pytest.mark.parametrize(
    ("key", "user_id", "status"),
    [
        ("goods", "good", 403),
        ("admin-goods", "good", 200),
        ("admin-goods", "ridge", 403),
        ("all", "good", 403),
    ],
)
async def test_admins_load_and_unload_their_own_users(
    guarded: Client, key: str, user_id: str, status: int
) -> None:
    for verb in ("load", "unload"):
        path = f"/v2/repository/models/{user_id}/{verb}"
        async with guarded.post(path, headers=shown(key)) as response:
            assert response.status == status


async def test_probes_are_open_and_unknown_paths_are_not(guarded: Client) -> None:
    for path in ("/healthz", "/readyz", "/", "/v2/health/live", "/v2/health/ready"):
        async with guarded.get(path) as response:
            assert response.status == 200, path
    for path in ("/v2", "/no/such/path", "/predict/good"):
        async with guarded.get(path) as response:
            assert response.status == 401, path
    async with guarded.get("/no/such/path", headers=shown("goods")) as response:
        assert response.status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Tenantry-Hop": "server-1"},
        {"Tenantry-Proof": "1 2"},
        {"Tenantry-Hop": "server-1", "Tenantry-Proof": "x"},
        {
            "Tenantry-Proof": Hops("other", "x")
            .proof(HOST.encode(), b"POST", b"/predict/good", b"20")
            .decode()
        },
        {"Tenantry-Proof": "1 2", **shown("admin")},
    ],
)
async def test_nobody_poses_as_a_server(guarded: Client, headers: dict[str, str]) -> None:
    for path in ("/predict/good", "/v2/repository/models/good/unload"):
        async with guarded.post(path, json=ROWS, headers=headers) as response:
            assert response.status == 401
    async with guarded.get("/peers/warm?shards=1", headers=headers) as response:
        assert response.status == 401


@pytest.mark.parametrize("key", KEYS)
async def test_no_key_opens_what_is_between_servers(guarded: Client, key: str) -> None:
    async with guarded.get("/peers/warm?shards=1", headers=shown(key)) as response:
        assert response.status == 401


async def test_a_proof_opens_what_was_asked_and_nothing_else(guarded: Client) -> None:
    body = json.dumps(ROWS).encode()
    proof = Hops("secret", "x").proof(HOST.encode(), b"POST", b"/predict/good", b"%d" % len(body)).decode()
    for _ in range(3):
        for path, status in (
            ("/predict/good", 200),
            ("/predict/ridge", 401),
            ("/v1/models/good:predict", 401),
        ):
            async with guarded.post(path, data=body, headers={"Tenantry-Proof": proof}) as response:
                assert response.status == status, path
    admins = Hops("secret", "x").proof(HOST.encode(), b"GET", b"/metrics", b"0").decode()
    async with guarded.get("/metrics", headers={"Tenantry-Proof": admins}) as response:
        assert response.status == 401


async def test_every_route_is_named(tenants: Tenants) -> None:
    """One that is not is for admins, which would be noticed late."""
    app = tenants.app()
    app.add_routes([*warm_query.routes(lambda _: None), *near_copies.routes(None)])  # type: ignore[arg-type, return-value]
    app.add_routes(challenge.routes(None, "s", "e"))
    of_admins = {"/metrics", "/docs", "/openapi.json", "/workers"}
    routes = {route.resource.canonical for route in app.router.routes() if route.resource is not None}
    assert routes - set(admission._OF) <= of_admins
    assert all("{user_id}" in path for path, need in admission._OF.items() if need is Need.OPERATE)


async def test_nothing_is_judged_before_the_keys_were_read(tenants: Tenants) -> None:
    app = tenants.app(gate=Gate(KeyRing(Keys(KEYS))))
    async with TestClient(TestServer(app)) as client:
        async with client.post("/predict/good", json=ROWS, headers=shown("goods")) as response:
            assert response.status == 503
        async with client.get("/healthz") as response:
            assert response.status == 200


async def test_without_keys_lists_and_repository_calls_are_closed(tenants: Tenants) -> None:
    async with TestClient(TestServer(tenants.app(gate=Gate(), predict_timeout_s=60.0))) as client:
        for method, path, setting in (
            ("GET", "/v1/models", "TENANTRY_OPEN_LISTS"),
            ("GET", "/v1/timeseries/models", "TENANTRY_OPEN_LISTS"),
            ("POST", "/v2/repository/index", "TENANTRY_OPEN_LISTS"),
            ("GET", "/tenants/top", "TENANTRY_OPEN_LISTS"),
            ("POST", "/v2/repository/models/good/load", "TENANTRY_OPEN_REPOSITORY"),
            ("POST", "/v2/repository/models/good/unload", "TENANTRY_OPEN_REPOSITORY"),
        ):
            async with client.request(method, path) as response:
                assert response.status == 403
                assert setting in await response.text()
        async with client.post("/predict/good", json=ROWS) as response:
            assert response.status == 200
        async with client.get("/metrics") as response:
            assert response.status == 200


async def test_a_proof_of_a_batch_is_for_its_body_alone(guarded: Client) -> None:
    """It was overheard, and is repeated with a body of the same length that names another user."""
    body, other = (b'{"rows": [{"user_id": "%b", "x": 1}]}' % name for name in (b"good", b"mine"))
    target = f"/predict?digest={sha256(body).hexdigest()}"
    proof = Hops("secret", "x").proof(HOST.encode(), b"POST", target.encode(), b"%d" % len(body)).decode()
    sent = {"Tenantry-Proof": proof, "Content-Type": "application/json"}
    statuses = []
    for given in (body, other):
        async with guarded.post(target, data=given, headers=sent) as response:
            statuses.append(response.status)
    assert statuses == [200, 401]
