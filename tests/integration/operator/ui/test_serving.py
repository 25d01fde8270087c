"""The page on its socket: what every answer carries, what is refused unread, and streams that end."""

import http.client
import socket
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.probes import Health, Probes
from tenantry_operator.settings import Ui
from tenantry_operator.ui.door import Door
from tenantry_operator.ui.serving import _is_there, serving
from tenantry_operator.ui.site import Site
from tenantry_operator.ui.stream import Streams
from tests.support.operator.page_rig import PageRig
from tests.support.waiting import PATIENCE_S, until

MOST = 3


@pytest.fixture
def port(rig: PageRig) -> Iterator[int]:
    streams = Streams(rig.sight.version, most=MOST, tick_s=0.05)
    site = Site(rig.sight, Door(Ui.OPEN, rig.operator.keys()), streams)
    with serving("127.0.0.1", 0, site) as url:
        assert url.endswith("/ui")
        yield int(urlsplit(url).port or 0)


def _ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


@pytest.mark.parametrize(
    "path", ["/ui", "/ui/servers", "/ui/none", "/ui/assets/page.css", "/ui/assets/page.js"]
)
def test_every_answer_carries_a_strict_policy(port: int, path: str) -> None:
    _, headers, _ = _ask(port, "GET", path)
    policy = dict(each.strip().split(" ", 1) for each in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert "Python" not in headers["server"]
    if "assets" not in path:
        assert headers["cache-control"] == "no-store"
        assert headers["content-type"] == "text/html; charset=utf-8"


def test_assets_are_named_with_a_digest_and_nothing_else_is_read(port: int) -> None:
    _, _, page = _ask(port, "GET", "/ui")
    for kind, name in ((b"stylesheet", "page.css"), (b"defer", "page.js"), (b"icon", "icon.svg")):
        assert kind in page
        assert f"/ui/assets/{name}?v=".encode() in page
        assert _ask(port, "GET", f"/ui/assets/{name}")[0] == 200
    for path in ("..%2Fsite.py", "%2e%2e/site.py", "../../etc/passwd", "page.js/x", "", "page.html"):
        assert _ask(port, "GET", f"/ui/assets/{path}")[0] == 404, path


def test_what_is_no_page_and_no_form_is_refused(port: int) -> None:
    assert _ask(port, "GET", "/uix")[0] == 404
    assert _ask(port, "GET", "/")[2] == b"the page is at /ui\n"
    assert _ask(port, "POST", "/", b"")[0] == 405
    assert _ask(port, "POST", "/ui", b"")[0] == 404
    assert _ask(port, "DELETE", "/ui")[0] == 501
    assert _ask(port, "POST", "/ui", b"x" * (1 << 20))[0] == 413
    for headers, status in (({"Transfer-Encoding": "chunked"}, 411), ({"Content-Length": "-1"}, 400)):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
            connection.putrequest("POST", "/ui")
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            assert connection.getresponse().status == status


def _stream(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    connection.sendall(f"GET /ui/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    return connection


def _until(connection: socket.socket, words: bytes) -> bytes:
    seen = b""
    while words not in seen:
        piece = connection.recv(4096)
        assert piece, seen
        seen += piece
    return seen


def test_streams_tell_of_changes_are_bounded_and_end_with_their_clients(port: int, rig: PageRig) -> None:
    streams = [_stream(port) for _ in range(MOST)]
    for each in streams:
        assert b"Content-Type: text/event-stream" in _until(each, b"event: change")
    status, headers, _ = _ask(port, "GET", "/ui/events")
    assert status == 503
    assert headers["retry-after"] == "30"
    rig.add("ann")
    for each in streams:
        _until(each, b"event: change")
    for each in streams:
        each.close()

    def follows_again() -> bool:
        again = _stream(port)
        head = again.recv(4096)
        again.close()
        return b" 200 " in head

    until(follows_again, "a place is free again")


def test_a_client_is_there_until_it_closes_whatever_else_it_sends() -> None:
    """Else a quiet stream would keep its place until the next heartbeat."""
    ours, client = socket.socketpair()
    assert _is_there(ours)
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert _is_there(ours)
    assert ours.recv(100).startswith(b"GET"), "it is left to be read"
    client.close()
    assert not _is_there(ours)
    ours.close()
    assert not _is_there(ours)


def test_a_stream_ends_with_the_page(rig: PageRig) -> None:
    with serving("127.0.0.1", 0, rig.site) as url:
        stream = _stream(int(urlsplit(url).port or 0))
        _until(stream, b"event: change")
    assert stream.recv(4096) == b""
    stream.close()


def test_the_operators_port_has_the_page_beside_its_probes(rig: PageRig) -> None:
    with Probes("127.0.0.1", 0, Health(), OperatorMetrics(), rig.site) as probes:
        port = int(probes.url.rpartition(":")[2])
        assert _ask(port, "GET", "/ui")[0] == 200
        assert _ask(port, "GET", "/healthz")[0] == 200
        assert b"tenantry_operator" in _ask(port, "GET", "/metrics")[2]


def test_without_a_setting_the_operators_port_has_no_page() -> None:
    with Probes("127.0.0.1", 0, Health(), OperatorMetrics()) as probes:
        port = int(probes.url.rpartition(":")[2])
        assert _ask(port, "GET", "/ui")[0] == 404
        assert _ask(port, "POST", "/ui", b"")[0] == 405
