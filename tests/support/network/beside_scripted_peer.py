"""Servers a and c beside a scripted peer, which holds the user's model and does what a test says."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp

from tenantry_server.toys import SumModel
from tests.support.network import scripted_peer
from tests.support.network.scripted_peer import Exchange, Script, ScriptedPeer
from tests.support.processes import cluster
from tests.support.processes.cluster import Cluster, user_for

USER = user_for("peer", "c", "a")  # the peer holds it, then c would, then a
ROWS = b'{"instances": [[1.0, 2.0]]}'
WAYS = [f"/predict/{USER}", f"/predict/{USER}?the=long+way", f"/v2/models/{USER}/infer?x=%20y"]
PLAIN = WAYS[:2]
V2_ROWS = json.dumps(
    {"inputs": [{"name": "input", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}]}
).encode()

Serving = Callable[..., AbstractAsyncContextManager[tuple[Cluster, ScriptedPeer]]]


@asynccontextmanager
async def serving(
    script: Script, names: str = "ac", **settings: Any
) -> AsyncIterator[tuple[Cluster, ScriptedPeer]]:
    """Servers a and c, and a peer that does what `script` says and holds the user's model."""
    models = settings.pop("models", {USER: SumModel})
    async with (
        scripted_peer.running(script) as peer,
        cluster.running(models, {USER: "peer"}, names=names, **settings) as servers,
    ):
        servers.introduce({"peer": peer.url})
        for name in names:  # so that the first of WAYS takes the fast path
            await ask(servers, "/predict/nobody", at=name)
        yield servers, peer


class Reply:
    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.server = response.headers.get("Tenantry-Server")
        self.reason = response.headers.get("Tenantry-Reason")
        self.body = body


async def ask(
    servers: Cluster, path: str = WAYS[0], body: Any = None, *, at: str = "a", **headers: str
) -> Reply:
    """A prediction asked of server a; `a_b` names the header A-B."""
    if body is None:
        body = V2_ROWS if "/v2/" in path else ROWS
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    url = f"{servers[at].url}{path}"
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=sent) as response:
        return Reply(response, await response.read())


async def answers(exchange: Exchange) -> None:
    await exchange.body()
    await exchange.answer(answer_to(exchange))


def answer_to(exchange: Exchange, value: float = 1.0) -> bytes:
    """The body with which a server of ours answers one row, in the protocol of the request."""
    path = exchange.head.split(" ")[1].partition("?")[0]
    output = {"name": "predict", "datatype": "FP64", "shape": [1], "data": [value]}
    documents: dict[str, Any] = {
        "/infer": {"model_name": USER, "outputs": [output]},
        ":predict": {"predictions": [value]},
        f"/forecast/{USER}": {"forecast": [{"time": "2026-12-01", "mean": value}]},
    }
    found = [document for end, document in documents.items() if path.endswith(end)]
    return json.dumps(found[0] if found else [value]).encode()
