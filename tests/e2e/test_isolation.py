"""One tenant does its worst to a fleet of three, and its neighbours are asked meanwhile.

What a tenant's code may still do to a server is in docs/limits.md.
"""

import http.client
import json
import os
import signal
import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVR

from tenantry_server import publish
from tests.support.databases.postgres import PostgresServer
from tests.support.processes import up as ups
from tests.support.processes.up import Up, ask
from tests.support.tenants.hostile import Ends, HeldUp, Parallels, Reconfigures, Waits
from tests.support.waiting import PATIENCE_S, until

MIB = 1 << 20
READ_S = 5.0
ARRIVING_BYTES = 64 * MIB
FRAME = pd.DataFrame({"x": np.linspace(0.0, 1.0, 20), "y": np.linspace(1.0, 3.0, 20)})
ROW = [{"x": 0.5, "y": 2.0}]


class Site:
    """A fleet, and what it is asked.

    Attributes:
        expected: user -> rows, and what plain scikit-learn answers for them.
    """

    def __init__(self, up: Up, folder: Path) -> None:
        self.up = up
        self.folder = folder
        self.expected: dict[str, tuple[Any, float]] = {}

    def publish(self, user_id: str, model: Any) -> None:
        publish(model, user_id=user_id, to=self.folder / "models", manifests=self.up.manifests)

    def add_neighbour(self, user_id: str, fitted: Any, rows: Any) -> None:
        self.publish(user_id, fitted)
        self.expected[user_id] = rows, float(fitted.predict(pd.DataFrame(rows))[0])

    def wrong(self, user_id: str, url: str | None = None) -> str:
        """What is wrong with a neighbour's answer; empty: nothing."""
        rows, expected = self.expected[user_id]
        reply = self.up.predict(user_id, rows, url)
        if reply.status != 200:
            return f"{user_id}: {reply.status} {reply.body}"
        seen = float(reply.body[0])
        return "" if abs(seen - expected) <= 1e-9 else f"{user_id}: {seen}"

    @contextmanager
    def neighbours(self) -> Iterator[Counter[str]]:
        """Ask for every neighbour at every server all the time; the counts of what came back."""
        seen: Counter[str] = Counter()
        urls, stop = self.up.servers(), threading.Event()

        def asking() -> None:
            while not stop.is_set():
                for url in urls:
                    for user_id in self.expected:
                        try:
                            seen[self.wrong(user_id, url) or "right"] += 1
                        except OSError as error:
                            seen[repr(error)] += 1

        thread = threading.Thread(target=asking)
        thread.start()
        try:
            yield seen
            until(lambda: seen["right"] > 30, "the neighbours are answered")
        finally:
            stop.set()
            thread.join()

    def metric(self, name: str) -> float:
        """A gauge, over all servers."""
        total = 0.0
        for url in self.up.servers():
            lines = ask(urllib.request.Request(f"{url}/metrics")).body.splitlines()
            total += sum(float(line.split()[1]) for line in lines if line.startswith(f"tenantry_{name} "))
        return total

    def resident_bytes(self) -> dict[str, int]:
        """Of each server."""
        sizes = {}
        for name, pid in self.up.pids.items():
            if name.startswith("server"):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                sizes[name] = pages * os.sysconf("SC_PAGE_SIZE")
        return sizes


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("isolation")
    manifests = folder / "tenants"
    manifests.mkdir()
    env = {
        "OMP_NUM_THREADS": "1",
        "TENANTRY_READ_TIMEOUT_S": str(READ_S),
        "TENANTRY_LOAD_TIMEOUT_S": "3",
        "TENANTRY_PREDICT_TIMEOUT_S": "8",
        "TENANTRY_MAX_ARRIVING_BYTES": str(ARRIVING_BYTES),
    }
    with ups.running(manifests, folder / "state", servers=3, env=env) as up:
        site = Site(up, folder)
        target = FRAME.sum(axis=1)
        models = {
            "ridge": make_pipeline(StandardScaler(), Ridge()).fit(FRAME, target),
            "svr": make_pipeline(StandardScaler(), SVR()).fit(FRAME, target),
            "logs": make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), SVR()).fit(
                FRAME, target
            ),
        }
        for user_id, model in models.items():
            site.add_neighbour(user_id, model.fit(FRAME, target), ROW)
        # Text keeps a model in the threads that hostile ones use too.
        cities = pd.DataFrame({"city": ["rome", "oslo"] * 10})
        encoded = make_pipeline(ColumnTransformer([("city", OneHotEncoder(), ["city"])]), Ridge())
        site.add_neighbour("cities", encoded.fit(cities, target), [{"city": "oslo"}])
        up.until_ready(len(site.expected))
        until(lambda: len(up.servers()) == 3, "three servers")
        yield site


