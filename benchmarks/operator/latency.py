"""One change on an idle system: how long until Ready, and until the first answer by the new version."""

import asyncio
import json
import time
from typing import Any

import aiohttp
from tests.support.kubernetes.home import TENANT_MODELS, Home
from tests.support.waiting import until

from benchmarks.operator.cluster import Cluster
from benchmarks.operator.report import Row, quantile, show

_SERVERS = 3
_ASK_EVERY_S = 0.002


async def measure(cluster: Cluster, home: Home, count: int) -> None:
    """Print quantiles over `count` updates of one tenant, one after the other."""
    watching = {"TENANTRY_KUBERNETES_WATCH": "true"}
    for n in range(_SERVERS):
        home.start_server(f"server-{n}", watching)
    home.start_operator()
    await asyncio.to_thread(until, lambda: len(home.servers()) == _SERVERS, "the servers")
    home.apply(home.publish("ann", 1.0))
    await asyncio.to_thread(home.until, "ann", "Ready")
    url = next(iter(home.servers().values()))
    ready_ms, answer_ms = [], []
    async with cluster.connected() as session, aiohttp.ClientSession(url) as client:
        for n in range(count):
            slope = float(n + 2)
            document = home.publish("ann", slope).to_manifest()
            async with session.get(f"{TENANT_MODELS}/ann") as response:
                found = await response.json()
            found["spec"] = document["spec"]
            watch = asyncio.create_task(_until_ready(session, found["metadata"]))
            answer = asyncio.create_task(_until_answered(client, slope))
            await asyncio.sleep(0.3)  # the system is idle again, and the watch stands
            began_s = time.perf_counter()
            async with session.put(f"{TENANT_MODELS}/ann", json=found) as response:
                assert response.status == 200, await response.text()
            ready_ms.append((await watch - began_s) * 1e3)
            answer_ms.append((await answer - began_s) * 1e3)
    p50, p99 = quantile(ready_ms, 0.5), quantile(ready_ms, 0.99)
    first50, first99 = quantile(answer_ms, 0.5), quantile(answer_ms, 0.99)
    show(
        f"One change on an idle system, {_SERVERS} servers, {count} times, "
        f"{home.registry_url.partition(':')[0]}",
        [
            Row("apply to Ready, p50", f"{p50:.0f} ms", "300 ms", p50 <= 300),
            Row("apply to Ready, p99", f"{p99:.0f} ms", "1 s", p99 <= 1000),
            Row("apply to the first answer by the new version, p50", f"{first50:.0f} ms"),
            Row("apply to the first answer by the new version, p99", f"{first99:.0f} ms"),
        ],
    )


async def _until_ready(session: aiohttp.ClientSession, seen: dict[str, Any]) -> float:
    """The moment when a newer generation than the one that was seen is Ready."""
    query = {"watch": "true", "resourceVersion": seen["resourceVersion"], "timeoutSeconds": "30"}
    async with session.get(TENANT_MODELS, params=query) as response:
        async for line in response.content:
            found = json.loads(line)["object"]
            status = found["status"]
            newer = found["metadata"]["generation"] > seen["generation"]
            if newer and status["observedGeneration"] == found["metadata"]["generation"]:
                assert status["conditions"][0]["status"] == "True", status
                return time.perf_counter()
    raise AssertionError("not Ready within 30 s")


async def _until_answered(client: aiohttp.ClientSession, expected: float) -> float:
    """The moment of the first answer by the version that multiplies by `expected`."""
    while True:
        async with client.post("/predict/ann", json={"instances": [[1.0]]}) as response:
            body = await response.json()
        if response.status == 200 and abs(body["predictions"][0] - expected) < 1e-9:
            return time.perf_counter()
        await asyncio.sleep(_ASK_EVERY_S)
