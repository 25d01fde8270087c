"""What `helm test` runs: a pod that asks the Service for /readyz, as a client in the cluster asks it."""

import http.server
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.deploying import helm
from tests.support.kubernetes.deploying.chart_values import CASES
from tests.support.kubernetes.deploying.helm import CHART, HelmRefused
from tests.support.kubernetes.deploying.kubelet import Kubelet, with_this_python
from tests.support.kubernetes.deploying.manifests import Document, of_kind, the
from tests.support.network.certificates import Authority

HOST = "127.0.0.1"


def _pod(values: dict[str, Any]) -> Document:
    (pod,) = of_kind(helm.manifests(values), "Pod")
    return pod


def test_helm_runs_it_when_asked_and_removes_it_when_it_went_well() -> None:
    assert _pod({})["metadata"]["annotations"] == {
        "helm.sh/hook": "test",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }


@pytest.mark.parametrize("case", CASES)
def test_it_asks_the_service_and_is_none_of_its_pods(case: str) -> None:
    documents = helm.manifests(CASES[case])
    service = the(documents, "Service", "tenantry")["spec"]
    pod = _pod(CASES[case])
    assert not service["selector"].items() <= pod["metadata"]["labels"].items()
    *_, url, seconds = pod["spec"]["containers"][0]["command"][:5]
    secure = "tls" in CASES[case]
    assert url == (
        "https://tenantry.tenantry.svc/readyz" if secure else "http://tenantry.tenantry.svc:80/readyz"
    )
    assert int(seconds) < pod["spec"]["activeDeadlineSeconds"]
    policies = [
        each
        for each in of_kind(documents, "NetworkPolicy")
        if each["metadata"]["name"] == "tenantry-server"
    ]
    for policy in policies:
        (rule,) = policy["spec"]["ingress"]
        admitted = [each["podSelector"]["matchLabels"] for each in rule["from"] if "podSelector" in each]
        assert any(labels.items() <= pod["metadata"]["labels"].items() for labels in admitted)


@contextmanager
def _server(status: int, secure: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that answers every GET with this status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((HOST, 0), Handler) as server:
        if secure is not None:
            server.socket = secure.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"{'http' if secure is None else 'https'}://{HOST}:{server.server_port}/readyz"
        server.shutdown()
        thread.join()


def _run(values: dict[str, Any], url: str, *more: str) -> subprocess.CompletedProcess[str]:
    """The container's command, with these arguments in the place of the last ones."""
    python, option, script, *_ = _pod(values)["spec"]["containers"][0]["command"]
    assert (python, option) == ("python", "-c")
    command = [sys.executable, "-c", script, url, *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_it_ends_well_where_a_server_is_ready() -> None:
    with _server(200) as url:
        done = _run({}, url, "60")
    assert (done.returncode, done.stderr) == (0, "")


def test_it_says_what_it_saw_where_none_is() -> None:
    with _server(503) as url:
        done = _run({}, url, "0")
    assert done.returncode == 1
    assert "503" in done.stdout
    assert "no server is ready" in done.stderr


def test_it_trusts_the_fleets_ca_alone(tmp_path: Path) -> None:
    ca, another = Authority(), Authority("another")
    ca.issue().write(tmp_path, ca)
    (tmp_path / "another.crt").write_bytes(another.pem)
    secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    secure.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    values = CASES["tls"]
    (mount,) = _pod(values)["spec"]["containers"][0]["volumeMounts"]
    (volume,) = _pod(values)["spec"]["volumes"]
    assert _pod(values)["spec"]["containers"][0]["command"][-1] == f"{mount['mountPath']}/ca.crt"
    assert [each["key"] for each in volume["secret"]["items"]] == ["ca.crt"], "and not the key"
    with _server(200, secure) as url:
        good = _run(values, url, "60", str(tmp_path / "ca.crt"))
        bad = _run(values, url, "0", str(tmp_path / "another.crt"))
    assert (good.returncode, bad.returncode) == (0, 1), (good, bad)
    assert "CERTIFICATE_VERIFY_FAILED" in bad.stdout


def test_helm_runs_it_and_says_how_it_ended(plane: ControlPlane, tmp_path: Path) -> None:
    """By helm's own code, on an API server; a stand-in for the kubelet runs the pod's command.

    tests/e2e/test_chart.py asks a real server by the same command.
    """
    space = "helm-tested"
    status, answer = plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": space}})
    assert status == 201, answer
    chart = helm.for_any_version(CHART, tmp_path)
    values = {"fullnameOverride": space, "podDisruptionBudgets": False}  # policy/v1: 1.21
    helm.release("install", chart, plane.kubeconfig, values, namespace=space)
    pod = f"/api/v1/namespaces/{space}/pods/{space}-test"
    asked: list[str] = []

    def test(status: int) -> str:
        """Whether it went well, in helm's words; the pod's command, as this machine runs it."""
        with _server(status) as url:

            def here(command: Sequence[str]) -> list[str]:
                *start, given, _seconds = with_this_python(command)
                asked.append(given)
                return [*start, url, "0"]

            with Kubelet(plane, space, here) as kubelet:
                try:
                    helm.release("test", chart, plane.kubeconfig, namespace=space)
                except HelmRefused as refused:
                    return f"{kubelet.ran[-1][2]} {refused}"
        return ""

    failed = test(503)
    assert "no server is ready" in failed
    assert f"{space}-test" in failed
    assert plane.request("GET", pod)[0] == 200, "what it printed can be read"
    assert test(200) == ""
    assert plane.request("GET", pod)[0] == 404
    assert asked == [f"http://{space}.{space}.svc:80/readyz"] * 2
    helm.release("uninstall", chart, plane.kubeconfig, namespace=space)
