"""When a server begins to accept."""

import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tenantry.registry import open_engine
from tenantry_server.workers import fork_server
from tests.support.databases.migrated import migrate
from tests.support.network.ports import free_ports
from tests.support.processes.child_process import Child
from tests.support.waiting import PATIENCE_S, until


def test_a_server_that_can_not_load_models_yet_refuses_connections(tmp_path: Path) -> None:
    """A client that is refused asks another server; one whose connection is merely not taken waits."""
    url = f"sqlite:///{tmp_path}/registry.db"
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    (port,) = free_ports(1)
    env = {
        **{name: value for name, value in os.environ.items() if name != fork_server.VARIABLE},
        "TENANTRY_REGISTRY_URL": url,
        "TENANTRY_SERVER_ID": "a",
        "TENANTRY_PORT": str(port),
    }
    child = Child([sys.executable, "-m", "tenantry_server"], log=tmp_path / "a.log", env=env)
    try:
        zygote = until(lambda: _zygote_of(child.pid), "it makes the process that makes workers")
        os.kill(zygote, signal.SIGSTOP)
        with closing(socket.socket()) as client, pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", port))
        os.kill(zygote, signal.SIGCONT)
        child.wait_ready(lambda: _answers(port), timeout_s=PATIENCE_S)
    finally:
        child.stop(grace_s=10)


def _zygote_of(pid: int) -> int:
    """Return the child of the child that watches over it; 0: it is not there yet."""
    with suppress(OSError):
        for child in _children(pid):
            if b"reaper" in Path(f"/proc/{child}/cmdline").read_bytes():
                return next(iter(_children(child)), 0)
    return 0


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False