def test_files_of_the_kernel_hold_up_no_decision(site: Site) -> None:
    """Each was hashed for good in a thread of the operator's; then no TenantModel was decided any more."""
    for number in range(16):
        (site.up.manifests / f"kernel-{number}.yaml").write_text(
            "apiVersion: tenantry.dev/v1alpha1\nkind: TenantModel\n"
            f"metadata: {{name: kernel-{number}}}\n"
            f"spec: {{userId: kernel-{number}, model: {{uri: 'file:///proc/self/pagemap'}}}}\n"
        )
    with site.neighbours() as seen:
        for number in range(16):
            status = site.up.until_settled(f"kernel-{number}", "ArtifactOutsideRoots")
            assert "is not below a folder that artifacts may come from" in status["message"]
        site.publish("late", make_pipeline(StandardScaler(), Ridge()).fit(FRAME, FRAME["x"]))
        site.up.until_settled("late", "Ready")
    assert set(seen) == {"right"}


def test_bodies_that_never_end_take_a_bounded_share(site: Site) -> None:
    """150 connections that send all but the last bytes of 8 MiB: they took 2.2 GiB, for good."""
    url = urlsplit(site.up.servers()[0])
    held: list[socket.socket] = []
    body = b" " * MIB
    with site.neighbours() as seen:
        until(lambda: seen["right"] > 60, "every library is loaded")
        before = site.resident_bytes()
        for _ in range(150):
            held.append(socket.create_connection((url.hostname or "", url.port or 0)))
            held[-1].sendall(
                b"POST /predict/ridge HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (8 * MIB)
            )
            for _ in range(4):
                try:
                    held[-1].sendall(body)
                except OSError:  # it was refused already
                    break
        grown = {name: size - before[name] for name, size in site.resident_bytes().items()}
        print(f"    resident memory grew by {max(grown.values()) / MIB:.0f} MiB")
        assert max(grown.values()) < 0.75 * 150 * 4 * MIB  # of what was sent, and would all be held
        statuses = Counter(_status(each) for each in held)
    print(f"    answers: {dict(statuses)}")
    assert set(statuses) <= {"503", "408", "closed"}
    assert statuses["503"] > 100
    assert set(seen) == {"right"}


def _status(connection: socket.socket) -> str:
    connection.settimeout(PATIENCE_S)
    try:
        head = connection.recv(1000)
    except ConnectionError:
        return "closed"
    finally:
        connection.close()
    return head[9:12].decode() or "closed"


