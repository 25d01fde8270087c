"""Both clients on real servers: whom they ask, and what they do when servers come and go."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, ClassVar

import pandas as pd
import pytest

import tenantry
from tenantry.client import (
    AnswerLost,
    DeadlineExceeded,
    ModelFailed,
    NoServer,
    NotAssigned,
    Predictions,
    RequestRefused,
    asynchronous,
    blocking,
    transport,
)
from tenantry.client.connections import Connection, is_open
from tenantry.client.pool import IdlePool
from tenantry.placement import shard_of
from tenantry.registry import Assignment, Changes, Holding
from tenantry_server.toys import ErrorModel, SumModel
from tests.support.processes import cluster
from tests.support.processes.cluster import Cluster, Node
from tests.support.waiting import PATIENCE_S

Predict = Callable[..., Awaitable[Predictions]]
ROWS = [[1.0, 2.0]]
HOLDERS = {"ann": "a", "bob": "b", "cid": "c", "err": "b"}
MODELS = {"ann": SumModel, "bob": lambda: SumModel(1), "cid": SumModel, "err": ErrorModel}


@pytest.fixture
async def trio() -> AsyncIterator[Cluster]:
    """Servers a, b and c; the shards of users as `HOLDERS` says, by a map of revision 7."""
    async with cluster.running(MODELS, HOLDERS) as trio:
        moved(trio, HOLDERS, 7)
        yield trio


def moved(trio: Cluster, holders: Mapping[str, str], revision: int) -> None:
    """What every server reads after the operator has moved shards."""
    shards = {shard_of(user): Holding(server, revision=revision) for user, server in holders.items()}
    for node in trio.nodes.values():
        node.table.apply(Changes(revision, complete=False, assignments=[], shards=shards))


async def joined(trio: Cluster, name: str) -> None:
    """One more server, which knows what the others do."""
    node = Node(name, MODELS)
    rows = [Assignment(user, f"uid-{user}", 1, user) for user in HOLDERS]
    node.table.apply(Changes(9, complete=True, assignments=rows, shards=dict(trio["a"].table.holdings)))
    node.lease(held=True)
    await node.start()
    trio.nodes[name] = node
    trio.introduce()


class Kept(IdlePool[Connection]):
    """Connections that a blocking client keeps.

    Attributes:
        all: that a test's clients ever kept.
    """

    all: ClassVar[set[Connection]] = set()

    def put(self, url: str, connection: Connection) -> list[Connection]:
        self.all.add(connection)
        return super().put(url, connection)


class Both:
    """A client of either kind, with the methods of the asynchronous one."""

    def __init__(self, kind: str, *servers: str, **options: Any) -> None:
        self.threads = kind == "threads"
        self.client: Any = (
            tenantry.Client(servers, **options)
            if self.threads
            else tenantry.AsyncClient(servers, **options)
        )

    async def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        call = getattr(self.client, method)
        if self.threads:
            return await asyncio.to_thread(call, *args, **options)
        return await call(*args, **options)

    def kept(self) -> int:
        """How many idle connections are open."""
        if self.threads:
            return sum(map(is_open, Kept.all))
        idle = self.client._session.connector._conns.values()
        return sum(connection.is_connected() for kept in idle for connection, _ in kept)


@pytest.fixture(params=["threads", "asyncio"])
async def connect(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Both]]:
    """Makes clients, and closes them; the map is waited for, however busy the machine is."""
    monkeypatch.setattr(transport, "IdlePool", Kept)
    for module in (asynchronous, blocking):
        monkeypatch.setattr(module, "MAP_S", PATIENCE_S)
    Kept.all.clear()
    made: list[Both] = []

    def connect(*servers: str, **options: Any) -> Both:
        made.append(Both(request.param, *servers, **options))
        return made[-1]

    yield connect
    for each in made:
        await each("close")


async def test_no_request_is_passed_on(trio: Cluster, connect: Callable[..., Both]) -> None:
    """The client was given one server, and asks each user's own from the first request on."""
    ask = connect(trio["a"].url)
    for _ in range(5):
        for user, holder in (("ann", "a"), ("bob", "b"), ("cid", "c")):
            answer = await ask("predict", user, ROWS)
            assert (answer.server, answer.passed_on) == (holder, False)
            assert answer.values == [4.0 if user == "bob" else 3.0]
            assert answer.model_id
    assert [node.counts for node in trio.nodes.values()] == [{}, {}, {}]


async def test_without_the_map_they_are(trio: Cluster, connect: Callable[..., Both]) -> None:
    ask = connect(trio["a"].url, direct=False)
    answer = await ask("predict", "bob", ROWS)
    assert (answer.server, answer.passed_on) == ("b", True)
    assert trio["a"].counts == {"answered": 1}


