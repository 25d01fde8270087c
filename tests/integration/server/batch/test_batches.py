"""One request for many users: each row has the answer, or the error, that it has alone."""

import io
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from tenantry_server.rows.arrow import writing
from tenantry_server.toys import ErrorModel, SumModel
from tests.support.tenants.application import FRAME, Client, metrics
from tests.support.tenants.callers import gate_of, shown
from tests.support.tenants.registered import Tenants

NDJSON = "application/x-ndjson"
MANY: dict[str, Any] = {"max_body_bytes": 1 << 20, "predict_timeout_s": 60.0}
MODELS: dict[str, Any] = {
    "sum": lambda: SumModel(plus=100),
    "ridge-1": lambda: Ridge().fit(FRAME, [1.0, 2.0, 3.0]),
    "ridge-2": lambda: Ridge(alpha=3).fit(FRAME, [1.1, 5.0, 3.0]),
    "scaled": lambda: make_pipeline(StandardScaler(), Ridge()).fit(FRAME, [1.3, 5.0, 3.0]),
    "labels": lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, ["a", "b", "a"]),
    "poisson": lambda: PoissonRegressor().fit(FRAME, [1, 5, 3]),
    "two": lambda: Ridge().fit(FRAME, np.array([[1.0, 2.0], [2.5, 1.0], [3.0, 0.1]])),
    "tree": lambda: DecisionTreeRegressor().fit(FRAME, [1.0, 5.0, 3.0]),
    "raises": ErrorModel,
}


@pytest.fixture
def crowd(tenants: Tenants) -> Tenants:
    for user_id, make in MODELS.items():
        tenants.add(user_id, make())
    tenants.assign("new", None)
    tenants.add("garbage", b"no model at all")
    return tenants


@pytest.fixture
async def client(crowd: Tenants) -> AsyncIterator[Client]:
    async with TestClient(TestServer(crowd.app(server_id="server-7", peeks=True, **MANY))) as client:
        yield client


async def batch(client: Client, rows: list[Any], path: str = "/predict", **how: Any) -> Any:
    async with client.post(path, data=orjson.dumps({"rows": rows}), **how) as response:
        answer = await response.read()
        assert response.status == 200, answer
        return orjson.loads(answer)


async def single(client: Client, user_id: str, rows: list[Any]) -> tuple[int, Any]:
    async with client.post(f"/predict/{user_id}", data=orjson.dumps(rows)) as response:
        return response.status, orjson.loads(await response.read())


async def test_each_row_has_the_answer_that_it_has_alone(client: Client) -> None:
    """To the last bit, from memory and not, many rows of one user and few of others, in any order."""
    random = np.random.default_rng(0)
    users = [user for user in MODELS if user != "raises"]
    rows: list[dict[str, Any]] = [
        {"user_id": str(random.choice(users)), "a": float(a), "b": float(b)}
        for a, b in random.normal(size=(300, 2))
    ]
    for turn in range(2):  # cold at first
        answer = await batch(client, rows)
        assert answer["errors"] == []
        for user_id in users:
            theirs = [at for at, row in enumerate(rows) if row["user_id"] == user_id]
            plain = [{"a": rows[at]["a"], "b": rows[at]["b"]} for at in theirs]
            _, alone = await single(client, user_id, plain)
            assert [answer["predictions"][at] for at in theirs] == alone, (turn, user_id)
    for row, value in zip(rows[:50], answer["predictions"], strict=False):
        plain = [{"a": row["a"], "b": row["b"]}]
        if row["user_id"] not in ("two", "scaled", "labels"):  # BLAS: another routine for several rows
            assert (await single(client, row["user_id"], plain))[1] == [value]


BAD: list[Any] = [
    {"user_id": "ridge-1", "a": "x", "b": 2},
    {"user_id": "ridge-1", "a": 1},
    {"user_id": "ridge-1", "a": 1, "b": None},
    {"user_id": "ridge-1", "a": 1, "b": 2, "c": 3},
    {"user_id": "sum", "a": "no", "b": 1},
    {"user_id": "two", "a": 1, "b": "no"},
    {"user_id": "raises", "a": 1, "b": 1},
    {"user_id": "nobody", "a": 1, "b": 1},
    {"user_id": "new", "a": 1, "b": 1},
    {"user_id": "garbage", "a": 1, "b": 1},
]
GOOD: list[dict[str, Any]] = [
    {"user_id": user, "a": 1.5, "b": 2} for user in ("ridge-1", "sum", "two", "ridge-2")
]


async def test_a_bad_row_or_user_fails_alone_with_the_words_of_a_single_request(client: Client) -> None:
    """Rows of the same users beside it are answered, and the message names the row as it stands."""
    rows = [row for bad in BAD for row in (bad, *GOOD)] + [{"user_id": 42}, 5]
    for _ in range(2):
        answer = await batch(client, rows)
        errors = {error["row"]: error for error in answer["errors"]}
        assert list(errors) == [at for at in range(len(rows)) if rows[at] in BAD or at >= len(rows) - 2]
    for at, error in list(errors.items())[:-2]:
        user_id = rows[at]["user_id"]
        plain = {name: value for name, value in rows[at].items() if name != "user_id"}
        status, alone = await single(client, user_id, [plain])
        assert (error["status"], error["reason"], error["user_id"]) == (
            status,
            alone["error"]["reason"],
            user_id,
        )
        if status != 503:  # whose words count down
            assert error["message"] == alone["error"]["message"].replace("row 0", f"row {at}")
        assert answer["predictions"][at] is None
    assert [errors[at]["user_id"] for at in list(errors)[-2:]] == [None, None]
    answered = [at for at in range(len(rows)) if at not in errors]
    wanted = {
        row["user_id"]: (await single(client, row["user_id"], [{"a": 1.5, "b": 2}]))[1] for row in GOOD
    }
    assert [answer["predictions"][at] for at in answered] == [
        wanted[rows[at]["user_id"]][0] for at in answered
    ]
    seen = await metrics(client)
    assert seen['tenantry_batch_rows_total{"code": "200"}'] == 2 * len(answered)
    assert seen['tenantry_batch_rows_total{"code": "404"}'] == 2


