"""The proxies of examples/proxies: nginx and HAProxy run, Envoy's and Istio's files are read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tenantry.placement import shard_of
from tenantry_server.toys import SumModel
from tests.support.network import proxies
from tests.support.processes import cluster

USERS = list({shard_of(f"user-{n}"): f"user-{n}" for n in range(64)}.values())
WAYS = ("/predict/{}", "/v1/models/{}:predict", "/v2/models/{}/infer")
BODIES: dict[str, Any] = {
    "/predict/{}": {"instances": [[1.0, 2.0]]},
    "/v1/models/{}:predict": {"instances": [[1.0, 2.0]]},
    "/v2/models/{}/infer": {
        "inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 2], "data": [1.0, 2.0]}]
    },
}


@asynccontextmanager
async def proxied(kind: str, ports: list[int], folder: Path) -> AsyncIterator[str]:
    running = proxies.running(kind, ports, folder)
    url = await asyncio.to_thread(running.__enter__)
    try:
        yield url
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def entry(session: aiohttp.ClientSession, url: str, way: str, user: str) -> str:
    """Which server the proxy asked, whichever answered."""
    async with session.post(url + way.format(user), json=BODIES[way]) as response:
        assert response.status == 200, await response.text()
        return response.headers.get("Tenantry-Hop") or response.headers["Tenantry-Server"]


@pytest.mark.parametrize("kind", proxies.PACKAGES)
async def test_a_user_has_one_server_and_another_one_when_that_is_gone(kind: str, tmp_path: Path) -> None:
    """In every protocol the same; and no request fails while a server is down."""
    models, holders = dict.fromkeys(USERS, SumModel), dict.fromkeys(USERS, "a")
    async with cluster.running(models, holders) as trio, aiohttp.ClientSession() as session:
        ports = [node.port for node in trio.nodes.values()]
        async with proxied(kind, ports, tmp_path) as url:
            asked = {user: {await entry(session, url, way, user) for way in WAYS} for user in USERS}
            assert all(len(entries) == 1 for entries in asked.values())
            assert set().union(*asked.values()) == {"a", "b", "c"}
            await trio["b"].stop()
            for user, before in asked.items():
                for way in WAYS:
                    after = await entry(session, url, way, user)
                    assert after != "b"
                    assert "b" in before or after in before  # the others stay where they were


@pytest.mark.parametrize("kind", proxies.PACKAGES)
@pytest.mark.parametrize(
    "line", ["POST /predict/ann", "POST /v1/models/ann:predict", "GET /forecast/ann?horizon=3"]
)
async def test_a_request_that_ended_a_server_is_sent_once(kind: str, line: str, tmp_path: Path) -> None:
    got: list[str] = []

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if "/readyz" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        else:
            got.append(head.partition(" HTTP/")[0])
        writer.close()

    servers = [await asyncio.start_server(die, "127.0.0.1", 0) for _ in range(3)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    method, path = line.split(" ")
    async with (
        proxied(kind, ports, tmp_path) as url,
        aiohttp.ClientSession() as session,
        session.request(method, url + path, json=[] if method == "POST" else None) as response,
    ):
        assert response.status == 502
    for server in servers:
        server.close()
    assert got == [line]


@pytest.mark.parametrize("name", ["envoy.yaml", "istio.yaml"])
def test_meshes_repeat_only_what_was_not_sent(name: str) -> None:
    """Both repeat more by default, or where examples on the web say so."""
    documents = list(yaml.safe_load_all((proxies.EXAMPLES / name).read_text()))
    found = list(_values(documents, ("retry_on", "retryOn")))
    assert found == ["connect-failure"]


def _values(document: Any, names: tuple[str, ...]) -> Any:
    if isinstance(document, dict):
        for name, value in document.items():
            if name in names:
                yield value
            yield from _values(value, names)
    elif isinstance(document, list):
        for each in document:
            yield from _values(each, names)
