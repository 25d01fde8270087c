"""A server that is followed, or asked which models are warm, and is not one of ours: on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tenantry.placement import shard_of
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry_server.peers import warm_query
from tenantry_server.sidecars import following
from tenantry_server.sidecars.feed import LEASE_S
from tenantry_server.sidecars.followed_table import FollowedTable
from tenantry_server.sidecars.following import HttpFetch, ServerFollower
from tests.support.waiting import PATIENCE_S

ROW = {"user_id": "ann", "uid": "u", "generation": 1, "model_id": "a1"}
CHANGES: dict[str, Any] = {
    "revision": 1,
    "complete": True,
    "assignments": [ROW],
    "shards": {"3": {"server_id": "b"}},
    "spread": {"ann": 2},
    "token": "t",
}
RIGHT = {"cursor": "feed.1", "lease_s": 3.0, "changes": [CHANGES]}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers is waited for, however long the machine stands still."""
    for module in (following, warm_query):
        monkeypatch.setattr(module, "_ANSWER_S", PATIENCE_S)


def plain(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""])
    return head.encode() + body


def document(**changed: Any) -> bytes:
    return plain(json.dumps(RIGHT | changed).encode())


def changes(**changed: Any) -> bytes:
    return document(changes=[CHANGES | changed])


@asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers everything with these bytes, and what it was asked."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(raw)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        server.close()


async def followed(raw: bytes, clock_s: Callable[[], float] = lambda: 100.0) -> tuple[FollowedTable, bool]:
    """What a follower knows after it has asked a server that answers so."""
    table = FollowedTable(clock_s=clock_s)
    async with aiohttp.ClientSession() as session, answering(raw) as (url, _):
        follower = ServerFollower(table, list, HttpFetch(session, "me", None), clock_s=clock_s)
        return table, await follower.ask(url)


async def test_a_right_answer_is_followed() -> None:
    table, was_of_use = await followed(document())
    assert was_of_use
    assert (table.peek("ann"), table.holdings[3].server_id) == ("a1", "b")


HOSTILE = {
    "no JSON": plain(b"<html>"),
    "a list": plain(b"[]"),
    "nothing": plain(b""),
    "another status": plain(json.dumps(RIGHT).encode(), status="500 Evil"),
    "a redirect": plain(b"", "Location: http://127.0.0.1:9/", status="302 Found"),
    "two lengths": plain(json.dumps(RIGHT).encode(), "Content-Length: 3"),
    "both framings": plain(json.dumps(RIGHT).encode(), "Transfer-Encoding: chunked"),
    "a body that ends early": document()[:-10],
    "interim answers": b"HTTP/1.1 103 Evil\r\n\r\n" * 3 + plain(b"{}"),
    "a revision that is none": changes(revision="x"),
    "a user that is a number": changes(assignments=[ROW | {"user_id": 7}]),
    "a user that is a list": changes(assignments=[ROW | {"user_id": []}]),
    "a model that is an object": changes(assignments=[ROW | {"model_id": {}}]),
    "replicas that are a text": changes(assignments=[ROW | {"replicas": "2"}]),
    "limits that are a number": changes(assignments=[ROW | {"limits": 5}]),
    "a row without a user": changes(assignments=[{"uid": "u", "generation": 1, "model_id": "m"}]),
    "rows that are a number": changes(assignments=7),
    "a shard beyond the last": changes(shards={"1024": {"server_id": "b"}}),
    "a shard that is a text": changes(shards={"x": {"server_id": "b"}}),
    "an owner that is a number": changes(shards={"3": {"server_id": 1}}),
    "a spread that is a text": changes(spread={"ann": "many"}),
    "a cursor that is a number": document(cursor=1),
    "a long cursor": document(cursor="x" * 1000),
    "a lease that is none": document(lease_s="long"),
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_what_no_server_of_ours_answers_is_not_followed(what: str) -> None:
    """And the follower goes on, to ask the next one."""
    table, was_of_use = await followed(HOSTILE[what])
    assert not was_of_use
    assert not table.lease_held
    assert not table.was_read
    assert not table.holdings


async def test_no_server_grants_a_longer_lease_than_servers_of_ours() -> None:
    now_s = [100.0]
    table, was_of_use = await followed(document(lease_s=1e9), lambda: now_s[0])
    assert was_of_use
    assert table.lease_held
    now_s[0] += LEASE_S + 0.1
    assert not table.lease_held


async def test_a_secret_is_proved_for_challenges_alone() -> None:
    """A proof of another text, which the server chooses, could be of use elsewhere."""
    refused = plain(b"{}", "Tenantry-Challenge: GET /predict/ann", "Set-Cookie: evil=1", status="401 No")
    async with aiohttp.ClientSession() as session, answering(refused) as (url, seen):
        with pytest.raises(ConnectionError, match="401"):
            await HttpFetch(session, "me", FleetSecrets("secret"))(url, "")
    assert len(seen) == 2
    assert not any(b"Tenantry-Proof" in head for head in seen)


ANN, OTHER = "ann", next(user for user in map(str, range(100)) if shard_of(user) != shard_of("ann"))


@pytest.mark.parametrize(
    ("raw", "users"),
    [
        (plain(json.dumps({"users": [ANN, OTHER]}).encode()), [ANN]),
        (plain(b'{"users": [1]}'), None),
        (plain(b'{"users": "ann"}'), None),
        (plain(b"[]"), None),
        (plain(b"<html>"), None),
        (plain(b'{"users": []}', status="503 No"), None),
        (plain(b"", "Location: http://127.0.0.1:9/", status="302 Found"), None),
        (plain(b" " * (17 << 20) + b'{"users": []}'), None),
    ],
    ids=["other shards", "numbers", "a text", "a list", "a page", "a refusal", "a redirect", "too long"],
)
async def test_of_warm_users_only_those_of_the_shards_that_were_asked_about_count(
    raw: bytes, users: list[str] | None
) -> None:
    async with answering(raw) as (url, seen):
        assert await warm_query.ask({url: {shard_of(ANN)}}) == {url: users}
        assert len(seen) == 1
