"""A server's port with TLS: what it answers, what it takes beside TLS, and how its certificate changes."""

import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tenantry.trust.certificates import Files
from tenantry.trust.tls import Mode, Tls
from tenantry_server.access.gate import Gate
from tenantry_server.access.hops import Hops
from tenantry_server.peers import warm_query
from tests.support.network.certificates import Authority, MountedSecret
from tests.support.network.secure_server import ROW, SecureServer, asked, raw, secure
from tests.support.tenants.callers import gate_of, shown
from tests.support.waiting import until

CA = Authority()
PREDICT = b"POST /predict/ann HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(ROW), ROW)


@pytest.fixture
def secret(tmp_path: Path) -> MountedSecret:
    secret = MountedSecret(tmp_path / "tls")
    secret.put(CA.issue(), CA)
    return secret


@pytest.fixture
def server(secret: MountedSecret) -> Iterator[SecureServer]:
    with SecureServer(secret.folder) as server:
        yield server


def stranger() -> ssl.SSLContext:
    """A client that trusts the CA and shows nothing."""
    return ssl.create_default_context(cadata=CA.pem.decode())


def member(folder: Path) -> ssl.SSLContext:
    """A client that shows a certificate of the CA."""
    CA.issue(["client"]).write(folder, CA)
    return Tls(Files(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")).client()


def on_fast_path(server: SecureServer, connection: http.client.HTTPConnection, **headers: str) -> bytes:
    """Ask until the model was measured to be quick; the answer then."""

    def answered() -> bytes | None:
        server.quick.clear()
        connection.request("POST", "/predict/ann", ROW, dict(headers))
        with connection.getresponse() as response:
            assert response.status == 200
            return response.read() if server.quick else None

    found = until(answered, "the fast path is taken")
    assert found is not None
    return found


def test_the_fast_path_is_taken_over_tls(server: SecureServer) -> None:
    """And its answer is the application's, in whatever pieces the request comes."""
    connection = server.kept(stranger())
    assert json.loads(on_fast_path(server, connection)) == [6.0]
    with secure(server.port, stranger()) as sock:
        answers = []
        for _ in range(2):  # the head is known from the second request of a connection on
            server.quick.clear()
            sock.sendall(PREDICT[:60])
            sock.sendall(PREDICT[60:])
            with http.client.HTTPResponse(sock, method="POST") as response:
                response.begin()
                answers.append((response.status, response.read()))
        assert answers == [(200, b"[6.0]")] * 2


def test_a_new_certificate_is_in_force_without_a_dropped_connection(
    server: SecureServer, secret: MountedSecret
) -> None:
    """The files change as the kubelet changes a Secret's; nobody tells the server."""
    open_before = server.kept(stranger())
    assert asked(open_before, "GET", "/healthz")[0] == 200
    sock = open_before.sock
    first = certificate_of(server)
    renewed = CA.issue()
    secret.put(renewed, CA)
    second = certificate_of(server)
    assert ssl.DER_cert_to_PEM_cert(second).split() == renewed.cert.decode().split()
    assert second != first
    assert asked(open_before, "GET", "/healthz")[0] == 200
    assert open_before.sock is sock, "it was not opened again"
    secret.put(Authority("another").issue(), CA)  # which other servers would refuse
    assert certificate_of(server) == second


def certificate_of(server: SecureServer) -> bytes:
    with secure(server.port, stranger()) as sock:
        return sock.getpeercert(binary_form=True) or b""


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        PREDICT,
        b"POST /predict/ann HTTP/1.1\r\n",
        b"\x00\x01\x02",
    ],
)
def test_plain_http_is_told_that_the_port_takes_tls(server: SecureServer, sent: bytes) -> None:
    with raw(server.port) as sock:
        sock.sendall(sent)
        response = http.client.HTTPResponse(sock)
        response.begin()
        assert response.status == 400
        assert response.headers["Tenantry-Reason"] == "TlsRequired"
        assert "https://" in json.loads(response.read())["error"]["message"]
        assert sock.recv(1) == b"", "it is closed"
    assert server.quick == []


def test_during_a_change_over_the_port_takes_both(secret: MountedSecret) -> None:
    """And the fast path answers either way."""
    with SecureServer(secret.folder, Mode.OPTIONAL) as server:
        plain = server.plain()
        assert json.loads(on_fast_path(server, plain)) == [6.0]
        encrypted = server.kept(stranger())
        assert json.loads(on_fast_path(server, encrypted)) == [6.0]


