"""The test control plane itself: a real API server, with real authentication and real storage."""

import base64
import json
import socket
import stat

import pytest

from tests.support.kubernetes.binaries.envtest_assets import provide, server_version
from tests.support.kubernetes.control_plane import ControlPlane

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
SERVICE_ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


def config_map(name: str, **data: str) -> dict[str, object]:
    return {"metadata": {"name": name}, "data": data}


def test_it_serves_the_version_that_the_binary_prints(plane: ControlPlane) -> None:
    """A test may trust `version_info` to decide what the server knows."""
    assert plane.version == server_version(provide())
    assert plane.version.startswith("v{}.{}.".format(*plane.version_info))


def test_it_is_healthy(plane: ControlPlane) -> None:
    assert plane.request("GET", "/healthz") == (200, "ok")


def test_what_was_created_is_read_back(plane: ControlPlane) -> None:
    created, _ = plane.request("POST", CONFIG_MAPS, config_map("greeting", word="hello"))
    found, body = plane.request("GET", f"{CONFIG_MAPS}/greeting")
    assert (created, found, body["data"]) == (201, 200, {"word": "hello"})


def test_a_user_without_rights_is_refused(plane: ControlPlane) -> None:
    """403, not 401: RBAC knew who asked."""
    status, body = plane.request("GET", CONFIG_MAPS, token=plane.tokens["nobody"])
    assert status == 403
    assert 'User "nobody" cannot list resource "configmaps"' in body["message"]


def test_an_unknown_token_is_refused(plane: ControlPlane) -> None:
    status, _ = plane.request("GET", CONFIG_MAPS, token="made-up")  # noqa: S106 - nobody's
    assert status == 401


def test_a_service_account_gets_a_token_and_its_own_name(plane: ControlPlane) -> None:
    """The TokenRequest API, by which the operator's pod gets its token in production."""
    plane.request("POST", SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}})
    status, answer = plane.request("POST", f"{SERVICE_ACCOUNTS}/robot/token", {"spec": {}})
    assert status == 201
    status, refusal = plane.request("GET", CONFIG_MAPS, token=answer["status"]["token"])
    assert status == 403
    assert "system:serviceaccount:default:robot" in refusal["message"]


def test_a_restarted_server_keeps_data_address_and_tokens(plane: ControlPlane) -> None:
    """Clients that hold the kubeconfig reconnect, as after an upgrade of a real control plane."""
    plane.request("POST", CONFIG_MAPS, config_map("survivor", word="still here"))
    url, certificate = plane.url, plane.ca_file.read_bytes()
    plane.restart_apiserver()
    status, body = plane.request("GET", f"{CONFIG_MAPS}/survivor")
    assert (status, body["data"]) == (200, {"word": "still here"})
    assert (plane.url, plane.ca_file.read_bytes()) == (url, certificate)


def test_the_kubeconfig_needs_no_file_beside_it(plane: ControlPlane) -> None:
    """It may be copied, and is a secret: it holds the admin's token."""
    document = json.loads(plane.kubeconfig.read_text())
    cluster = document["clusters"][0]["cluster"]
    assert cluster["server"] == plane.url
    assert base64.b64decode(cluster["certificate-authority-data"]) == plane.ca_file.read_bytes()
    assert stat.S_IMODE(plane.kubeconfig.stat().st_mode) == 0o600


def test_the_audit_log_names_who_asked_for_what(plane: ControlPlane) -> None:
    plane.request("GET", f"{CONFIG_MAPS}/audited", token=plane.tokens["nobody"])
    assert plane.audit_log
    events = [json.loads(line) for line in plane.audit_log.read_text().splitlines()]
    asked = [e for e in events if e["requestURI"] == f"{CONFIG_MAPS}/audited"]
    assert [(e["user"]["username"], e["responseStatus"]["code"]) for e in asked] == [("nobody", 403)]


def test_two_at_once_are_apart_and_stop_leaves_nothing_behind(plane: ControlPlane) -> None:
    """Parallel runs share a machine: neither data nor a forgotten server may cross over."""
    plane.request("POST", CONFIG_MAPS, config_map("mine"))
    with ControlPlane(provide()) as other:
        assert other.request("GET", f"{CONFIG_MAPS}/mine")[0] == 404
    assert not other.data.exists()
    for address in (other.url, other.etcd_endpoint):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
