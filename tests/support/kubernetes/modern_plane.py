"""A control plane whose CRDs are served by a modern apiextensions-apiserver, below an older core.

Owns: that server, its trust in the core, and the APIServices that make the two one address.
Refuses: finding its binary (`modern_assets`). `kubectl explain` shows nothing of CRDs here: the core does
not merge what they describe.
"""

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.kubernetes.control_plane import HOST, ControlPlane
from tests.support.network import ports
from tests.support.processes.child_process import Child

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUPS = ("v1.apiextensions.k8s.io", "v1alpha1.tenantry.dev", "v1beta1.tenantry.dev")
# Policies and webhooks, which ask the core for kinds that it is too old to have.
PLUGINS = (
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
)


class ModernPlane(ControlPlane):
    """A core with a modern server for CRDs and TenantModels: CEL, selectable fields, warnings.

    Args:
        assets: the folder of the core's binaries.
        crd_server: the apiextensions-apiserver.
        version: of that server: (1, 36).
        users: as ControlPlane.
    """

    def __init__(
        self,
        assets: Path,
        crd_server: Path,
        version: tuple[int, int],
        *,
        users: Iterable[tuple[str, Sequence[str]]] = (),
    ) -> None:
        super().__init__(assets, users=users)
        self._binary = crd_server
        self._crd_version = version
        self._crd_server: Child | None = None

    @property
    def crd_version_info(self) -> tuple[int, int]:
        """Of the server of CRDs."""
        return self._crd_version

    @property
    def pids(self) -> dict[str, int]:
        """Of the three servers, by name."""
        return super().pids | (
            {"apiextensions-apiserver": self._crd_server.pid} if self._crd_server else {}
        )

    def start(self) -> Self:
        """Return once both answer at the one address.

        Raises:
            ChildFailed: a server did not come up.
        """
        super().start()
        try:
            self._start_crd_server()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the three servers and remove their data. Idempotent."""
        if self._crd_server:
            self._crd_server.stop(grace_s=0)
            self._crd_server = None
        super().stop()

    def _more_flags(self) -> list[str]:
        """The core proves to the other server that it asks for somebody it knows."""
        certificate, key = self._front_proxy
        if not certificate.exists():
            options = ["-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=front-proxy"]
            files = ["-keyout", str(key), "-out", str(certificate)]
            openssl = shutil.which("openssl") or "openssl"  # the core's start needs it too
            subprocess.run([openssl, "req", "-x509", *options, *files], check=True, capture_output=True)
        return [f"--proxy-client-cert-file={certificate}", f"--proxy-client-key-file={key}"]

    @property
    def _front_proxy(self) -> tuple[Path, Path]:
        return self.data / "front-proxy.crt", self.data / "front-proxy.key"

    def _start_crd_server(self) -> None:
        (port,) = ports.free_ports(1)
        argv = [
            f"{self._binary}",
            f"--etcd-servers={self.etcd_endpoint}",
            "--etcd-prefix=/modern",
            f"--bind-address={HOST}",
            f"--secure-port={port}",
            f"--cert-dir={self.data / 'modern'}",
            f"--kubeconfig={self.kubeconfig}",
            f"--authentication-kubeconfig={self.kubeconfig}",
            f"--authorization-kubeconfig={self.kubeconfig}",
            "--authentication-skip-lookup",
            f"--requestheader-client-ca-file={self._front_proxy[0]}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--enable-priority-and-fairness=false",
            f"--disable-admission-plugins={','.join(PLUGINS)}",
        ]
        self._crd_server = self._run(argv)
        for path, body in self._registrations(port):
            self._register(path, body)
        self._crd_server.wait_ready(self._serves_crds, timeout_s=self._ready_timeout_s)

    def _register(self, path: str, body: dict[str, Any]) -> None:
        """Create an object, or replace the one that the core made for itself."""
        status, answer = self.request("POST", path, body)
        if status == 409:
            path = f"{path}/{body['metadata']['name']}"
            metadata = self.request("GET", path)[1]["metadata"]
            body["metadata"]["resourceVersion"] = metadata["resourceVersion"]
            status, answer = self.request("PUT", path, body)
        assert status in (200, 201), answer

    def _registrations(self, port: int) -> Iterable[tuple[str, dict[str, Any]]]:
        """Path and body of each object that makes the core pass requests on."""
        namespace, name = "kube-system", "modern"
        yield (
            f"/api/v1/namespaces/{namespace}/services",
            {"metadata": {"name": name}, "spec": {"type": "ExternalName", "externalName": "localhost"}},
        )
        for each in GROUPS:
            version, _, group = each.partition(".")
            yield (
                "/apis/apiregistration.k8s.io/v1/apiservices",
                {
                    "metadata": {
                        "name": each,
                        "labels": {"kube-aggregator.kubernetes.io/automanaged": "false"},
                    },
                    "spec": {
                        "group": group,
                        "version": version,
                        "service": {"namespace": namespace, "name": name, "port": port},
                        "insecureSkipTLSVerify": True,
                        "groupPriorityMinimum": 1000,
                        "versionPriority": 100,
                    },
                },
            )

    def _serves_crds(self) -> bool:
        """Whether the core passes requests for CRDs on, and no longer answers them itself."""
        return self._available(GROUPS[0]) and self.request("GET", CRDS)[0] == 200

    def _available(self, name: str) -> bool:
        _, found = self.request("GET", f"/apis/apiregistration.k8s.io/v1/apiservices/{name}")
        return any(
            each["type"] == "Available" and each["status"] == "True"
            for each in found.get("status", {}).get("conditions", [])
        )