async def test_lines_are_answered_with_lines(client: Client) -> None:
    """And a broken one alone with an error; Accept chooses another form."""
    body = b'{"store":"ridge-1","a":1.5,"b":2}\n{"store":\n{"store":"nobody","a":1,"b":2}\n'
    how: dict[str, Any] = {
        "data": body,
        "params": {"user_column": "store"},
        "headers": {"Content-Type": NDJSON},
    }
    async with client.post("/predict", **how) as response:
        assert (response.status, response.content_type) == (200, NDJSON)
        lines = [orjson.loads(line) for line in (await response.read()).splitlines()]
    _, alone = await single(client, "ridge-1", [{"a": 1.5, "b": 2}])
    good = {"store": "ridge-1", "prediction": alone[0], "error": None, "reason": None, "status": 200}
    assert lines[0] == good
    assert [(line["store"], line["status"], line["reason"]) for line in lines[1:]] == [
        (None, 422, "InvalidRequest"),
        ("nobody", 404, "ModelNotAssigned"),
    ]
    how["headers"] = {"Content-Type": NDJSON, "Accept": "text/html, application/json;q=0.9"}
    async with client.post("/predict", **how) as response:
        assert (await response.json())["predictions"] == [alone[0], None, None]


async def test_forecasts_of_a_model_of_rows_fail_row_by_row(client: Client) -> None:
    rows = [{"user_id": "sum", "horizon": 2}, {"user_id": "sum", "horizon": 0}]
    answer = await batch(client, rows, "/forecast")
    assert answer["forecasts"] == [None, None]
    assert [(error["reason"], error["row"]) for error in answer["errors"]] == [
        ("NotAForecaster", 0),
        ("InvalidRequest", 1),
    ]
    assert answer["errors"][1]["message"].startswith("row 1: horizon must be a whole number from 1 to")


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ({"data": b"{"}, 422, "InvalidRequest"),
        ({"data": b"a,b", "headers": {"Content-Type": "text/csv"}}, 415, "UnknownMediaType"),
        ({"data": b'{"rows":[]}', "params": {"user_column": "status"}}, 422, "InvalidRequest"),
        ({"data": io.BytesIO(b"x" * (1 << 20) + b"x")}, 413, "RequestTooLarge"),
        ({"data": b'{"rows":[{},{},{}]}'}, 413, "BatchTooLong"),
    ],
)
async def test_a_body_that_can_not_be_read_is_refused_whole(
    crowd: Tenants, how: dict[str, Any], status: int, reason: str
) -> None:
    app = crowd.app(server_id="server-7", max_batch_rows=2, **MANY)
    async with TestClient(TestServer(app)) as client, client.post("/predict", **how) as response:
        assert (response.status, (await response.json())["error"]["reason"]) == (status, reason)


async def test_no_rows_are_no_answers(client: Client) -> None:
    assert await batch(client, []) == {"predictions": [], "errors": []}


async def test_each_user_is_judged_alone(crowd: Tenants) -> None:
    """A stranger's row is refused in words that don't tell whether that user exists."""
    app = crowd.app(peeks=True, gate=gate_of({"ridges": ("ridge-*",)}), **MANY)
    users = ["ridge-1", "sum", "nobody", "ridge-9"]
    rows = [{"user_id": user, "a": 1, "b": 2} for user in users]
    async with TestClient(TestServer(app)) as client:
        answer = await batch(client, rows, headers=shown("ridges"))
        words = {error["row"]: (error["status"], error["message"]) for error in answer["errors"]}
        assert words[1] == words[2] == (403, "the key or token is not for this user")
        assert words[3][0] == 404
        assert list(words) == [1, 2, 3]
        for headers in ({}, shown("unknown"), {"Tenantry-Proof": "1 x"}):
            async with client.post("/predict", json={"rows": rows}, headers=headers) as response:
                assert response.status == 401


async def test_a_missing_number_of_a_table_is_refused_by_a_kernel_too(client: Client) -> None:
    """It is NaN in the matrix of all rows; the rows beside it are answered."""
    table: dict[str, Any] = {
        "user_id": ["ridge-1", "ridge-2"],
        "a": np.array([np.nan, 1.5]),
        "b": np.array([1.0, 2.0]),
    }
    for _ in range(2):  # cold at first
        headers = {"Content-Type": "application/vnd.apache.arrow.stream", "Accept": "application/json"}
        async with client.post("/predict", data=writing.write(table, 2), headers=headers) as response:
            answer = await response.json()
        assert [error["row"] for error in answer["errors"]] == [0]
        assert "column 'a' is missing" in answer["errors"][0]["message"]
        _, alone = await single(client, "ridge-2", [{"a": 1.5, "b": 2.0}])
        assert answer["predictions"] == [None, *alone]