def test_large_bodies_do_not_hold_the_server(site: Site) -> None:
    """24 legal ones of 8 MiB at once, to the server that holds the model: /healthz took up to 45 s."""
    url = next(
        url for url in site.up.servers() if "Tenantry-Hop" not in site.up.predict("ridge", ROW, url).headers
    )
    row = json.dumps(ROW[0]).encode()
    body = b"[" + b",".join([row] * ((8 * MIB - 2) // (len(row) + 1))) + b"]"
    answers: Counter[str] = Counter()
    lock = threading.Lock()

    def send() -> None:
        reply = ask(urllib.request.Request(f"{url}/predict/ridge", data=body))
        with lock:
            answers["right" if reply.status == 200 else reply.reason] += 1

    senders = [threading.Thread(target=send) for _ in range(24)]
    probes = 0
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        assert ask(urllib.request.Request(f"{url}/healthz")).status == 200
        probes += 1
    print(f"    24 bodies of 8 MiB: {dict(answers)}, {probes} probes answered meanwhile")
    assert set(answers) <= {"right", "BodiesTooMany", "BodyTimeout", "PredictionTimeout"}
    assert answers["right"] >= 1
    assert probes >= 48


def test_an_estimator_that_waits_does_not_hold_the_server(site: Site) -> None:
    """It was measured by the processor time that it took, found quick, and run on the event loop."""
    frame = FRAME.to_numpy()
    site.publish("waits", Waits().fit(frame, frame[:, 0]))
    site.up.until_settled("waits", "Ready")
    for _ in range(40):  # enough to be measured
        assert site.up.predict("waits", {"instances": [[0.0, 0.0]]}).status == 200
    slow = threading.Thread(target=lambda: site.up.predict("waits", {"instances": [[3.0, 0.0]]}))
    with site.neighbours() as seen:
        slow.start()
        until(lambda: seen["right"] > 0, "a neighbour is answered")
        first = seen["right"]
        until(lambda: seen["right"] > first + 30 or not slow.is_alive(), "many more are")
        assert slow.is_alive(), "the neighbours waited for it"
    slow.join()
    assert set(seen) == {"right"}


def test_settings_that_a_model_leaves_behind_are_put_back(site: Site) -> None:
    """A neighbour's pipeline answered 422 to every request from then on."""
    frame = FRAME.to_numpy()
    site.publish("settings", Reconfigures().fit(frame, frame[:, 0]))
    site.up.until_settled("settings", "Ready")
    with site.neighbours() as seen:
        for url in site.up.servers() * 20:
            assert site.up.predict("settings", {"instances": [[1.0, 2.0]]}, url).body == {
                "predictions": [1.0]
            }
    assert set(seen) == {"right"}


def test_a_model_starts_no_processes(site: Site) -> None:
    """Each was 172 MB for every core, and alive after the server had stopped."""
    frame = FRAME.to_numpy()
    site.publish("parallel", Parallels().fit(frame, frame[:, 0]))
    site.up.until_settled("parallel", "Ready")
    for url in site.up.servers():
        reply = site.up.predict("parallel", {"instances": [[1.0, 2.0]]}, url)
        assert reply.body == {"predictions": [2.0]}, "one process for all jobs"
    for pid in site.up.pids.values():
        assert _children(pid) == []


def _children(pid: int) -> list[str]:
    """The processes that any thread of a process has started and that are not gone."""
    found: list[str] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # the thread has just ended
            found += (task / "children").read_text().split()
    return found


def test_artifacts_whose_load_never_returns_stop_no_other_version(site: Site) -> None:
    """Two of them kept a server from loading any new version of anybody."""
    held = [HeldUp(Ends(), site.folder) for _ in range(12)]
    for number, model in enumerate(held):
        site.publish(f"held-{number}", model)
    with site.neighbours() as seen:
        for number in range(len(held)):
            status = site.up.until_settled(f"held-{number}", "ModelTimedOut")
            assert "did not end within 3 s (in _once_allowed, " in status["message"]
        site.publish("after", make_pipeline(StandardScaler(), Ridge()).fit(FRAME, FRAME["x"]))
        site.up.until_settled("after", "Ready")
    assert set(seen) == {"right"}
    assert site.metric("hung_loads") == len(held)
    held[0].allowed.touch()


def test_predictions_that_never_return_stop_no_other_model(site: Site) -> None:
    """Eight of them, and every model that is not quick answered 504 from then on."""
    frame = FRAME.to_numpy()
    users = [f"never-{number}" for number in range(10)]
    for user_id in users:
        site.publish(user_id, Waits().fit(frame, frame[:, 0]))
    for user_id in users:
        site.up.until_settled(user_id, "Ready")
    statuses: Counter[int] = Counter()

    def ask_for(user_id: str) -> None:
        reply = site.up.predict(user_id, {"instances": [[600.0, 0.0]]}, site.up.servers()[0])
        statuses[reply.status] += 1

    asking = [threading.Thread(target=ask_for, args=(user_id,)) for user_id in users]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert set(statuses) == {504}
    until(lambda: site.metric("hung_predictions") == len(users), "each has given up its place")
    with site.neighbours() as seen:
        until(lambda: seen["right"] > 60, "the neighbours are answered")
    assert set(seen) == {"right"}


def test_a_server_accepts_only_once_it_is_ready(postgres: PostgresServer, tmp_path: Path) -> None:
    """It came back while the database took no writes, so without a lease, and answered 503 for others."""
    manifests = tmp_path / "tenants"
    manifests.mkdir()
    database = postgres.database()
    with ups.running(manifests, tmp_path / "state", servers=3, registry_url=database) as up:
        site = Site(up, tmp_path)
        fitted = make_pipeline(StandardScaler(), Ridge()).fit(FRAME, FRAME.sum(axis=1))
        site.add_neighbour("ridge", fitted, ROW)
        up.until_ready(1)
        until(lambda: len(up.servers()) == 3, "three servers")
        before = up.pids["server-0"]
        with postgres.read_only(database):
            os.kill(before, signal.SIGKILL)
            until(lambda: up.pids["server-0"] != before, "it is back")
            assert [site.wrong("ridge") for _ in range(60)] == [""] * 60


def test_a_request_that_ends_a_server_goes_no_further_than_one_more(site: Site) -> None:
    """It was passed on to the next each time, until none was left."""
    site.publish("ends", Ends())
    site.up.until_settled("ends", "Ready")
    assert site.up.predict("ends", [{"x": 3.0}]).body == [3.0]
    servers = site.up.servers()
    before = dict(site.up.pids)
    for url in servers:
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_S)
        try:
            connection.request("POST", "/predict/ends", body=b'[{"x": -1.0}]')
            reply = connection.getresponse()
            assert json.loads(reply.read())["error"]["reason"] == "ServersLost"
            assert reply.status == 500
        except (ConnectionError, http.client.HTTPException):
            pass  # this server computed it, as its owner or after the owner
        finally:
            connection.close()
        died = [name for name, pid in before.items() if not Path(f"/proc/{pid}").exists()]
        assert len(died) <= 2, died
        until(lambda: site.up.all_reachable() and len(site.up.servers()) == 3, "all are back")
        before = dict(site.up.pids)
    for user_id in site.expected:
        assert site.wrong(user_id) == ""
