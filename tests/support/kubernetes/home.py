"""An operator and servers on a real API server and a registry, and what a person does to them."""

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from sklearn.linear_model import LinearRegression

from tenantry import TenantModel
from tenantry.errors import RegistryMismatch
from tenantry.registry import RegistryReader
from tenantry_cli.views import overview
from tenantry_server import publish
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.processes import launching
from tests.support.processes.child_process import Child, stop_all
from tests.support.processes.launching import TENANTRY
from tests.support.processes.up import Reply, ask
from tests.support.waiting import PATIENCE_S, until

CRD = Path(__file__).parents[3] / "crds" / "tenantmodel.yaml"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POLICY_CRD = CRD.with_name("tenantpolicy.yaml")
TENANT_POLICIES = "/apis/tenantry.dev/v1alpha1/tenantpolicies"
TENANT_MODELS = "/apis/tenantry.dev/v1alpha1/namespaces/default/tenantmodels"


def install_crd(plane: ControlPlane) -> None:
    """Until both kinds are served; POST, as a new kubectl refuses CEL rules on an old server."""
    both = [TENANT_MODELS.replace("v1alpha1", version) for version in ("v1alpha1", "v1beta1")]
    for path, served in ((CRD, both), (POLICY_CRD, [TENANT_POLICIES])):
        status, body = plane.request("POST", CRDS, yaml.load(path.read_text(), yaml.CSafeLoader))
        assert status in (201, 409), body
        for each in served:
            _until_served(plane, each)


def forget_all(plane: ControlPlane) -> None:
    """Delete every TenantModel and TenantPolicy, in whatever namespace another file's tests left it.

    An older one keeps its user: the next file's operator, whose registry is new, would say UserIdConflict.
    """
    group = "/apis/tenantry.dev/v1alpha1"
    for kind in ("tenantmodels", "tenantpolicies"):
        status, listed = plane.request("GET", f"{group}/{kind}")
        for item in listed["items"] if status == 200 else ():
            about = item["metadata"]
            space = f"/namespaces/{about['namespace']}" if "namespace" in about else ""
            assert plane.request("DELETE", f"{group}{space}/{kind}/{about['name']}")[0] in (200, 404)


def _until_served(plane: ControlPlane, path: str) -> None:
    until(lambda: plane.request("GET", path)[0] == 200, "the CRD is served")


