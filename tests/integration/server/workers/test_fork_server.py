"""Servers of one machine have their zygotes made by one process that imported the libraries."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry_server.workers import fork_server
from tenantry_server.workers.fork_server import ForkServer
from tenantry_server.workers.forking import Forked, Zygote, environment
from tests.support.processes.shown import descriptors, parent
from tests.support.waiting import until


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    running = ForkServer(environment(os.environ))
    yield running
    running.close()


@pytest.fixture
def given(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> int:
    """This process was given it; its process id."""
    monkeypatch.setenv(fork_server.VARIABLE, server.named)
    return server.pid


def _ignored(_pid: int, _status: int) -> None:
    pass


def _end(worker: Forked) -> None:
    worker.kill()
    worker.close()
    worker.channel.close()
    os.close(worker.output)


def _folder(pid: int) -> Path:
    return Path(f"/proc/{pid}/cwd").readlink()


def _sockets(pid: int) -> set[str]:
    return {each for each in descriptors(pid) if each.startswith("socket:")}


def _gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def _zygote_pid(zygote: Zygote) -> int:
    zygote.start()
    await zygote.until_imported()
    assert zygote.pid is not None
    return zygote.pid


async def test_it_makes_zygotes_which_make_workers(given: int) -> None:
    first, second = (Zygote(_ignored) for _ in range(2))
    pids = [await _zygote_pid(each) for each in (first, second)]
    assert {parent(parent(pid)) for pid in pids} == {given}
    worker = await first.fork()
    assert parent(worker.pid) == pids[0]
    _end(worker)
    second.close()
    until(lambda: _gone(pids[1]), "the zygote ends with its front")
    assert not _gone(pids[0])
    first.close()
    until(lambda: _gone(pids[0]), "so does the other")


async def test_a_zygote_is_as_its_front(
    given: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAID_BY_THE_FRONT", "1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    zygote = Zygote(_ignored)
    pid = await _zygote_pid(zygote)
    worker = await zygote.fork()
    try:
        assert _folder(pid) == tmp_path
        # No way leads to the fork server: a zygote that a model asked for would hold it in nothing.
        until(lambda: len(_sockets(given)) == 1, "the fork server has closed what it passed on")
        ways = _sockets(given)
        ways.add(f"socket:[{os.environ[fork_server.VARIABLE].partition(':')[2]}]")
        assert len(ways) == 2
        assert not ways & descriptors(pid)
        until(lambda: not ways & descriptors(worker.pid), "the worker has closed what it inherited")
    finally:
        _end(worker)
        zygote.close()


@pytest.mark.parametrize("named", ["", "7", "x:y", "1:1", "999999:5", "-1:3"])
def test_another_descriptor_is_not_taken_for_it(named: str) -> None:
    """As where a process inherited the variable and not the socket."""
    assert fork_server.inheritable({fork_server.VARIABLE: named}) == ()


async def test_without_it_servers_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end ends no zygote; the next one is made by the front itself."""
    running = ForkServer(environment(os.environ))
    monkeypatch.setenv(fork_server.VARIABLE, running.named)
    before, after = (Zygote(_ignored) for _ in range(2))
    made = await _zygote_pid(before)
    os.kill(running.pid, signal.SIGKILL)
    running._process.wait()
    worker = await before.fork()
    assert parent(worker.pid) == made
    _end(worker)
    assert parent(parent(await _zygote_pid(after))) == os.getpid()
    before.close()
    after.close()
    running.close()


async def test_it_ends_when_nobody_can_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it made goes on."""
    running = ForkServer(environment(os.environ))
    monkeypatch.setenv(fork_server.VARIABLE, running.named)
    zygote = Zygote(_ignored)
    made = await _zygote_pid(zygote)
    running._asking.close()
    running._process.wait()
    worker = await zygote.fork()
    assert parent(worker.pid) == made
    _end(worker)
    zygote.close()
    running.close()
