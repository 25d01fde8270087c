"""A server that was paused does not take what it missed meanwhile for a silent registry."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from tenantry_server.toys import SumModel
from tests.support.databases.postgres import PostgresServer
from tests.support.network.clients import loopback_http
from tests.support.processes import servers
from tests.support.processes.servers import Servers
from tests.support.waiting import PATIENCE_S, until

_SERVER = "server-0"
_USER = "ann"
_AT_ONCE = 8


@pytest.fixture
def running(postgres: PostgresServer, tmp_path: Path) -> Iterator[Servers]:
    with servers.running(
        tmp_path, 1, TENANTRY_REGISTRY_URL=postgres.registry(), TENANTRY_LEASE_S="3"
    ) as running:
        running.add(_USER, SumModel(), _SERVER)
        running.until_acknowledged()
        assert answered(running) == 3.0
        yield running


def answered(running: Servers, url: str = "") -> float:
    url = f"{url or running.url(_SERVER)}/predict/{_USER}"
    status, body = loopback_http.exchange("POST", url, {"instances": [[1.0, 2.0]]}, timeout_s=PATIENCE_S)
    assert status == 200, body
    return float(body["predictions"][0])


@contextmanager
def renewal_held_up(running: Servers) -> Iterator[None]:
    """During the block a renewal of the lease waits for a lock."""
    with running.engine.begin() as connection:
        connection.execute(text("LOCK TABLE servers IN EXCLUSIVE MODE"))
        waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'servers'::regclass")
        until(lambda: connection.execute(waits).scalar_one() > 0, "a renewal waits")
        yield


def test_after_a_pause_that_broke_its_transaction_a_server_asks_sql(running: Servers) -> None:
    """PostgreSQL ends it after 4 s without its client, and the server wakes in the middle of it."""
    url = running.url(_SERVER)
    with renewal_held_up(running):
        os.kill(running.children[_SERVER].pid, signal.SIGSTOP)
    until(lambda: not _in_transaction(running), "PostgreSQL has ended the transaction")
    until(lambda: _SERVER not in running.live(), "the lease is over")
    running.assign(_USER, SumModel(plus=10), version=2)  # no live server holds it back: it is Ready
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = [pool.submit(answered, running, url) for _ in range(_AT_ONCE)]
        os.kill(running.children[_SERVER].pid, signal.SIGCONT)
        assert {each.result() for each in asked} == {13.0}


def _in_transaction(running: Servers) -> bool:
    sessions = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE state LIKE 'idle in transaction%' "
        "AND pid <> pg_backend_pid() AND datname = current_database()"
    )
    with running.engine.connect() as connection:
        return bool(connection.execute(sessions).scalar_one())