async def test_rows_and_descriptions(trio: Cluster, connect: Callable[..., Both]) -> None:
    ask = connect(trio["a"].url)
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [2.0, 3.0]})
    assert (await ask("predict", "bob", frame)).array().tolist() == [4.0, 6.0]
    assert (await ask("predict", "bob", frame.to_dict("records"))).values == [4.0, 6.0]
    assert (await ask("metadata", "bob"))["name"] == "bob"
    with pytest.raises(NotAssigned) as none:
        await ask("card", "bob")
    assert none.value.reason == "CardNotFound"


async def test_errors_carry_the_servers_words(trio: Cluster, connect: Callable[..., Both]) -> None:
    ask = connect(trio["a"].url)
    with pytest.raises(NotAssigned, match="no model is assigned to user 'nobody'"):
        await ask("predict", "nobody", ROWS)
    with pytest.raises(RequestRefused) as refused:
        await ask("predict", "bob", [["text"]])
    assert refused.value.status == 422
    with pytest.raises(RequestRefused) as only:
        await ask("forecast", "bob", 3)
    assert only.value.reason == "NotAForecaster"
    with pytest.raises(ModelFailed) as failed:
        await ask("predict", "err", ROWS)
    assert (failed.value.reason, failed.value.status, failed.value.server) == ("PredictionFailed", 500, "b")


async def test_servers_leave_and_join_while_many_ask(trio: Cluster, connect: Callable[..., Both]) -> None:
    """A shard moves by plan, its former owner stops, and a new server comes: not one request fails."""
    ask = connect(trio["a"].url, timeout_s=60.0)
    latest: dict[int, tuple[str, bool]] = {}
    failures: list[Exception] = []
    stop = asyncio.Event()

    async def asking(number: int) -> None:
        while not stop.is_set():
            try:
                answer = await ask("predict", "bob", ROWS)
            except Exception as error:
                failures.append(error)
                return
            assert answer.values == [4.0]
            latest[number] = answer.server, answer.passed_on

    async def all_at(server: str) -> None:
        """Until every one of them last asked this server itself, so none has a request elsewhere."""
        async with asyncio.timeout(180):
            while failures or set(latest.values()) != {(server, False)} or len(latest) < 4:
                assert not failures
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(asking(number))
        try:
            await all_at("b")
            moved(trio, {"bob": "c"}, 8)
            await all_at("c")
            await trio["b"].stop()
            del trio.nodes["b"]
            trio.introduce()
            moved(trio, {"bob": "a"}, 9)
            await all_at("a")
            await joined(trio, "d")
            moved(trio, {"bob": "d"}, 10)
            await all_at("d")
        finally:
            stop.set()
    await trio["d"].stop()
    assert failures == []


async def test_a_server_that_died_is_gone_around(trio: Cluster, connect: Callable[..., Both]) -> None:
    """Without a new map, and over a connection that was kept."""
    ask = connect(trio["a"].url)
    assert (await ask("predict", "bob", ROWS)).server == "b"
    kept = ask.kept()
    await trio["b"].stop()
    async with asyncio.timeout(180):
        while ask.kept() == kept:  # noqa: ASYNC110 - a socket that is closed sets no event
            await asyncio.sleep(0.01)
    for _ in range(3):
        answer = await ask("predict", "bob", ROWS)
        assert (answer.server, answer.values) in (("a", [4.0]), ("c", [4.0]))


async def test_a_request_that_ended_its_server_is_sent_once(connect: Callable[..., Both]) -> None:
    """The connection breaks while the server has it: nobody else gets it."""
    got: list[bytes] = []

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Tenantry-Timeout-Ms: " in head
        got.append(head.partition(b"\r\n")[0])
        if head.startswith(b"GET"):
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(die, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ask = connect(f"http://127.0.0.1:{port}", f"http://localhost:{port}")
    with pytest.raises(AnswerLost):
        await ask("predict", "bob", ROWS)
    server.close()
    await server.wait_closed()
    assert [line for line in got if line.startswith(b"POST")] == [b"POST /predict/bob HTTP/1.1"]


async def test_a_call_ends_in_time(connect: Callable[..., Both]) -> None:
    """Where a server accepts and says nothing."""
    quiet: list[asyncio.StreamWriter] = []

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        quiet.append(writer)

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    ask = connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(DeadlineExceeded):
        await ask("predict", "bob", ROWS, timeout_s=0.2)
    for writer in quiet:
        writer.close()
    server.close()


async def test_nobody_listens(connect: Callable[..., Both]) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(NoServer, match=f"http://127.0.0.1:{port}"):
        await connect(f"http://127.0.0.1:{port}")("predict", "bob", ROWS)


def test_what_a_program_imports_for_it() -> None:
    """No server, no pandas, no aiohttp, no database."""
    heavy = ("tenantry_server", "aiohttp", "pandas", "numpy", "sqlalchemy", "pydantic", "structlog", "yaml")
    code = (
        "import sys; from tenantry import Client; Client('http://127.0.0.1:1'); "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
