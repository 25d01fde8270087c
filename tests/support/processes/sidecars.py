"""Sidecars as processes beside a fleet, each asked at its own address or socket."""

import http.client
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.network.ports import free_ports
from tests.support.processes.child_process import Child
from tests.support.processes.fleet import Fleet
from tests.support.processes.launching import TENANTRY
from tests.support.tenants import lines

_TIMEOUT_S = 60.0


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass
class Sidecar:
    """One sidecar.

    Attributes:
        port, probe_port, socket: where it listens.
    """

    name: str
    child: Child
    port: int
    probe_port: int
    socket: Path
    log_file: Path

    def _connection(self, *, by_socket: bool, probes: bool = False) -> http.client.HTTPConnection:
        if by_socket:
            return SocketConnection(self.socket)
        port = self.probe_port if probes else self.port
        return http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)

    def predict(self, n: int, *, by_socket: bool = False) -> tuple[int, int]:
        """Ask for a tenant of `lines`; return whose answer came, and of which version."""
        status, body, _ = self.ask("POST", f"/predict/{lines.user_id(n)}", lines.BODY, by_socket=by_socket)
        assert status == 200, (status, body)
        return lines.read(json.loads(body)["predictions"])

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, by_socket: bool = False
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Return status, body and headers."""
        connection = self._connection(by_socket=by_socket)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def probe(self, path: str) -> tuple[int, str]:
        """Ask the port of a kubelet."""
        connection = self._connection(by_socket=False, probes=True)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    @property
    def ready(self) -> bool:
        try:
            return self.probe("/readyz")[0] == 200
        except OSError:
            return False

    def metric(self, name: str) -> float:
        lines_of = [line for line in self.probe("/metrics")[1].splitlines() if line.startswith(f"{name} ")]
        return float(lines_of[0].split()[-1])

    @property
    def log(self) -> str:
        return self.log_file.read_text()


def start(fleet: Fleet, name: str, url: str, env: Mapping[str, str] | None = None) -> Sidecar:
    """Start a sidecar that finds `fleet` at `url`; end its child."""
    return start_in(fleet.folder, name, url, env)


def start_in(folder: Path, name: str, url: str, env: Mapping[str, str] | None = None) -> Sidecar:
    """The same of a server outside of a fleet of processes; socket and log are in `folder`."""
    port, probe_port = free_ports(2)
    path, log = folder / f"{name}.sock", folder / f"{name}.log"
    variables = {name: value for name, value in os.environ.items() if name != "TENANTRY_REGISTRY_URL"}
    variables |= {
        "TENANTRY_ROLE": "sidecar",
        "TENANTRY_FLEET_URL": url,
        "TENANTRY_SERVER_ID": name,
        "TENANTRY_PORT": str(port),
        "TENANTRY_PROBE_HOST": "127.0.0.1",
        "TENANTRY_PROBE_PORT": str(probe_port),
        "TENANTRY_SOCKET": str(path),
        **(env or {}),
    }
    return Sidecar(name, Child([*TENANTRY, "serve"], log=log, env=variables), port, probe_port, path, log)
