"""A sidecar that is cut off from its server, or hears from it late, answers nothing older than Ready."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import numpy as np
import pytest

from tenantry.placement import shard_of
from tenantry.registry import Assignment, Changes, Holding
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry_server import sidecar
from tenantry_server.kernels.affine import Affine
from tenantry_server.kernels.base import Compiled, Head
from tenantry_server.settings import ServerSettings
from tenantry_server.sidecars import footprint, messages, options, routes
from tenantry_server.sidecars.feed import Feed
from tests.support.network.ports import free_ports
from tests.support.network.valve import Valve
from tests.support.processes.cluster import Node
from tests.support.waiting import PATIENCE_S, until_soon

SECRET = "correct horse battery staple"  # noqa: S105 - of this test
ROWS = {"instances": [[1.0, 2.0]]}
OLD, NEW = 13.0, 23.0


def line(intercept: float) -> Compiled:
    return Affine(Head(None, 2, False), np.array([1.0, 1.0]), float(intercept))


class Rig:
    """One server behind a valve, and a sidecar that knows no other way to it.

    Attributes:
        limits: of everyone, as the server says it to the sidecar; it keeps none itself.
    """

    limits = ""

    def __init__(self, node: Node, feed: Feed, valve: Valve, url: str) -> None:
        self.node, self.feed, self.valve, self.url = node, feed, valve, url
        self.session = aiohttp.ClientSession()
        self.ready = False
        self.older: list[Any] = []
        self.answers: list[tuple[int, Any]] = []

    def change(self, revision: int, model_id: str, *, complete: bool = False) -> None:
        row = Assignment("bob", "uid", revision, model_id, revision=revision)
        shards = {shard_of("bob"): Holding("a")} if complete else {}
        changes = Changes(revision, complete, [row], shards, token=f"t{revision}")
        self.node.table.apply(changes)
        self.feed.changed(changes)

    async def is_ready(self) -> bool:
        try:
            async with self.session.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def ask(self) -> tuple[int, Any]:
        """Return the status, and the prediction or the error."""
        ready = self.ready
        async with self.session.post(f"{self.url}/predict/bob", json=ROWS) as response:
            body = await response.json()
            answer = body["predictions"][0] if response.status == 200 else body["error"]
            if ready and answer == OLD:
                self.older.append(answer)
            return response.status, answer

    async def ask_on(self) -> None:
        """Ask without end."""
        while True:
            self.answers.append(await self.ask())

    async def until_near(self) -> None:
        """Until the sidecar answers by itself; it may doubt its server where the machine stood still."""
        while True:
            async with self.session.post(f"{self.url}/predict/bob", json=ROWS) as response:
                text = await response.text()
                if response.status != 200:
                    assert "FleetUnreachable" in text
                elif response.headers["Tenantry-Server"] == "pod":
                    return

    def refused(self, since: int) -> list[Any]:
        """The errors of answers, from that number on, which say that no server can be reached."""
        errors = [error for status, error in self.answers[since:] if status == 503]
        return [error for error in errors if error["reason"] == "FleetUnreachable"]

    async def publish(self) -> None:
        """Put the new version in force at the server, and wait until it would acknowledge that."""
        self.change(2, "bob-2")
        await until_soon(lambda: self.feed.in_force()[0] == 2)
        self.ready = True


@asynccontextmanager
async def running() -> AsyncIterator[Rig]:
    models: dict[str, Callable[[], Any]] = {"bob": lambda: line(10), "bob-2": lambda: line(20)}
    node = Node("a", models, secret=SECRET, near_cache_bytes=1 << 20)
    behind: list[Valve] = []
    known: list[Rig] = []

    def fleet() -> bytes:
        return messages.encode_fleet("a", [("a", behind[0].url, 0.0, False)], known[0].limits)

    feed = Feed(node.table, fleet=fleet)
    node.app.add_routes(routes.routes(feed, FleetSecrets(SECRET)))
    await node.start()
    valve = Valve(node.url)
    behind.append(valve)
    assert node.hops is not None
    node.hops._host = valve.url.removeprefix("http://").encode()
    (port,) = free_ports(1)
    settings = ServerSettings.load(
        server_id="pod", port=port, fleet_url=valve.url, fleet_secret=SECRET, shutdown_s=0.1
    )
    stop = asyncio.Event()
    rig = Rig(node, feed, valve, f"http://127.0.0.1:{port}")
    known.append(rig)
    rig.change(1, "bob", complete=True)
    node.lease(held=True)
    serving = asyncio.create_task(sidecar.serve(options.of(settings), stop))
    try:
        while not serving.done() and not await rig.is_ready():  # noqa: ASYNC110 - another end of a socket
            await asyncio.sleep(0.02)
        yield rig
    finally:
        await rig.session.close()
        stop.set()
        await serving
        valve.close()
        await node.stop()


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """As long as the test runs in this process, it keeps its memory."""
    monkeypatch.setattr(footprint, "shrink", lambda: None)
    async with running() as rig:
        yield rig


@pytest.mark.parametrize("how", ["cut", "hold_answers", "hold_requests"])
async def test_what_is_cut_off_answers_nothing_older_than_ready(rig: Rig, how: str) -> None:
    """Its copy is there, and its lease is over: it refuses, and answers the new one as soon as it can."""
    await rig.until_near()
    asking = asyncio.create_task(rig.ask_on())
    getattr(rig.valve, how)()
    await rig.publish()
    seen = len(rig.answers)
    await until_soon(lambda: rig.refused(seen) or how != "cut")
    rig.valve.open()
    await until_soon(lambda: (200, NEW) in rig.answers)
    asking.cancel()
    assert not rig.older
    if how == "cut":
        assert "TENANTRY_FLEET_URL" in rig.refused(seen)[0]["message"]


async def test_one_in_touch_has_the_new_version_before_it_is_ready(rig: Rig) -> None:
    await rig.until_near()
    asking = asyncio.create_task(rig.ask_on())
    await rig.publish()
    assert await rig.ask() == (200, NEW)
    asking.cancel()
    assert not rig.older


async def test_it_keeps_the_limits_of_the_server_that_it_follows(rig: Rig) -> None:
    """As soon as that one says them, for what it would answer by a copy."""
    await rig.until_near()
    rig.limits = '{"rows":1}'
    two = {"instances": ROWS["instances"] * 2}
    reason = None
    async with asyncio.timeout(PATIENCE_S):
        while reason in (None, "FleetUnreachable"):  # as where the machine stood still
            async with rig.session.post(f"{rig.url}/predict/bob", json=two) as response:
                if response.status != 200:
                    reason = (await response.json())["error"]["reason"]
        assert reason == "RowsTooMany"
        rig.limits = '{"requestsPerSecond":1000.0}'
        server = "pod"
        while server == "pod":  # what has to be counted is counted in one place
            async with rig.session.post(f"{rig.url}/predict/bob", json=ROWS) as response:
                server = response.headers["Tenantry-Server"]
    assert server == "a"


async def test_one_that_is_stopped_leaves_its_server_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "shrink", lambda: None)
    async with running() as rig:
        feed = rig.feed
        assert len(feed) == 1
        left: list[str] = []
        monkeypatch.setattr(feed, "left", partial(_noted, left, feed.left))
    assert left
    assert len(feed) == 0


def _noted(left: list[str], act: Callable[[str], None], follower: str) -> None:
    left.append(follower)
    act(follower)
