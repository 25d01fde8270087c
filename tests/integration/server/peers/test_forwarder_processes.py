"""Servers as processes that are killed and paused while they answer for others' clients."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tenantry_server.toys import SlowModel
from tests.support.processes import servers
from tests.support.processes.servers import Servers
from tests.support.waiting import PATIENCE_S

ROWS = json.dumps({"instances": [[1, 2]]}).encode()
USERS = [f"user-{number}" for number in range(8)]
DELAY_S = 0.1


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Three servers: one to ask, and two that may come to harm."""
    with servers.running(tmp_path_factory.mktemp("servers"), 3) as running:
        for number, user_id in enumerate(USERS):
            running.add(user_id, SlowModel(DELAY_S, plus=number), "server-0")
        yield running


@pytest.fixture
def victim(running: Servers) -> str:
    """A server that runs and holds every shard."""
    victim = running.running()[-1]
    running.hold_all(victim)
    running.until_acknowledged()
    return victim


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Answers:
    """What every user was answered at one server, asked at once."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, number: int) -> str:
        """The server that answered, after the answer was found right."""
        url = f"{self._url}/predict/{USERS[number]}"
        async with self._session.post(url, data=ROWS) as response:
            body = await response.read()
            assert (response.status, json.loads(body)) == (200, {"predictions": [3.0 + number]}), body
            return response.headers["Tenantry-Server"]

    async def all(self) -> list[str]:
        return await asyncio.gather(*map(self.ask, range(len(USERS))))

    async def until_all_by(self, server_id: str) -> None:
        """Ask until one server answers all; where the machine stood still, it was doubted for a moment."""
        async with asyncio.timeout(PATIENCE_S):
            while set(await self.all()) != {server_id}:
                pass


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_requests_to_a_dead_or_paused_peer_are_answered_by_another_server(
    running: Servers, victim: str, session: aiohttp.ClientSession, how: signal.Signals
) -> None:
    """Every request in flight there, and those that follow; no client sees an error."""
    at_first = Answers(session, running.url("server-0"))
    await at_first.until_all_by(victim)
    asking = asyncio.create_task(at_first.all())
    await asyncio.sleep(DELAY_S / 2)  # they are on their way; whether all have arrived does not matter
    pid = running.children[victim].pid
    os.kill(pid, how)
    try:
        assert not asking.done()
        await asking
        for _ in range(2):
            assert victim not in set(await at_first.all())
    finally:
        if how == signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)
    if how == signal.SIGSTOP:
        for _ in range(100):  # each takes the model's time
            if victim in set(await at_first.all()):
                return
        pytest.fail("the server that went on was asked by nobody")


async def test_a_server_that_is_stopped_gracefully_drops_no_request(
    running: Servers, victim: str, session: aiohttp.ClientSession
) -> None:
    at_first = Answers(session, running.url("server-0"))
    asking = asyncio.create_task(at_first.all())
    stopping = asyncio.create_task(asyncio.to_thread(running.children[victim].stop, grace_s=30))
    await asking
    while not stopping.done():
        await at_first.all()
    assert victim not in set(await at_first.all())
