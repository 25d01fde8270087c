"""`GET /shards`, and the revision of the map on every answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tenantry.model import Predictions, Rows
from tenantry.placement import SHARDS, shard_of
from tenantry.registry import Changes, Holding, Server, ServerReport
from tenantry_server.app import FAST_PATH
from tenantry_server.toys import SumModel
from tenantry_server.wire.later import Later
from tests.support.processes import cluster
from tests.support.processes.cluster import Cluster
from tests.support.tenants.application import Client


class Quick(SumModel):
    """Says that it only computes, and does so without a DataFrame: so the fast path answers it."""

    may_block = False

    def predict_rows(self, rows: Rows) -> Predictions:
        summed: Predictions = rows.sum(axis=1)
        return summed


HOLDERS = {"ann": "a", "bob": "b"}
ROWS = {"instances": [[1.0, 2.0]]}


@pytest.fixture
async def pair() -> AsyncIterator[Cluster]:
    """Servers a and b, and a map of revision 7."""
    async with cluster.running({"ann": Quick, "bob": Quick}, HOLDERS, names="ab") as pair:
        moved(pair, HOLDERS, 7)
        yield pair


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def moved(pair: Cluster, holders: dict[str, str], revision: int) -> None:
    shards = {shard_of(user): Holding(server, revision=revision) for user, server in holders.items()}
    for node in pair.nodes.values():
        node.table.apply(Changes(revision, complete=False, assignments=[], shards=shards))


async def test_the_map_names_servers_and_owners_and_nobody_else(
    pair: Cluster, session: aiohttp.ClientSession
) -> None:
    """A stranger learns of servers, and not of a single user."""
    async with session.get(f"{pair['a'].url}/shards") as response:
        assert response.status == 200
        text = await response.text()
        document = await response.json()
    assert document.keys() == {"revision", "servers", "owners"}
    assert document["servers"] == [{"id": name, "url": pair[name].url} for name in "ab"]
    assert len(document["owners"]) == SHARDS
    owners = {shard_of("ann"): 0, shard_of("bob"): 1}
    assert {n: owner for n, owner in enumerate(document["owners"]) if owner is not None} == owners
    assert not any(user in text for user in HOLDERS)


async def test_a_client_that_has_the_map_gets_no_body(
    pair: Cluster, session: aiohttp.ClientSession
) -> None:
    address = f"{pair['a'].url}/shards"
    async with session.get(address) as response:
        tag = response.headers["ETag"]
    for known, status in ((tag, 304), (f'"other", W/{tag}', 304), ("*", 304), ('"other"', 200), ("?", 200)):
        async with session.get(address, headers={"If-None-Match": known}) as response:
            assert (response.status, response.headers["ETag"]) == (status, tag), known
            assert bool(await response.read()) == (status == 200)
    async with session.get(f"{pair['b'].url}/shards", headers={"If-None-Match": tag}) as response:
        assert response.status == 304  # servers that know the same give it the same tag
    moved(pair, {"bob": "a"}, 8)
    async with session.get(address, headers={"If-None-Match": tag}) as response:
        assert response.status == 200
        assert (await response.json())["revision"] == 8


async def test_a_server_whose_lease_is_over_is_left_out(
    pair: Cluster, session: aiohttp.ClientSession
) -> None:
    dead = Server("b", pair["b"].url, 1, -1.0, 1 << 20, ServerReport())
    pair["a"].peers.update([dead])
    async with session.get(f"{pair['a'].url}/shards") as response:
        document = await response.json()
    assert document["servers"] == [{"id": "a", "url": pair["a"].url}]
    assert document["owners"][shard_of("bob")] is None


@pytest.mark.parametrize("path", ["/predict/bob", "/v1/models/bob:predict"])
async def test_answers_carry_the_revision_on_every_way(
    pair: Cluster, session: aiohttp.ClientSession, path: str
) -> None:
    """Passed on, by the application, and by the fast path, which a model gets to with its cost measured."""
    fast_path = pair["b"].app[FAST_PATH]
    plainly: list[bytes | Later | None] = []
    answer = fast_path.answer

    def noted(*given: Any) -> bytes | Later | None:
        plainly.append(answer(*given))
        return plainly[-1]

    fast_path.answer = noted  # type: ignore[method-assign,assignment]

    async def ask(name: str) -> None:
        async with session.post(f"{pair[name].url}{path}", json=ROWS) as response:
            assert response.status == 200
            assert response.headers["Tenantry-Server"] == "b"
            assert response.headers["Tenantry-Shards"] == "7"

    await ask("a")
    async with asyncio.timeout(180):
        while not any(plainly):
            await ask("b")


async def test_a_server_that_is_alone_has_an_empty_map(client: Client) -> None:
    async with client.get("/shards") as response:
        assert await response.json() == {"revision": 0, "servers": [], "owners": []}
        assert "Tenantry-Shards" not in response.headers
