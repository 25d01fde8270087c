"""From a rendering of the chart to the first prediction, and a server that is told to stop."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.databases.postgres import PostgresServer
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.deploying import helm, manifests
from tests.support.kubernetes.deploying.deployed import SERVER, Deployed
from tests.support.kubernetes.deploying.manifests import BASE, of_kind
from tests.support.kubernetes.home import install_crd
from tests.support.processes.up import ask
from tests.support.waiting import until

SERVER_0 = f"{SERVER}-0"
LONG_S = 600.0  # the chart's five seconds may be over before a busy machine looks


@pytest.fixture(scope="module")
def charted(
    plane: ControlPlane, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    """The chart with its defaults, as accounts and as processes with its commands and settings."""
    install_crd(plane)
    registry = postgres.database()
    folder = tmp_path_factory.mktemp("charted")
    began_s = time.monotonic()
    # helm makes the namespace.
    documents = [
        *of_kind(manifests.rendered(BASE), "Namespace"),
        *helm.manifests({"image": {"tag": "dev"}}),
    ]
    home = Deployed(plane, folder, registry, documents)
    try:
        home.run_operator("operator-a")
        home.run_server(SERVER_0, TENANTRY_DRAIN_AT_LEAST_S=str(LONG_S))
        home.apply(home.publish("ann", 2.0))
        home.until("ann", "Ready")
        assert home.predict("ann", 4.0, SERVER_0) == pytest.approx(8.0)
        print(
            f"\nchart rendered to the first prediction: {time.monotonic() - began_s:.1f} s (target 60 s)",
            file=sys.stderr,
        )
        yield home
    finally:
        home.stop()


def test_the_share_that_an_autoscaler_goes_by_is_exported(charted: Deployed) -> None:
    text = str(ask(urllib.request.Request(f"{charted.servers()[SERVER_0]}/metrics")).body)
    (line,) = (each for each in text.splitlines() if each.startswith("tenantry_busy_ratio "))
    assert 0.0 <= float(line.split()[1]) <= 1.0


def test_helms_test_finds_the_servers_ready(charted: Deployed) -> None:
    """The command of the chart's test, at the address of a real server."""
    (pod,) = of_kind(charted.documents, "Pod")
    _, *script, url, seconds = pod["spec"]["containers"][0]["command"]
    assert url == "http://tenantry.tenantry.svc:80/readyz"
    here = [sys.executable, *script, f"{charted.servers()[SERVER_0]}/readyz", seconds]
    done = subprocess.run(here, capture_output=True, text=True, check=False, timeout=LONG_S)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_server_that_was_told_to_stop_answers_until_services_forget_it(charted: Deployed) -> None:
    """Although there is nobody to hand over to; a second signal ends it."""
    url = charted.servers()[SERVER_0]
    child = charted.children[SERVER_0]
    os.kill(child.pid, signal.SIGTERM)
    until(lambda: ask(urllib.request.Request(f"{url}/readyz")).status == 503, "it says that it leaves")
    until(lambda: "no server to hand shards over to" in charted.log(SERVER_0), "it has nothing to wait for")
    assert charted.ask_at(url, "ann", 4.0).body["predictions"] == [pytest.approx(8.0)]
    os.kill(child.pid, signal.SIGTERM)
    until(lambda: not child.running, "it ends")
