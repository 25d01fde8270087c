"""`GET /tenants/top` and the tenants in /metrics, over real requests of every kind."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from tenantry.model import Predictions, Rows
from tenantry_server.access.gate import Gate
from tenantry_server.app import FAST_PATH
from tenantry_server.toys import ErrorModel, SumModel
from tests.support.processes import cluster
from tests.support.processes.cluster import Cluster
from tests.support.tenants.application import BODY_BYTES, Client, metrics
from tests.support.tenants.registered import Tenants

ROWS = [{"a": 1, "b": 2}]
QUICK_ROWS = {"instances": [[1.0, 2.0]]}


class Quick(SumModel):
    """Says that it only computes, and does so without a DataFrame: so the fast path answers it."""

    may_block = False

    def predict_rows(self, rows: Rows) -> Predictions:
        summed: Predictions = rows.sum(axis=1)
        return summed


@pytest.fixture
async def client(tenants: Tenants) -> AsyncIterator[Client]:
    tenants.add("good", SumModel())
    tenants.add("raises", ErrorModel())
    tenants.assign("waits", None)
    app = tenants.app(peeks=True, predict_timeout_s=60.0)
    async with TestClient(TestServer(app)) as client:
        yield client


async def top(client: Client, **query: str) -> dict[str, Any]:
    async with client.get("/tenants/top", params=query) as response:
        assert response.status == 200, await response.text()
        found: dict[str, Any] = await response.json()
        return found


async def post(client: Client, path: str, body: Any) -> int:
    async with client.post(path, json=body) as response:
        return response.status


async def test_every_kind_of_answer_is_counted_for_its_tenant(client: Client) -> None:
    for path, body, status in (
        ("/predict/good", ROWS, 200),
        ("/v1/models/good:predict", {"instances": [[1.0, 2.0]]}, 200),
        ("/predict/good", "no rows", 422),
        ("/predict/good", [{"a": "x" * BODY_BYTES, "b": 1}], 413),
        ("/predict/raises", ROWS, 500),
        ("/predict/waits", ROWS, 503),
    ):
        assert await post(client, path, body) == status, path
    found = await top(client)
    assert [(one["userId"], one["requests"]) for one in found["tenants"]] == [
        ("good", 4),
        ("waits", 1),
        ("raises", 1),
    ]
    good, waits, raises = found["tenants"]
    assert (good["clientErrors"], good["serverErrors"], good["errors"]) == (2, 0, 2)
    assert (raises["serverErrors"], waits["serverErrors"]) == (1, 1)
    assert good["cpuSeconds"] > 0
    assert raises["cpuSeconds"] > 0, "a call that fails costs as much"
    assert 0 < good["latency"]["p50Seconds"] <= good["latency"]["p99Seconds"]
    assert sum(good["latency"]["counts"]) == 4
    assert len(good["latency"]["counts"]) == len(found["latencyBoundsSeconds"]) + 1
    assert good["bytes"] > 0
    assert waits["bytes"] == 0


async def test_nobody_can_fill_the_tables_with_invented_users(client: Client) -> None:
    """Neither with a good request nor with a broken one, which is refused before anybody is looked up."""
    for number in range(20):
        assert await post(client, f"/predict/stranger-{number}", ROWS) == 404
        assert await post(client, f"/predict/stranger-{number}", "no rows") in (404, 422)
        assert await post(client, "/predict", {"rows": [{"user_id": f"batch-{number}", "a": 1}]}) == 200
    found = await top(client, limit="1000")
    assert found["tenants"] == []
    assert found["others"]["requests"] == 0


async def test_each_order_is_asked_for_by_name(client: Client) -> None:
    for _ in range(3):
        await post(client, "/predict/good", ROWS)
    for _ in range(2):
        await post(client, "/predict/raises", ROWS)
    assert [one["userId"] for one in (await top(client, by="errors"))["tenants"]] == ["raises"]
    assert [one["userId"] for one in (await top(client, by="requests", limit="1"))["tenants"]] == ["good"]
    assert {one["userId"] for one in (await top(client, by="bytes"))["tenants"]} == {"good", "raises"}
    assert {one["userId"] for one in (await top(client, by="cpu"))["tenants"]} == {"good", "raises"}
    [one] = (await top(client, user_id="raises"))["tenants"]
    assert (one["userId"], one["requests"]) == ("raises", 2)
    [nobody] = (await top(client, user_id="nobody"))["tenants"]
    assert (nobody["requests"], nobody["bytes"], nobody["latency"]["p50Seconds"]) == (0, 0, None)


@pytest.mark.parametrize(
    "query",
    [{"by": "name"}, {"by": ""}, {"limit": "0"}, {"limit": "1001"}, {"limit": "ten"}, {"limit": "-1"}],
)
async def test_a_query_that_is_not_understood_is_refused_in_words(client: Client, query: Any) -> None:
    async with client.get("/tenants/top", params=query) as response:
        assert response.status == 422
        assert f"?{next(iter(query))}= must be" in (await response.json())["error"]["message"]


async def test_a_request_for_many_users_counts_for_each(client: Client) -> None:
    """For kernels and for models in threads or workers; a user whose rows fail has an error."""
    await post(client, "/predict/good", ROWS)
    rows = [{"user_id": user_id, "a": 1, "b": 2} for user_id in ("good", "raises", "good")]
    assert await post(client, "/predict", {"rows": rows}) == 200
    found = {one["userId"]: one for one in (await top(client))["tenants"]}
    assert {user_id: (one["requests"], one["errors"]) for user_id, one in found.items()} == {
        "good": (2, 0),
        "raises": (1, 1),
    }


async def test_metrics_name_the_first_tenants_where_lists_are_open(tenants: Tenants) -> None:
    """Where anybody may read the metrics and nobody the users, they name none."""
    tenants.add("good", SumModel())
    for gate, top_tenants, shown in (
        (Gate(open_lists=True), 10, 1.0),
        (Gate(open_lists=True), 0, None),
        (Gate(), 10, None),
    ):
        app = tenants.app(peeks=True, gate=gate, top_tenants=top_tenants, predict_timeout_s=60.0)
        async with TestClient(TestServer(app)) as client:
            assert await post(client, "/predict/good", ROWS) == 200
            found = await metrics(client)
            assert found.get('tenantry_tenant_requests_total{"user_id": "good"}') == shown


async def test_a_closed_list_names_nobody(tenants: Tenants) -> None:
    async with (
        TestClient(TestServer(tenants.app(gate=Gate()))) as client,
        client.get("/tenants/top") as response,
    ):
        assert response.status == 403
        assert "TENANTRY_OPEN_LISTS" in (await response.json())["error"]["message"]


@pytest.fixture
async def pair() -> AsyncIterator[Cluster]:
    async with cluster.running({"ann": Quick, "bob": Quick}, {"ann": "a", "bob": "b"}, names="ab") as pair:
        yield pair


async def test_a_request_counts_where_it_was_answered_and_by_the_fast_path_too(pair: Cluster) -> None:
    """So that the sums over all servers are true."""
    async with aiohttp.ClientSession() as session:
        for node in pair.nodes.values():
            for user_id in ("ann", "bob"):
                url = f"{node.url}/predict/{user_id}"
                for connection in ("keep-alive", "keep-alive", "keep-alive", "close", "close"):
                    sent = {"Connection": connection}  # one that closes is not for the fast path
                    async with session.post(url, json=QUICK_ROWS, headers=sent) as response:
                        assert response.status == 200, await response.text()
        found = {}
        for name, node in pair.nodes.items():
            async with session.get(f"{node.url}/tenants/top") as response:
                told = await response.json()
                found[name] = {one["userId"]: one["requests"] for one in told["tenants"]}
    assert found == {"a": {"ann": 10}, "b": {"bob": 10}}
    assert FAST_PATH in pair["a"].app
