"""The application over HTTP: each route, every bad input, and the neighbour who must not notice."""

import asyncio
import gzip
import io
import json
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import aiohttp
import joblib
import numpy as np
import pandas as pd
import pytest
import structlog
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from prometheus_client.parser import text_string_to_metric_families
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sqlalchemy import Engine

from tenantry import Model
from tenantry.errors import ModelLoading
from tenantry.model import Predictions
from tenantry.registry import Assignment, OperatorRegistry, Writes, migrate, open_engine
from tenantry_server import (
    CachedModelRepository,
    FileSystemModelRepository,
    SQLAlchemyModelInfoRepository,
    bounded_cache,
    make_app,
)
from tenantry_server.app import FAST_PATH
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.rows.json_payload import parse
from tenantry_server.toys import ErrorModel, SumModel
from tests.support.waiting import until_soon

Client = TestClient[Request, Application]
CACHE_BYTES = 1 << 20
BODY_BYTES = 10_000
TIMEOUT_S = 1.0
FRAME = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [3.0, 1.0, 2.0]})


class GatedModel(SumModel):
    """A SumModel that waits for `gate`, as a model does that takes its time."""

    gate: ClassVar[threading.Event] = threading.Event()
    waiting: ClassVar[int] = 0

    def predict(self, data: pd.DataFrame) -> Predictions:
        type(self).waiting += 1
        self.gate.wait(30)
        return super().predict(data)


class GatedLoad(SumModel):
    """Waits for `gate` while it is unpickled, and counts how often it is."""

    gate: ClassVar[threading.Event] = threading.Event()
    loads: ClassVar[int] = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).loads += 1
        self.gate.wait(30)
        self.__dict__.update(state)


class WrongCount(SumModel):
    """Forgets the last row."""

    def predict(self, data: pd.DataFrame) -> Predictions:
        return super().predict(data)[:-1]


class Returns(Model):
    """Answers with what it was given, whatever that is."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, data: pd.DataFrame) -> Predictions:  # noqa: ARG002 - the interface
        return self.answer  # type: ignore[no-any-return]


class Exits(SumModel):
    """Calls sys.exit, as a script does that was made a model of."""

    def predict(self, data: pd.DataFrame) -> Predictions:  # noqa: ARG002 - the interface
        raise SystemExit(3)


class ExitsWhenLoaded:
    """The same, while it is unpickled."""

    def __reduce__(self) -> Any:
        return exit_now, ()


def exit_now() -> None:
    raise SystemExit(3)


class Large(SumModel):
    """Larger than the cache."""

    def __init__(self) -> None:
        super().__init__()
        self.ballast = b"x" * 2 * CACHE_BYTES


class Tenants:
    """A registry and a folder of artifacts, filled by hand."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self._operator = OperatorRegistry(engine, "test")
        self._operator.lead("a test")
        self._folder = folder
        self._number = 0

    def add(self, user_id: str, model: Any) -> str:
        """Assign a model, or the bytes that stand in for one; returns its model id."""
        buffer = io.BytesIO()
        if not isinstance(model, bytes):
            joblib.dump(model, buffer)
        self._number += 1
        path = self._folder / f"{self._number}.joblib"
        path.write_bytes(model if isinstance(model, bytes) else buffer.getvalue())
        self.assign(user_id, path.as_uri())
        return path.as_uri()

    def assign(self, user_id: str, model_id: str | None) -> None:
        row = Assignment(user_id, f"uid-{user_id}", 1, model_id)
        self._operator.commit(Writes(assignments=[row]))

    def app(self, *, peeks: bool = False, **settings: Any) -> Application:
        models = CachedModelRepository(FileSystemModelRepository(), bounded_cache(CACHE_BYTES))
        info = (Peeking if peeks else SQLAlchemyModelInfoRepository)(self.engine)
        given = {"predict_timeout_s": TIMEOUT_S, "max_body_bytes": BODY_BYTES} | settings
        return make_app(info, models, **given)


class Peeking(SQLAlchemyModelInfoRepository):
    """Knows at once, as the routing table of a real server does."""

    def peek(self, user_id: str) -> str | None:
        return self.get_model_id_by_user_id(user_id)


