"""Slow, greedy and broken clients and tenants, and the others beside them."""

import asyncio
import json
from collections.abc import Collection
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp.test_utils import TestClient, TestServer

from tenantry.errors import ModelLoading
from tenantry_server import (
    CachedModelRepository,
    FileSystemModelRepository,
    SQLAlchemyModelInfoRepository,
    bounded_cache,
)
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.rows.json_payload import parse
from tenantry_server.toys import SumModel
from tests.support.tenants.application import (
    Client,
    GatedLoad,
    GatedModel,
    ask,
    ask_status,
    metrics,
    neighbour_is_well,
)
from tests.support.tenants.registered import CACHE_BYTES, Tenants
from tests.support.waiting import until_soon


async def status_in_time(client: Client, user_id: str, *, late: Collection[int] = (503,)) -> int:
    """Ask until this is not too slow; on a busy machine, a load may take longer than a request may."""
    while (status := await ask_status(client, user_id)) in late:
        pass
    return status


# Neighbours


async def test_a_slow_tenant_with_many_requests_holds_up_nobody_else(
    tenants: Tenants, client: Client
) -> None:
    """However many it has, they wait for each other and not for everybody."""
    tenants.add("slow", GatedModel())
    await neighbour_is_well(client)
    assert await status_in_time(client, "slow") == 504
    asked = [asyncio.create_task(ask_status(client, "slow")) for _ in range(50)]
    await until_soon(lambda: GatedModel.waiting == 1)
    for _ in range(20):
        await neighbour_is_well(client)
    assert await asyncio.gather(*asked) == [504] * 50
    assert GatedModel.waiting == 1  # those who left while they waited were never begun
    GatedModel.gate.set()
    assert await ask(client, "slow", [{"a": 1}]) == [1.0]


async def test_a_few_tenants_that_never_come_back_leave_room_for_the_others(
    tenants: Tenants, client: Client
) -> None:
    for number in range(5):
        tenants.add(f"slow-{number}", GatedModel())
    asked = (status_in_time(client, f"slow-{n}") for n in range(5))
    assert await asyncio.gather(*asked) == [504] * 5
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


async def test_metrics_name_no_more_than_the_heaviest(tenants: Tenants, client: Client) -> None:
    """The number of the other series is that of the first request of a kind, for 200 users as for one."""
    for number in range(200):
        tenants.add(f"metered-{number}", SumModel(plus=number))
    await ask(client, "metered-0", [{"a": 1}])
    await ask_status(client, "nobody")
    before = await metrics(client)
    for number in range(1, 200):
        assert await status_in_time(client, f"metered-{number}", late=(503, 504)) == 200
        assert await status_in_time(client, f"nobody-{number}", late=(503, 504)) == 404
    after = await metrics(client)
    # Those that were slow, on a busy machine, were asked again.
    codes = [f'tenantry_requests_total{{"code": "{code}"}}' for code in (503, 504)]
    _, slow = (sum(seen.pop(code, 0) for code in codes) for seen in (before, after))
    named, early = (
        {series for series in seen if series.startswith("tenantry_tenant_")} for seen in (after, before)
    )
    assert after.keys() - named == before.keys() - early
    assert not [series for series in after.keys() - named if "metered" in series or "user" in series]
    assert not [series for series in after if "nobody" in series], "made up by a client"
    users = {json.loads(series[series.index("{") :])["user_id"] for series in named}
    assert 10 <= len(users) <= 3 * 10
    assert after['tenantry_requests_total{"code": "200"}'] == 200
    assert after['tenantry_requests_total{"code": "404"}'] == 200
    assert after["tenantry_request_seconds_count{}"] == 400 + slow
    assert after["tenantry_cache_cold_loads_total{}"] == after["tenantry_cache_models{}"] == 200
    assert 0 < after["tenantry_cache_bytes{}"] <= after["tenantry_cache_capacity_bytes{}"] == CACHE_BYTES


async def test_metrics_are_in_the_format_that_they_announce(client: Client) -> None:
    async with client.get("/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
