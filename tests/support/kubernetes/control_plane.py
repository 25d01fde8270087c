"""A control plane for tests: a real kube-apiserver over a real etcd, and nothing else.

Owns: its flags (1.20 to 1.34), ports, certificate, users, kubeconfig and data.
Refuses: finding the two binaries (`envtest_assets`), a newer part for CRDs (`modern_plane`), controllers.
"""

import base64
import csv
import http.client
import json
import re
import secrets
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.network import ports
from tests.support.network.clients import loopback_http
from tests.support.processes.child_process import Child, PortTaken
from tests.support.waiting import PATIENCE_S

HOST = "127.0.0.1"
ADMIN = "envtest-admin"
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "Request",
            "resources": [{"group": "tenantry.dev", "resources": ["tenantmodels/status"]}],
        },
        {"level": "Metadata"},
    ],
}
PORT_ATTEMPTS = 5
PROBE_TIMEOUT_S = 2.0
STOP_GRACE_S = 2.0  # an open watch holds the API server for a minute; etcd has the data


class ControlPlane:
    """A kube-apiserver of its own, on 127.0.0.1, gone with its data after `stop`.

    No controller runs beside it: a deleted namespace stays Terminating, owner references collect
    nothing, no namespace gets its `default` service account, and no pod is ever scheduled.

    Args:
        assets: the folder that holds `etcd` and `kube-apiserver`.
        users: names, and the groups of each; `tokens` has a token for each name. RBAC gives them
            no right of their own.
        audit: write an audit log (one JSON event a line; with the body where a status is written)
            to `audit_log`.
        ready_timeout_s: budget of each of the two servers, in seconds.

    Attributes:
        tokens: name -> bearer token.
        admin_token: of a user in the group system:masters.
        data: the folder of everything below; set by `start`, as are the ones that follow.
        url: of the API server, such as "https://127.0.0.1:35001".
        etcd_endpoint: plain HTTP, such as "http://127.0.0.1:35002".
        version: as /version says, such as "v1.34.0".
    """

    data: Path
    url: str
    etcd_endpoint: str
    version: str

    def __init__(
        self,
        assets: Path,
        *,
        users: Iterable[tuple[str, Sequence[str]]] = (),
        audit: bool = False,
        ready_timeout_s: float = PATIENCE_S,
    ) -> None:
        self._assets = assets
        self._groups = {ADMIN: ["system:masters"], **dict(users)}
        self._audit = audit
        self._ready_timeout_s = ready_timeout_s
        self._etcd: Child | None = None
        self._apiserver: Child | None = None
        self._connections: loopback_http.Connections | None = None
        self.tokens = {name: secrets.token_urlsafe(24) for name in self._groups}
        self.admin_token = self.tokens[ADMIN]

    @property
    def ca_file(self) -> Path:
        """The certificate to trust; the server makes it at its first start and keeps it."""
        return self.data / "certificates" / "apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        """The admin's; self-contained, for kubectl and every client library."""
        return self.data / "kubeconfig"

    @property
    def audit_log(self) -> Path | None:
        """None where the control plane was made without `audit`."""
        return self.data / "audit.log" if self._audit else None

    @property
    def pids(self) -> dict[str, int]:
        """Of the two servers, by name."""
        running = {"kube-apiserver": self._apiserver, "etcd": self._etcd}
        return {name: child.pid for name, child in running.items() if child}

    @property
    def version_info(self) -> tuple[int, int]:
        """Major and minor, for a test that needs a newer server: (1, 34)."""
        major, minor = re.findall(r"\d+", self.version)[:2]
        return int(major), int(minor)

    @property
    def crd_version_info(self) -> tuple[int, int]:
        """Of the part that serves CRDs and custom resources, for a test that needs CEL, say."""
        return self.version_info

    def start(self) -> Self:
        """Return once /readyz says ok.

        Raises:
            ChildFailed: a server did not come up; the message carries the end of its log.
            FileNotFoundError: `openssl` is not installed.
        """
        self.data = Path(tempfile.mkdtemp(prefix="tenantry-envtest-"))
        try:
            _write_signing_key(self.data / "service-account.key")
            self._write_tokens(self.data / "tokens.csv")
            (self.data / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))
            _retry_on_port_clash(self._start_etcd)
            _retry_on_port_clash(self._start_apiserver)
            write_kubeconfig(self.kubeconfig, self.url, self.ca_file, self.admin_token)
            self.version = self.request("GET", "/version")[1]["gitVersion"]
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End both servers and remove their data. Idempotent."""
        for child in (self._apiserver, self._etcd):
            if child:
                child.stop(grace_s=0)  # what they would bring into order is thrown away
        self._apiserver = self._etcd = None
        self._drop_connections()
        if hasattr(self, "data"):
            shutil.rmtree(self.data, ignore_errors=True)

    def restart_apiserver(self) -> None:
        """End the API server and start it again: same address, certificate, tokens and data.

        Raises:
            ChildFailed: it did not come back; PortTaken where a stranger took its port meanwhile.
        """
        if not self._apiserver:
            raise RuntimeError("the control plane does not run; call start() first")
        self._apiserver.stop(grace_s=STOP_GRACE_S)
        self._run_apiserver()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        timeout_s: float = 30.0,
    ) -> tuple[int, Any]:
        """Send one request, as the admin where no token is given.

        Returns:
            The HTTP status, whichever it is, and the body: decoded where it is JSON, else text.
        """
        if self._connections is None:
            trust = ssl.create_default_context(cafile=self.ca_file)
            self._connections = loopback_http.Connections(self.url, trust)
        return self._connections.exchange(
            method, path, body, token=token or self.admin_token, timeout_s=timeout_s
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _drop_connections(self) -> None:
        if self._connections is not None:
            self._connections.close()
            self._connections = None

    def _write_tokens(self, path: Path) -> None:
        """Write the server's token file: token, name, uid, groups."""
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(
                (self.tokens[name], name, name, ",".join(groups)) for name, groups in self._groups.items()
            )

    def _start_etcd(self) -> None:
        client_port, peer_port = ports.free_ports(2)
        self.etcd_endpoint = f"http://{HOST}:{client_port}"
        binary = self._assets / "etcd"
        name = secrets.token_hex(8)
        argv = [
            f"{binary}",
            f"--name={name}",
            f"--data-dir={self.data / 'etcd'}",
            f"--listen-client-urls={self.etcd_endpoint}",
            f"--advertise-client-urls={self.etcd_endpoint}",
            f"--listen-peer-urls=http://{HOST}:{peer_port}",
            *_without_fsync(binary),
        ]
        self._etcd = self._run(argv)
        self._etcd.wait_ready(lambda: _is_member(self.etcd_endpoint, name), timeout_s=self._ready_timeout_s)

    def _start_apiserver(self) -> None:
        (port,) = ports.free_ports(1)
        self.url = f"https://{HOST}:{port}"
        self._drop_connections()
        self._run_apiserver()

    def _run_apiserver(self) -> None:
        key = self.data / "service-account.key"
        argv = [
            f"{self._assets / 'kube-apiserver'}",
            f"--etcd-servers={self.etcd_endpoint}",
            f"--cert-dir={self.ca_file.parent}",
            f"--bind-address={HOST}",
            f"--secure-port={self.url.rpartition(':')[2]}",
            # Else it looks for a default route, which an offline machine lacks; and it could not
            # publish a loopback address as the endpoint of the `kubernetes` service.
            f"--advertise-address={HOST}",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--token-auth-file={self.data / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            # It would refuse pods, as no controller makes the `default` service account.
            "--disable-admission-plugins=ServiceAccount",
            "--enable-priority-and-fairness=false",  # half of what a server at rest costs
        ]
        argv += self._more_flags()
        if self.audit_log:
            argv.append(f"--audit-policy-file={self.data / 'audit-policy.json'}")
            argv.append(f"--audit-log-path={self.audit_log}")
        self._apiserver = self._run(argv)
        self._apiserver.wait_ready(self._is_ready, timeout_s=self._ready_timeout_s)

    def _more_flags(self) -> list[str]:
        """What a control plane with more parts adds."""
        return []

    def _is_ready(self) -> bool:
        """Only our own server passes: the connection trusts nothing but its certificate."""
        try:
            return self.request("GET", "/readyz", timeout_s=PROBE_TIMEOUT_S) == (200, "ok")
        except (OSError, http.client.HTTPException):
            return False

    def _run(self, argv: Sequence[str]) -> Child:
        # A bare environment, as etcd reads ETCD_*; before 3.5 it refuses arm64 without this one.
        env = {"HOME": str(self.data), "ETCD_UNSUPPORTED_ARCH": "arm64"}
        return Child(argv, log=self.data / f"{Path(argv[0]).name}.log", env=env)


def write_kubeconfig(path: Path, url: str, ca_file: Path, token: str) -> None:
    """Write a kubeconfig for the bearer of `token`, readable by its owner only.

    It is JSON, which every YAML reader takes.
    """
    certificate = base64.b64encode(ca_file.read_bytes()).decode()
    name = "envtest"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority-data": certificate}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=2))


def _write_signing_key(path: Path) -> None:
    """Write the RSA key that signs the tokens of service accounts."""
    openssl = shutil.which("openssl")
    if not openssl:
        raise FileNotFoundError("`openssl` makes the API server a key; install it")
    options = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(path)]
    subprocess.run([openssl, "genpkey", *options], check=True, capture_output=True)


def _retry_on_port_clash(start: Callable[[], None]) -> None:
    """A port is free when it is chosen and may be taken when the server binds it."""
    for _ in range(PORT_ATTEMPTS - 1):
        try:
            return start()
        except PortTaken:
            continue
    return start()


def _without_fsync(etcd: Path) -> list[str]:
    """The flag that skips fsync, where this etcd knows it: 3.4's help does not say, so ask."""
    flag = "--unsafe-no-fsync"
    known = subprocess.run([etcd, flag, "--version"], capture_output=True, check=False)
    return [flag] if known.returncode == 0 else []


def _is_member(endpoint: str, name: str) -> bool:
    """Whether the etcd that answers there is the one that we named so, not a stranger's."""
    url = f"{endpoint}/v3/cluster/member/list"
    try:
        _, answer = loopback_http.exchange("POST", url, {}, timeout_s=PROBE_TIMEOUT_S)
        return [member["name"] for member in answer["members"]] == [name]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return False