def test_a_client_that_trusts_another_ca_is_told_by_its_library(server: SecureServer) -> None:
    context = ssl.create_default_context(cadata=Authority().pem.decode())
    with pytest.raises(ssl.SSLCertVerificationError):
        secure(server.port, context)
    assert asked(server.kept(stranger()), "GET", "/healthz")[0] == 200


async def _warm(_shards: Any) -> list[str]:
    return ["ann"]


def test_routes_of_servers_want_a_certificate(secret: MountedSecret, tmp_path: Path) -> None:
    """Probes and clients show none."""
    with SecureServer(secret.folder, routes=lambda: warm_query.routes(_warm)) as server:
        unknown, known = server.kept(stranger()), server.kept(member(tmp_path / "member"))
        status, answer = asked(unknown, "GET", "/peers/warm?shards=1")
        assert (status, answer["error"]["reason"]) == (401, "Unauthenticated")
        assert "TENANTRY_TLS_CA" in answer["error"]["message"]
        assert asked(unknown, "GET", "/follow")[0] == 401
        assert asked(unknown, "GET", "/healthz")[0] == 200
        assert asked(unknown, "POST", "/predict/ann", ROW)[0] == 200
        assert asked(known, "GET", "/peers/warm?shards=1") == (200, {"users": ["ann"]})


def test_during_a_change_over_servers_need_none(secret: MountedSecret) -> None:
    """Those that have not changed yet have none."""
    with SecureServer(secret.folder, Mode.OPTIONAL, routes=lambda: warm_query.routes(_warm)) as server:
        plain = server.plain()
        assert asked(plain, "GET", "/peers/warm?shards=1") == (200, {"users": ["ann"]})


def test_a_certificate_of_another_ca_is_none(server: SecureServer, tmp_path: Path) -> None:
    """The handshake fails, whatever is asked."""
    Authority("another").issue(["client"]).write(tmp_path / "other", CA)
    context = stranger()
    context.load_cert_chain(tmp_path / "other" / "tls.crt", tmp_path / "other" / "tls.key")
    with pytest.raises((ssl.SSLError, ConnectionError)):  # of TLS 1.3 the client hears with the answer
        asked(server.kept(context), "GET", "/healthz")


def test_a_stolen_secret_alone_does_not_pass_a_request_on(secret: MountedSecret, tmp_path: Path) -> None:
    """A proof of the fleet's secret counts with a certificate only, on the fast path as well."""
    hops = Hops("secret", "server-7")

    def gate(wanted: bool) -> Gate:
        return gate_of({"key": ("*",)}, hops, wants_certificates=wanted)

    def proved() -> dict[str, str]:
        length = str(len(ROW)).encode()
        return {
            "Tenantry-Proof": hops.proof(b"server-7", b"POST", b"/predict/ann", length).decode(),
            "Tenantry-Hop": "1",
        }

    with SecureServer(secret.folder, gate=gate) as server:
        unknown, known = server.kept(stranger()), server.kept(member(tmp_path / "member"))
        assert json.loads(on_fast_path(server, unknown, **shown("key"))) == [6.0]
        assert json.loads(on_fast_path(server, known, **proved())) == [6.0]
        server.quick.clear()
        for _ in range(3):
            unknown.request("POST", "/predict/ann", ROW, proved())
            with unknown.getresponse() as response:
                assert response.status == 401
                response.read()
        assert server.quick == []


def test_who_sends_nothing_is_closed(secret: MountedSecret) -> None:
    """Before the first byte, and in the middle of a handshake."""
    with SecureServer(secret.folder, head_s=0.2) as server:
        with raw(server.port) as mute:
            assert mute.recv(1) == b""
        with raw(server.port) as halting:
            halting.sendall(b"\x16\x03\x01")
            assert _ended(halting)
        until(lambda: _answers(server), "one that talks in time is answered")


def test_a_stop_ends_connections_that_never_began(secret: MountedSecret) -> None:
    with SecureServer(secret.folder) as server:
        mute = raw(server.port)
        until(lambda: asked(server.kept(stranger()), "GET", "/healthz")[0] == 200, "accepted")
    assert _ended(mute)
    mute.close()
    with pytest.raises(ConnectionError):
        raw(server.port)


def _answers(server: SecureServer) -> bool:
    """Whether it answers; where the machine stood still, a handshake took longer than it may."""
    try:
        return asked(server.kept(stranger()), "GET", "/healthz")[0] == 200
    except OSError:
        return False


def _ended(sock: Any) -> bool:
    try:
        return bool(sock.recv(1) == b"")
    except ConnectionError:
        return True
