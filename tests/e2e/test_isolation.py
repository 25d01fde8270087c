"""Requests and declarations that do their worst to a fleet of three, while its honest tenants are asked."""

import json
import os
import signal
import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.support.databases.postgres import PostgresServer
from tests.support.processes import up as ups
from tests.support.processes.up import ask
from tests.support.tenants.hostile import site as sites
from tests.support.tenants.hostile.site import FRAME, ROW, Site
from tests.support.waiting import PATIENCE_S, until

MIB = 1 << 20
READ_S = 8.0  # longer than a machine stands still
ARRIVING_BYTES = 64 * MIB


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    env = {
        "TENANTRY_READ_TIMEOUT_S": str(READ_S),
        "TENANTRY_MAX_ARRIVING_BYTES": str(ARRIVING_BYTES),
    }
    with sites.running(tmp_path_factory.mktemp("isolation"), servers=3, env=env) as site:
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
