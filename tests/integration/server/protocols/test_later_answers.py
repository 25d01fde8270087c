"""Answers of the fast path that come later: in order, in time, and to those that still want them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar

import pandas as pd
import pytest

from tenantry.model import Predictions
from tenantry_server.protocols.fast_path import FastPath
from tenantry_server.toys import SumModel
from tenantry_server.wire import connections, later
from tenantry_server.wire.heads import Block, Target
from tenantry_server.wire.later import Later
from tests.integration.server.protocols.test_fast_path import ROW, Quick, abort, request
from tests.support.network.ports import free_ports
from tests.support.processes import cluster
from tests.support.processes.cluster import Node, user_for
from tests.support.waiting import PATIENCE_S, until_soon

GONE = user_for("peer", "a")  # of a server that is down


class Held(SumModel):
    """Called beside the event loop, as a model in a worker is; answers once it may."""

    elsewhere = True
    may = threading.Event()
    called = threading.Event()

    def predict(self, data: pd.DataFrame) -> Predictions:
        self.called.set()
        assert self.may.wait(PATIENCE_S)
        return super().predict(data)


class Broken(SumModel):
    elsewhere = True
    calls = 0

    def predict(self, data: pd.DataFrame) -> Predictions:  # noqa: ARG002 - it never gets so far
        type(self).calls += 1
        raise RuntimeError("broken")


Answer = tuple[int, dict[str, str], bytes]


class Client:
    """A connection to a server that knows its heads.

    Attributes:
        all: those that are open.
    """

    all: ClassVar[list["Client"]] = []

    def __init__(self, node: Node) -> None:
        self.node = node

    async def open(self, *, asks: bool = True) -> "Client":
        self.all.append(self)
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.node.port)
        if asks:
            self.writer.write(request("POST /predict/nobody"))
            assert (await self.answer())[0] == 404
        connections = self.node.server.connections
        open_ones = [each for each in self.all if not each.writer.is_closing()]
        await until_soon(lambda: len(connections) >= len(open_ones))
        await until_soon(lambda: all(each._idle() for each in connections))  # type: ignore[attr-defined]
        return self

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.strip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers["Content-Length"]))
            return int(status.split()[1]), headers, body

    async def ask(self, user_id: str) -> Answer:
        self.writer.write(request(f"POST /predict/{user_id}"))
        return await self.answer()


@pytest.fixture
async def later_taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Users whose answers came later."""
    taken: list[str] = []
    whole = FastPath.answer

    def noted(self: FastPath, target: Target, block: Block, body: bytes) -> bytes | Later | None:
        found = whole(self, target, block, body)
        if found is not None and not isinstance(found, bytes):
            taken.append(target.user_id)
        return found

    monkeypatch.setattr(FastPath, "answer", noted)
    return taken


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A server that has loaded what is asked of it, and knows that another one is down."""
    Held.may.set()
    models = {"ann": Quick, "held": Held, "broken": Broken, GONE: Quick}
    holders = {"ann": "a", "held": "a", "broken": "a", GONE: "peer"}
    async with cluster.running(models, holders, names="a") as one:
        one.introduce({"peer": f"http://127.0.0.1:{free_ports(1)[0]}"})
        client = await Client(one["a"]).open()
        for user_id in ("ann", "held", "broken"):
            assert (await client.ask(user_id))[0] == (500 if user_id == "broken" else 200)
        Held.may.clear()
        Held.called.clear()
        yield one["a"]
        Held.may.set()
        while Client.all:
            await abort(Client.all.pop().writer)


async def held(node: Node) -> Client:
    """A client whose request is under way."""
    client = await Client(node).open(asks=False)
    client.writer.write(request("POST /predict/held"))
    await until_soon(Held.called.is_set)
    return client


def waiting(node: Node) -> later.Connection:
    """The connection on which an answer is awaited."""
    every = (each for each in node.server.connections if isinstance(each, later.Connection))
    (found,) = (each for each in every if each._later is not None)
    return found


def reads(connection: later.Connection) -> bool:
    assert connection.transport is not None
    return connection.transport.is_reading()


def of_aiohttp(node: Node) -> int:
    """Requests that aiohttp has made objects of."""
    return sum(1 for each in node.server.connections if each._current_request is not None)


async def test_what_comes_behind_is_answered_behind(node: Node, later_taken: list[str]) -> None:
    client = await held(node)
    assert of_aiohttp(node) == 0
    for user_id in ("ann", "held", "nobody", "ann"):
        client.writer.write(request(f"POST /predict/{user_id}"))
        await asyncio.sleep(0)
    Held.may.set()
    answers = [await client.answer() for _ in range(5)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 404, 200]
    assert {body for status, _, body in answers if status == 200} == {b"[3.0]"}
    assert later_taken[0] == "held"


async def test_little_is_kept_of_a_client_that_does_not_wait(node: Node) -> None:
    """Then the server reads no more of it, until the answer is there."""
    client = await held(node)
    connection = waiting(node)
    for _ in range(20):
        client.writer.write(request("POST /predict/ann", ROW + b" " * 20_000))
    await until_soon(lambda: not reads(connection))
    Held.may.set()
    for _ in range(21):
        assert (await client.answer())[2] == b"[3.0]"
    assert reads(connection)


async def test_a_failure_has_the_applications_words_and_is_not_repeated(
    node: Node, later_taken: list[str]
) -> None:
    client = await Client(node).open()
    calls = Broken.calls
    status, headers, body = await client.ask("broken")
    assert (status, headers["Tenantry-Reason"], Broken.calls) == (500, "PredictionFailed", calls + 1)
    assert b"broken" in body
    assert later_taken == ["broken"]
    assert (await client.ask("ann"))[0] == 200


async def test_what_no_peer_answers_is_answered_here(node: Node, later_taken: list[str]) -> None:
    """The application knows that it was tried."""
    client = await Client(node).open()
    assert (await client.ask(GONE))[2] == b"[3.0]"
    assert (later_taken, node.counts) == ([GONE], {"self": 1})


async def test_nobody_waits_for_an_answer_whose_client_has_left(node: Node) -> None:
    client = await held(node)
    assert isinstance(waiting(node)._later, later.InTask)
    (task,) = (each for each in asyncio.all_tasks() if "InTask._run" in repr(each))
    await abort(client.writer)
    await until_soon(task.cancelled)
    Held.may.set()
    assert (await (await Client(node).open()).ask("ann"))[0] == 200


async def _keepalive(node: Node) -> None:
    for each in node.server.connections:
        each._next_keepalive_close_time = 0.0
        each._process_keepalive()


async def _mute(node: Node) -> None:
    watching = asyncio.create_task(connections.close_mute(node.server, 0.01))
    await asyncio.sleep(0.1)
    watching.cancel()


async def _pre_shutdown(node: Node) -> None:
    node.server.pre_shutdown()


@pytest.mark.parametrize("what", [_keepalive, _mute, _pre_shutdown])
async def test_a_connection_that_waits_for_an_answer_is_not_idle(
    node: Node, what: Callable[[Node], Awaitable[None]]
) -> None:
    """To aiohttp it is."""
    client = await held(node)
    await what(node)
    Held.may.set()
    assert (await client.answer())[0] == 200
    if what is _pre_shutdown:
        assert await client.reader.read() == b""
    else:
        assert (await client.ask("ann"))[0] == 200


async def test_a_server_that_stops_waits_for_its_answers(node: Node) -> None:
    client = await held(node)
    server = node.server
    server.pre_shutdown()
    stopping = asyncio.create_task(server.shutdown(PATIENCE_S))
    await asyncio.sleep(0)
    Held.may.set()
    assert (await client.answer())[0] == 200
    await stopping
    assert await client.reader.read() == b""


async def test_a_server_that_stops_does_not_wait_without_end(node: Node) -> None:
    client = await held(node)
    await node.server.shutdown(0.05)
    assert await client.reader.read() == b""
