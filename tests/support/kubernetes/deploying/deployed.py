"""A deployment as its manifests say it, its processes started here: what a kubelet would run, without one.

Owns: accounts and roles on an API server, the accounts' tokens, commands and environment of the manifests.
Refuses: addresses of the manifests, as nothing here resolves the names of pods.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.kubernetes.control_plane import ControlPlane, write_kubeconfig
from tests.support.kubernetes.deploying import manifests
from tests.support.kubernetes.deploying.manifests import (
    NAMESPACE,
    Document,
    container_of,
    environment,
    of_kind,
    the,
)
from tests.support.kubernetes.home import Home
from tests.support.network.ports import free_ports
from tests.support.processes.child_process import Child

OPERATOR, SERVER = "tenantry-operator", "tenantry-server"


class Deployed(Home):
    """The deployment that `documents` are, its processes started with the accounts' own tokens."""

    def __init__(
        self, plane: ControlPlane, folder: Path, registry_url: str, documents: Iterable[Document]
    ) -> None:
        super().__init__(plane, folder, registry_url)
        self.documents = list(documents)
        roles = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
        kinds = ("Namespace", "ServiceAccount", "StatefulSet", *roles)
        manifests.create(plane, of_kind(self.documents, *kinds))
        self.tokens = {account: token(plane, account) for account in (OPERATOR, SERVER)}
        for account, its in self.tokens.items():
            write_kubeconfig(self._kubeconfig(account), plane.url, plane.ca_file, its)

    def _kubeconfig(self, account: str) -> Path:
        return self.folder / f"{account}.kubeconfig"

    def run(self, kind: str, account: str, name: str, **addresses: str) -> Child:
        """Start the container of a workload as a process."""
        workload = the(self.documents, kind, account)
        made = environment(workload, name, {("tenantry-registry", "url"): self.registry_url})
        python, *arguments = container_of(workload)["command"]
        assert python == "python"
        return self.start(
            name,
            [sys.executable, *arguments],
            {**made, **addresses, "KUBECONFIG": str(self._kubeconfig(account))},
        )

    def run_operator(self, name: str) -> Child:
        local = {"TENANTRY_PROBE_HOST": "127.0.0.1", "TENANTRY_PROBE_PORT": "0"}
        return self.run("Deployment", OPERATOR, name, **local)

    def run_server(self, name: str, **settings: str) -> Child:
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        local = {"TENANTRY_HOST": "127.0.0.1", "TENANTRY_PORT": str(port), "TENANTRY_ADVERTISE_URL": url}
        return self.run("StatefulSet", SERVER, name, **local, **settings)

    def probes(self, name: str) -> str:
        """Where an operator answers the kubelet."""
        found = re.search(r'"url": "(http://[^"]+)", "event": "probes"', self.log(name))
        assert found
        return found[1]


def token(plane: ControlPlane, account: str, **spec: Any) -> str:
    """As a kubelet asks for the token that it puts into a pod."""
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    status, body = plane.request("POST", path, request)
    assert status == 201, body
    return str(body["status"]["token"])
