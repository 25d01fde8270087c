"""A bare aiohttp client of the API server: what a benchmark does to it, and what it costs."""

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.home import TENANT_MODELS

_T = TypeVar("_T")
CONCURRENCY = 32


class Cluster:
    """The API server as its admin sees it.

    Args:
        plane: running.
    """

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Kept-alive connections, as many as calls at once."""
        trust = ssl.create_default_context(cafile=self.plane.ca_file)
        async with aiohttp.ClientSession(
            self.plane.url,
            connector=aiohttp.TCPConnector(limit=CONCURRENCY, ssl=trust),
            headers={"Authorization": f"Bearer {self.plane.admin_token}"},
        ) as session:
            yield session

    async def create(self, documents: Iterable[dict[str, Any]]) -> None:
        """POST each."""
        async with self.connected() as session:

            async def one(document: dict[str, Any]) -> None:
                async with session.post(TENANT_MODELS, json=document) as response:
                    assert response.status == 201, await response.text()
                    await response.read()

            await at_once(one, documents)

    async def patch_statuses(self, statuses: dict[str, dict[str, Any]]) -> None:
        """PATCH each, and nothing else: the fastest that a Python client could do."""
        kind = {"Content-Type": "application/merge-patch+json"}
        async with self.connected() as session:

            async def one(name: str) -> None:
                body = json.dumps({"status": statuses[name]})
                path = f"{TENANT_MODELS}/{name}/status"
                async with session.patch(path, data=body, headers=kind) as response:
                    assert response.status == 200, await response.text()
                    await response.read()

            await at_once(one, statuses)

    async def listed(self) -> list[dict[str, Any]]:
        """Every TenantModel."""
        async with self.connected() as session, session.get(TENANT_MODELS) as response:
            found: list[dict[str, Any]] = (await response.json())["items"]
            return found

    def requests(self) -> dict[str, int]:
        """Calls about TenantModels that the audit log counts, by verb; statuses and refusals apart."""
        assert self.plane.audit_log is not None
        calls: Counter[str] = Counter()
        with self.plane.audit_log.open() as log:
            for line in log:
                if '"resource":"tenantmodels"' in line and '"stage":"ResponseComplete"' in line:
                    called = json.loads(line)
                    of_status = called["objectRef"].get("subresource") == "status"
                    refused = called["responseStatus"]["code"] >= 400
                    words = (called["verb"], "status" if of_status else "", "refused" if refused else "")
                    calls[" ".join(word for word in words if word)] += 1
        return calls


async def at_once(call: Callable[[_T], Coroutine[Any, Any, None]], items: Iterable[_T]) -> None:
    """Call it for each, CONCURRENCY at a time."""
    left = iter(items)

    async def work() -> None:
        for item in left:
            await call(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENCY):
            group.create_task(work())