class Home:
    """Processes on one registry, each with a log of its own, and the TenantModels of `default`.

    Args:
        plane: with the CRD installed.
        folder: for artifacts, logs and, by default, the registry.
        registry_url: another registry.
    """

    def __init__(self, plane: ControlPlane, folder: Path, registry_url: str | None = None) -> None:
        self.plane = plane
        self.folder = folder
        self.registry_url = registry_url or f"sqlite:///{folder}/registry.db"
        log = plane.audit_log  # which other tests of the same API server have written to
        self._audited = 0 if log is None else log.stat().st_size
        self.children: dict[str, Child] = {}

    def stop(self) -> None:
        """End every process."""
        stop_all(self.children.values(), grace_s=20)

    # Processes

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
        """Start a process called `name`, as the admin where `env` names no other kubeconfig."""
        whole = {
            **os.environ,
            "KUBECONFIG": str(self.plane.kubeconfig),
            "TENANTRY_REGISTRY_URL": self.registry_url,
            "TENANTRY_FILE_ROOTS": str(self.folder),
            **(env or {}),
        }
        self.children[name] = Child(argv, log=self.folder / f"{name}.log", env=whole)
        return self.children[name]

    def start_operator(
        self, *args: str, name: str = "operator", env: Mapping[str, str] | None = None
    ) -> Child:
        """`tenantry operator --kubernetes ARGS`."""
        return self.start(name, [*TENANTRY, "operator", "--kubernetes", *args], env)

    def start_server(self, server_id: str = "server-0", env: Mapping[str, str] | None = None) -> Child:
        """`tenantry serve`, under this name."""
        return self.start(server_id, [*TENANTRY, "serve", "--server-id", server_id], env)

    def log(self, name: str) -> str:
        """What a process wrote so far, in all its lives."""
        return (self.folder / f"{name}.log").read_text()

    def leads(self, name: str = "operator") -> bool:
        """Whether this process ever led."""
        return '"event": "leading"' in self.log(name)

    def probe(self, path: str, name: str = "operator") -> tuple[int, str]:
        """Status and body of a path of this operator's probes; it was started with `--probe-port 0`."""
        url = until(
            lambda: re.findall(r'"url": "(\S+)", "event": "probes"', self.log(name)), f"{name}'s probes"
        )
        reply = ask(urllib.request.Request(url[-1] + path))
        return reply.status, str(reply.body)

    def servers(self) -> dict[str, str]:
        """Base URL of each live server, by its id; none where there is no registry yet."""
        try:
            with RegistryReader.of_existing(self.registry_url) as registry:
                return {server.server_id: server.endpoint for server in overview.live_servers(registry)}
        except RegistryMismatch:
            return {}

    # The cluster

    def publish(self, user_id: str, slope: float) -> TenantModel:
        """An artifact that answers `slope * x` for one row `[x]`, and a TenantModel for it."""
        fitted = LinearRegression().fit([[0.0], [1.0]], [0.0, slope])
        return publish(fitted, user_id=user_id, to=self.folder / "models")

    def apply(self, declared: TenantModel) -> dict[str, Any]:
        """Create, or replace the spec of what stands there."""
        path = f"{TENANT_MODELS}/{declared.name}"
        status, found = self.plane.request("GET", path)
        document = declared.to_manifest()
        if status == 404:
            status, body = self.plane.request("POST", TENANT_MODELS, document)
        else:
            found["spec"] = document["spec"]
            status, body = self.plane.request("PUT", path, found)
        assert status in (200, 201), body
        return dict(body)

    def restrict(self, name: str, **spec: Any) -> None:
        """Create a TenantPolicy."""
        document = {
            "apiVersion": "tenantry.dev/v1alpha1",
            "kind": "TenantPolicy",
            "metadata": {"name": name},
            "spec": spec,
        }
        status, body = self.plane.request("POST", TENANT_POLICIES, document)
        assert status == 201, body

    def delete(self, name: str) -> None:
        assert self.plane.request("DELETE", f"{TENANT_MODELS}/{name}")[0] == 200

    def get(self, name: str) -> dict[str, Any]:
        return dict(self.plane.request("GET", f"{TENANT_MODELS}/{name}")[1])

    def until(self, name: str, reason: str, *, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """Until the status speaks of the newest generation, with this reason."""

        def settled() -> dict[str, Any] | None:
            found = self.get(name)
            status = found["status"]
            ready = [c for c in status.get("conditions", []) if c["type"] == "Ready"]
            newest = status["observedGeneration"] == found["metadata"]["generation"]
            return found if newest and ready and ready[0]["reason"] == reason else None

        found = until(settled, f"{name} {reason}", timeout_s=timeout_s)
        assert found is not None
        return found

    def settled_writes(self, name: str) -> list[str]:
        """The reason of each status that was written and is Ready or Stalled, oldest first.

        As the API server's own audit log has them. What is under way for long has a write as well, which a
        busy machine makes true.
        """
        assert self.plane.audit_log is not None
        audited = self.plane.audit_log.read_bytes()[self._audited :]
        patches = (line for line in audited.decode().splitlines() if '"verb":"patch"' in line)
        return [
            _conditions(line["requestObject"])[0]["reason"]
            for line in map(json.loads, patches)
            if line["stage"] == "ResponseComplete"
            and line["objectRef"]["resource"] == "tenantmodels"
            and line["objectRef"].get("name") == name
            and line["objectRef"].get("subresource") == "status"
            and line["responseStatus"]["code"] == 200
            and not any(told["type"] == "Reconciling" for told in _conditions(line["requestObject"]))
        ]

    # Predictions

    def ask(self, user_id: str, x: float, server_id: str = "server-0") -> Reply:
        """One prediction for the row `[x]`, from this server."""
        return self.ask_at(self.servers()[server_id], user_id, x)

    def ask_at(self, url: str, user_id: str, x: float) -> Reply:
        """One prediction for the row `[x]`, from the server at this address."""
        body = json.dumps({"instances": [[x]]}).encode()
        return ask(urllib.request.Request(f"{url}/predict/{user_id}", data=body))

    def predict(self, user_id: str, x: float, server_id: str = "server-0") -> float | None:
        """The number that `ask` gives; None: this user has no model."""
        reply = self.ask(user_id, x, server_id)
        if reply.status == 404:
            return None
        assert reply.status == 200, reply.body
        return float(reply.body["predictions"][0])

    def tenantry(self, *args: str) -> "subprocess.CompletedProcess[str]":
        """`tenantry ARGS` on this registry."""
        env = {**os.environ, "TENANTRY_REGISTRY_URL": self.registry_url}
        return launching.run(args, env=env, timeout_s=180.0)


def _conditions(written: Mapping[str, Any]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = written["status"]["conditions"]
    return told
