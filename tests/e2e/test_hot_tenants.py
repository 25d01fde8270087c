"""A tenant that is too much for one server: nobody says so, and the next moment two servers share it."""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import up as ups
from tests.support.processes.up import Up
from tests.support.waiting import until

SERVERS = {"server-0", "server-1"}
BUSY = """
import time

import numpy as np
from tenantry import Model


class Busy(Model):
    def predict(self, data):
        ends_s = time.thread_time() + 0.02
        while time.thread_time() < ends_s:
            pass
        return np.full(len(data), 7.0)
"""
MANIFEST = """
apiVersion: tenantry.dev/v1alpha1
kind: TenantModel
metadata: {name: busy}
spec: {userId: busy, model: {uri: 'file://%s'}}
"""
LATEST, CLIENTS = 24, 3
BUSY_S = 400.0  # others may want the cores: it takes two seconds in which the model has 30 % of one


class Crowd:
    """Clients that ask as fast as they are answered; who answered lately."""

    def __init__(self, up: Up) -> None:
        self._up = up
        self._over = threading.Event()
        self.answered: deque[str] = deque(maxlen=LATEST)

    @contextmanager
    def asking(self) -> Iterator[None]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(self._ask) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                self._over.set()
        for client in clients:
            client.result()

    def _ask(self) -> None:
        while not self._over.is_set():
            reply = self._up.predict("busy", [{"x": 1.0}])
            assert (reply.status, reply.body) == (200, [7.0])
            self.answered.append(reply.headers["Tenantry-Server"])

    @property
    def is_shared(self) -> bool:
        """Whether each server gave a good part of the latest answers."""
        latest = list(self.answered)
        parts = [latest.count(server_id) for server_id in SERVERS]
        return len(latest) == LATEST and min(parts) >= LATEST // 4


def test_a_tenant_that_keeps_a_server_busy_is_shared_by_two(tmp_path: Path) -> None:
    """And `tenantry get shards USER` names both."""
    (tmp_path / "acme.py").write_text(BUSY)
    (tmp_path / "busy.toml").write_text('class = "acme:Busy"\n')
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "busy.yaml").write_text(MANIFEST % (tmp_path / "busy.toml"))
    with ups.running(manifests, tmp_path / "state", env={"PYTHONPATH": str(tmp_path)}) as up:
        up.until_ready(1)
        until(lambda: _live(up) == SERVERS, "both servers live")
        up.until_shared(2)
        # A server that knows no other yet answers itself, so two would seem to share it.
        until(lambda: len(_answering(up)) == 1, "whichever is asked, the holder answers")
        assert len(_holders(up)) == 1
        crowd = Crowd(up)
        with crowd.asking():
            until(lambda: crowd.is_shared, "two servers share it", timeout_s=BUSY_S)
            until(lambda: set(_holders(up)) == SERVERS, "both are named")


def _live(up: Up) -> set[str]:
    return {server["serverId"] for server in up.get("servers")}


def _answering(up: Up) -> set[str]:
    """Who answers, of those that each live server has answer; nobody while there are not two."""
    urls = up.servers()
    replies = [up.predict("busy", [{"x": 1.0}], url) for url in urls if len(urls) == len(SERVERS)]
    return {reply.headers["Tenantry-Server"] for reply in replies}


def _holders(up: Up) -> list[str]:
    holders: list[str] = up.get("shards", "busy")["servers"]
    return holders