@pytest.fixture
def tenants(tmp_path: Path) -> Iterator[Tenants]:
    engine = open_engine(f"sqlite:///{tmp_path}/registry.db")
    migrate(engine)
    tenants = Tenants(engine, tmp_path)
    tenants.add("good", SumModel(plus=100))
    tenants.add("ridge", Ridge().fit(FRAME, [1.0, 2.0, 3.0]))
    for gated in (GatedModel, GatedLoad):
        gated.gate.clear()
    GatedModel.waiting = GatedLoad.loads = 0
    yield tenants
    for gated in (GatedModel, GatedLoad):
        gated.gate.set()
    engine.dispose()


@pytest.fixture(params=["application", "short way"])
async def client(tenants: Tenants, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """Over the application alone, and as a real server answers what it can before that."""
    app = tenants.app(server_id="server-7", peeks=request.param == "short way")
    async with TestClient(TestServer(app)) as client:
        if request.param == "short way":
            runner = client.server.runner
            assert runner is not None
            assert runner.server is not None
            app[FAST_PATH].install(runner.server)
        yield client


async def ask(client: Client, user_id: str, body: Any, **how: Any) -> Any:
    """The decoded answer to a prediction that must succeed."""
    async with client.post(f"/predict/{user_id}", json=body, **how) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return answer


async def neighbour_is_well(client: Client) -> None:
    assert await ask(client, "good", [{"a": 1, "b": 2}]) == [103.0]


async def refusal(response: aiohttp.ClientResponse) -> tuple[int, str, str]:
    """Status, reason and message of an error, which has exactly one form."""
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Tenantry-Server"] == "server-7"
    body = json.loads(await response.read())
    assert list(body) == ["error"]
    assert sorted(body["error"]) == ["message", "reason"]
    reason, message = body["error"]["reason"], body["error"]["message"]
    assert isinstance(reason, str)
    assert isinstance(message, str)
    return response.status, reason, message


async def metrics(client: Client) -> dict[str, float]:
    """Every series of /metrics, by its name and labels."""
    async with client.get("/metrics") as response:
        assert response.status == 200
        families = text_string_to_metric_families(await response.text())
        return {
            f"{sample.name}{json.dumps(sample.labels, sort_keys=True)}": sample.value
            for family in families
            for sample in family.samples
        }


# What is answered


async def test_a_plain_list_is_answered_with_a_plain_list(client: Client, tenants: Tenants) -> None:
    async with client.post("/predict/good", json=[{"b": 2, "a": 1}, {"a": 3, "b": 4}]) as response:
        assert await response.json() == [103.0, 107.0]
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Tenantry-Server"] == "server-7"
        assert response.headers["Tenantry-Model-Id"].endswith("/1.joblib")
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


@pytest.mark.parametrize("user_id", ["ann@shop.example", "a+b", "a:b~c", "a.b-c_d", "É", "a b", "a%b"])
async def test_a_user_id_may_come_percent_encoded(user_id: str, client: Client, tenants: Tenants) -> None:
    tenants.add(user_id, SumModel(plus=7))
    encoded = "".join(f"%{byte:02x}" for byte in user_id.encode())
    for path in {encoded, quote(user_id, safe=""), quote(user_id, safe="@+:~")}:
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


# What is refused

ROW = b'[{"a": 1, "b": 2}]'
POST: dict[str, Any] = {"method": "POST", "data": ROW}
BAD: dict[str, tuple[str, dict[str, Any], int, str, str]] = {
    # path, request, status, reason, words of the message
    "unknown user": ("/predict/nobody", POST, 404, "ModelNotAssigned", "no model is assigned to user 'nob"),
    "a NUL in the user": ("/predict/a%00b", POST, 404, "ModelNotAssigned", "no model is assigned"),
    "not JSON": ("/predict/ridge", POST | {"data": b"{"}, 422, "InvalidRequest", "not JSON"),
    "empty": ("/predict/ridge", POST | {"data": b""}, 422, "InvalidRequest", "not JSON"),
    "wrong shape": ("/predict/ridge", POST | {"data": b"17"}, 422, "InvalidRequest", "got the number 17"),
    "missing column": (
        "/predict/ridge",
        POST | {"data": b'[{"a": 1}]'},
        422,
        "FeatureMismatch",
        "row 0: missing column 'b'",
    ),
    "extra column": (
        "/predict/ridge",
        POST | {"data": b'[{"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}]'},
        422,
        "FeatureMismatch",
        "row 1: unknown column 'c'",
    ),
    "not a number": (
        "/predict/ridge",
        POST | {"data": b'[{"a": 1, "b": 2}, {"a": "x", "b": 2}]'},
        422,
        "FeatureMismatch",
        "row 1, column 'a' must be a number, got the string 'x'",
    ),
    "null": (
        "/predict/ridge",
        POST | {"data": b'[{"a": 1, "b": null}]'},
        422,
        "FeatureMismatch",
        "row 0, column 'b' is missing (null)",
    ),
    "too few values": (
        "/predict/ridge",
        POST | {"data": b'{"instances": [[1]]}'},
        422,
        "FeatureMismatch",
        "row 0 has 1 values, the model takes 2",
    ),
    "too large": (
        "/predict/ridge",
        POST | {"data": b" " * (BODY_BYTES + 1)},
        413,
        "RequestTooLarge",
        "send fewer rows",
    ),
    "too large once unpacked": (
        "/predict/ridge",
        POST | {"data": gzip.compress(b" " * (1 << 24)), "headers": {"Content-Encoding": "gzip"}},
        413,
        "RequestTooLarge",
        "send fewer rows",
    ),
    "not gzip": (
        "/predict/ridge",
        POST | {"data": b"plain", "headers": {"Content-Encoding": "gzip"}},
        400,
        "BadRequest",
        "can't read the body",
    ),
    "wrong method": ("/predict/ridge", {"method": "GET"}, 405, "MethodNotAllowed", "GET /predict/ridge"),
    "wrong method elsewhere": ("/healthz", POST, 405, "MethodNotAllowed", "POST /healthz"),
    "unknown path": ("/predict", POST, 404, "NotFound", "predictions are at POST /predict/{user_id}"),
    "deeper path": ("/predict/a/b", POST, 404, "NotFound", "predictions are at"),
    "raises": (
        "/predict/raises",
        POST,
        500,
        "PredictionFailed",
        "ErrorModel raised RuntimeError: this mod",
    ),
    "exits": ("/predict/exits", POST, 500, "PredictionFailed", "Exits raised SystemExit: 3"),
    "wrong count": ("/predict/wrong", POST, 500, "PredictionFailed", "returned shape (0,) for 1 rows"),
    "a scalar": ("/predict/scalar", POST, 500, "PredictionFailed", "returned shape () for 1 rows"),
    "no JSON": ("/predict/complex", POST, 500, "PredictionFailed", "can't be written as JSON"),
    "slow": ("/predict/slow", POST, 504, "PredictionTimeout", "no answer within 1 s"),
    "slow to load": ("/predict/slow-load", POST, 503, "ModelLoading", "still being loaded after 1 s"),
    "garbage": ("/predict/garbage", POST, 503, "ArtifactInvalid", "is not a usable model: sklearn loader"),
    "exits when loaded": ("/predict/exits-load", POST, 503, "ArtifactInvalid", "SystemExit: 3"),
    "not there": ("/predict/lost", POST, 503, "ArtifactNotFound", "no artifact at file:///no/such/file"),
    "no loader": ("/predict/odd", POST, 503, "UnknownFormat", "no loader for suffix '.odd'"),
    "other bytes": ("/predict/swapped", POST, 503, "ArtifactDigestMismatch", "nothing was deserialised"),
    "larger than the cache": ("/predict/large", POST, 507, "ModelTooLarge", "the cache holds 1048576"),
    "not loaded yet": ("/predict/new", POST, 503, "ModelNotReady", "has not loaded yet; retry shortly"),
}


@pytest.fixture
def strange(tenants: Tenants) -> Tenants:
    """Every tenant that a server would rather not have."""
    for user_id, model in {
        "raises": ErrorModel(),
        "exits": Exits(),
        "wrong": WrongCount(),
        "scalar": Returns(np.float64(1)),
        "complex": Returns(np.array([1j])),
        "slow": GatedModel(),
        "slow-load": GatedLoad(),
        "garbage": b"no model at all",
        "exits-load": pickle.dumps(ExitsWhenLoaded()),
        "large": Large(),
    }.items():
        tenants.add(user_id, model)
    tenants.assign("lost", "file:///no/such/file.joblib")
    tenants.assign("new", None)
    tenants.assign("swapped", f"{tenants.add('swapped', SumModel())}#sha256={'0' * 64}")
    odd = tenants.add("odd", SumModel())
    Path(odd.removeprefix("file://")).rename(odd.removeprefix("file://").replace(".joblib", ".odd"))
    tenants.assign("odd", odd.replace(".joblib", ".odd"))
    return tenants


@pytest.mark.parametrize(("path", "request_", "status", "reason", "words"), BAD.values(), ids=BAD.keys())
async def test_a_bad_request_gets_one_form_of_answer_and_hurts_nobody(
    path: str,
    request_: dict[str, Any],
    status: int,
    reason: str,
    words: str,
    strange: Tenants,
    client: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """JSON with a reason and a message; and the good neighbour's prediction is as before."""
    await neighbour_is_well(client)
    async with client.request(path=path, **request_) as response:
        seen = await refusal(response)
        assert seen[:2] == (status, reason)
        assert words in seen[2]
        assert response.headers.get("Retry-After") == ("1" if status == 503 else None)
        assert ("Allow" in response.headers) == (status == 405)
    await neighbour_is_well(client)
    assert [entry.message for entry in caplog.records if entry.name == "aiohttp.server"] == []


async def test_every_tenant_of_the_table_at_once_hurts_nobody(strange: Tenants, client: Client) -> None:
    async def one(path: str, request_: dict[str, Any]) -> None:
        async with client.request(path=path, **request_) as response:
            await response.read()

    asked = [asyncio.create_task(one(path, request_)) for path, request_, *_ in [*BAD.values()] * 3]
    for _ in range(20):
        await neighbour_is_well(client)
    await asyncio.gather(*asked)
    await neighbour_is_well(client)


async def test_a_registry_out_of_reach_is_503(tmp_path: Path) -> None:
    """Here: one whose tables nobody has made."""
    info = SQLAlchemyModelInfoRepository(open_engine(f"sqlite:///{tmp_path}/empty.db"))
    app = make_app(info, FileSystemModelRepository(), server_id="server-7")
    async with (
        TestClient(TestServer(app)) as client,
        client.post("/predict/good", json=[]) as response,
    ):
        assert (await refusal(response))[:2] == (503, "RegistryUnavailable")
        assert response.headers["Retry-After"] == "1"


# Neighbours


async def test_a_slow_tenant_with_many_requests_holds_up_nobody_else(
    tenants: Tenants, client: Client
) -> None:
    """However many it has, they wait for each other and not for everybody."""
    tenants.add("slow", GatedModel())
    await neighbour_is_well(client)
    asked = [asyncio.create_task(ask_status(client, "slow")) for _ in range(50)]
    await until_soon(lambda: GatedModel.waiting == 1)
    for _ in range(20):
        await neighbour_is_well(client)
    assert await asyncio.gather(*asked) == [504] * 50
    assert GatedModel.waiting == 1  # those who left while they waited were never begun
    GatedModel.gate.set()
    assert await ask(client, "slow", [{"a": 1}]) == [1.0]


async def ask_status(client: Client, user_id: str) -> int:
    async with client.post(f"/predict/{user_id}", data=ROW) as response:
        await response.read()
        return response.status


async def test_a_few_tenants_that_never_come_back_leave_room_for_the_others(
    tenants: Tenants, client: Client
) -> None:
    for number in range(5):
        tenants.add(f"slow-{number}", GatedModel())
    assert await asyncio.gather(*(ask_status(client, f"slow-{n}") for n in range(5))) == [504] * 5
    await neighbour_is_well(client)


async def test_a_load_goes_on_when_who_asked_has_left(tenants: Tenants, client: Client) -> None:
    """The next request finds it under way, or done."""
    tenants.add("cold", GatedLoad(plus=5))
    assert await ask_status(client, "cold") == 503
    GatedLoad.gate.set()
    assert await ask(client, "cold", [{"a": 1}]) == [6.0]
    assert GatedLoad.loads == 1


async def test_who_gives_up_waiting_does_not_end_the_load_for_the_others(tenants: Tenants) -> None:
    tenants.add("cold", GatedLoad(plus=5))
    info = SQLAlchemyModelInfoRepository(tenants.engine)
    plane = DataPlane(info, CachedModelRepository(FileSystemModelRepository(), bounded_cache(CACHE_BYTES)))
    patient = asyncio.create_task(plane.predict("cold", parse(b'[{"a": 1}]'), timeout_s=60))
    with pytest.raises(ModelLoading):
        await plane.predict("cold", parse(b'[{"a": 1}]'), timeout_s=0.2)
    GatedLoad.gate.set()
    assert (await patient).predictions.tolist() == [6.0]
    assert GatedLoad.loads == 1
    plane.close()


async def test_a_thousand_requests_for_one_cold_tenant_load_it_once(tenants: Tenants) -> None:
    tenants.add("cold", GatedLoad(plus=5))
    app = tenants.app(predict_timeout_s=60.0)
    async with TestClient(TestServer(app), connector=aiohttp.TCPConnector(limit=0)) as client:
        asked = [asyncio.create_task(ask(client, "cold", [{"a": n}])) for n in range(1_000)]
        await until_soon(lambda: GatedLoad.loads == 1)
        await until_soon(lambda: len(server_connections(client)) == 1_000)
        await neighbour_is_well(client)
        GatedLoad.gate.set()
        assert await asyncio.gather(*asked) == [[n + 5.0] for n in range(1_000)]
        assert GatedLoad.loads == 1
        seen = await metrics(client)
        assert seen["tenantry_cache_cold_loads_total{}"] == 2  # it and the neighbour
        assert seen['tenantry_requests_total{"code": "200"}'] == 1_001


def server_connections(client: Client) -> list[Any]:
    server = client.server.handler
    assert server is not None
    return [each for each in server.connections if each._current_request is not None]


async def test_a_client_that_leaves_in_mid_body_is_no_error(client: Client) -> None:
    url = client.make_url("")
    with structlog.testing.capture_logs() as logs:
        for head in (b"Content-Length: 100\r\n\r\n[{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n[{"):
            _, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(b"POST /predict/good HTTP/1.1\r\nHost: x\r\n" + head)
            await writer.drain()
            await until_soon(lambda: server_connections(client))
            writer.close()
            await until_soon(lambda: not server_connections(client))
            await neighbour_is_well(client)
    assert [entry for entry in logs if entry["log_level"] in ("warning", "error")] == []


async def test_a_client_that_leaves_before_the_answer_hurts_nobody(
    tenants: Tenants, client: Client
) -> None:
    tenants.add("slow", GatedModel())
    asked = [asyncio.create_task(ask_status(client, "slow")) for _ in range(10)]
    await until_soon(lambda: GatedModel.waiting == 1)
    for task in asked:
        task.cancel()
    await asyncio.wait(asked)
    await neighbour_is_well(client)
    GatedModel.gate.set()
    assert await ask(client, "slow", [{"a": 1}]) == [1.0]


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"POST /predict/good HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"POST /predict/good HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict/good HTTP/1.1\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
    ids=["no HTTP", "bad chunk", "bad length", "long header"],
)
async def test_broken_http_is_refused_and_hurts_nobody(sent: bytes, client: Client) -> None:
    url = client.make_url("")
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(sent)
    assert (await reader.readline()).startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    writer.close()
    await neighbour_is_well(client)


# Metrics


async def test_metrics_count_without_naming_anybody(tenants: Tenants, client: Client) -> None:
    """The number of series is that of the first request of a kind, for 500 users as for one."""
    for number in range(500):
        tenants.add(f"metered-{number}", SumModel(plus=number))
    await ask(client, "metered-0", [{"a": 1}])
    await ask_status(client, "nobody")
    before = await metrics(client)
    for number in range(1, 500):
        await ask(client, f"metered-{number}", [{"a": 1}])
        await ask_status(client, f"nobody-{number}")
    after = await metrics(client)
    assert after.keys() == before.keys()
    assert not [series for series in after if "metered" in series or "nobody" in series or "user" in series]
    assert after['tenantry_requests_total{"code": "200"}'] == 500
    assert after['tenantry_requests_total{"code": "404"}'] == 500
    assert after["tenantry_request_seconds_count{}"] == 1_000
    assert after["tenantry_cache_cold_loads_total{}"] == after["tenantry_cache_models{}"] == 500
    assert 0 < after["tenantry_cache_bytes{}"] <= after["tenantry_cache_capacity_bytes{}"] == CACHE_BYTES


async def test_metrics_are_in_the_format_that_they_announce(client: Client) -> None:
    async with client.get("/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
