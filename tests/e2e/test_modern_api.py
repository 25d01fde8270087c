"""Operator, server, kubectl and its plugin on an API server of today: CEL, selectable fields, versions."""

import json
import os
import re
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tenantry_cli.plugin.commands import cli
from tenantry_server.publishing import to_yaml
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.deploying.manifests import BASE, composed, create, of_kind, rendered
from tests.support.kubernetes.deploying.manifests import CRDS as CRD_FOLDER
from tests.support.kubernetes.home import CRD, CRDS, Home, install_crd
from tests.support.kubernetes.kubectl import Kubectl
from tests.support.waiting import PATIENCE_S, until

TIMEOUT = f"--timeout={PATIENCE_S:g}s"


@pytest.fixture(scope="module")
def home(modern: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    install_crd(modern)
    started = Home(modern, tmp_path_factory.mktemp("modern"))
    try:
        started.start_operator()
        started.start_server(env={"TENANTRY_OPEN_LISTS": "true"})
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def kubectl(modern: ControlPlane) -> Kubectl:
    return Kubectl(modern.kubeconfig)


def test_a_tenant_model_of_v1beta1_becomes_ready_and_its_user_stays(home: Home, kubectl: Kubectl) -> None:
    """The same manifest in v1alpha1 changes nothing afterwards; another userId is refused by CEL."""
    manifest = to_yaml(home.publish("ann", 2.0))
    newer = manifest.replace("tenantry.dev/v1alpha1", "tenantry.dev/v1beta1")
    kubectl.ok("apply", "-f", "-", stdin=newer)
    kubectl.ok("wait", "--for=condition=Ready", TIMEOUT, "tm/ann")
    assert home.predict("ann", 4.0) == pytest.approx(8.0)
    before = kubectl.json("get", "tm", "ann")
    assert before["apiVersion"] == "tenantry.dev/v1beta1", "the newest is what kubectl asks for"
    kubectl.ok("apply", "-f", "-", stdin=manifest)
    after = kubectl.json("get", "tm", "ann")
    assert after["metadata"]["generation"] == before["metadata"]["generation"] == 1
    assert after["status"] == before["status"]
    done = kubectl.run("apply", "-f", "-", stdin=manifest.replace("userId: ann", "userId: somebody-else"))
    assert done.returncode == 1
    assert "userId is immutable; delete this TenantModel and declare another one" in done.stderr


def test_a_tenant_model_is_found_by_its_user(home: Home, kubectl: Kubectl) -> None:
    for user in ("bob", "cid"):
        kubectl.ok("apply", "-f", "-", stdin=to_yaml(home.publish(user, 1.0)))
    kubectl.ok("wait", "--for=condition=Ready", TIMEOUT, "tm/bob", "tm/cid")
    for version in ("v1alpha1", "v1beta1"):
        kind = f"tenantmodels.{version}.tenantry.dev"
        table = kubectl.ok("get", kind, "-A", "--field-selector", "spec.userId=cid").splitlines()
        assert table[0].split() == ["NAMESPACE", "NAME", "USER", "READY", "REASON", "AGE"]
        assert [line.split()[:5] for line in table[1:]] == [["default", "cid", "cid", "True", "Ready"]]


# kubectl tenantry


@pytest.fixture
def plugin(kubectl: Kubectl, modern: ControlPlane) -> Callable[..., Result]:
    """Runs `kubectl tenantry ARGS` in this process, with the same kubectl."""
    path = f"{kubectl.binary.parent}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": path, "KUBECONFIG": str(modern.kubeconfig)}
    return lambda *args: CliRunner().invoke(cli, args, env=env, catch_exceptions=False)


def test_the_plugin_says_why_a_user_waits_and_who_wrote_what(
    home: Home, kubectl: Kubectl, plugin: Callable[..., Result]
) -> None:
    kubectl.ok("apply", "-f", "-", stdin=to_yaml(home.publish("eve", 1.0)))
    kubectl.ok("wait", "--for=condition=Ready", TIMEOUT, "tm/eve")
    bad = home.publish("fay", 1.0).to_manifest()
    bad["spec"]["model"] = {"uri": f"file://{home.folder}/nowhere.joblib"}
    kubectl.ok("apply", "-f", "-", stdin=yaml.safe_dump(bad))
    home.until("fay", "ArtifactNotFound")
    done = plugin("why", "eve")
    assert done.exit_code == 0
    assert "Ready Ready" in done.stdout
    assert home.get("eve")["status"]["modelId"] in done.stdout
    done = plugin("why", "fay")
    assert done.exit_code == 1, "nothing answers for fay"
    assert f"no artifact at file://{home.folder}/nowhere.joblib; publish it there" in done.stdout
    told = plugin("history", "eve").stdout
    assert re.search(r"kubectl-client-side-apply +wrote spec", told), told
    assert re.search(r"tenantry-operator +wrote status", told), told
    assert "Ready is True: Ready" in told
    done = plugin("why", "nobody")
    assert (done.exit_code, "no TenantModel has the userId 'nobody'" in done.output) == (1, True)


def test_the_plugin_counts_reasons_and_reports_missing_pods(
    home: Home, plugin: Callable[..., Result], tmp_path: Path
) -> None:
    """There is no controller here, so no pod of the manifests ever runs."""
    done = plugin("status")
    assert "nothing of Tenantry runs in the namespace tenantry" in done.stderr
    base = rendered(BASE)
    create(home.plane, of_kind(base, "Namespace", "Deployment", "StatefulSet"))
    secret: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "tenantry-registry"},
    }
    secret["stringData"] = {"url": "postgresql://me:hunter2@db/tenantry"}
    assert home.plane.request("POST", "/api/v1/namespaces/tenantry/secrets", secret)[0] == 201
    done = plugin("status")
    assert done.exit_code == 1
    assert re.search(r"deployment/tenantry-operator +0 +2 +tenantry", done.stdout), done.stdout
    assert re.search(r"statefulset/tenantry-server +0 +2 +tenantry", done.stdout)
    assert re.search(r"ArtifactNotFound +1 +default/fay +no artifact at ", done.stdout), done.stdout
    assert re.search(r"\d of \d TenantModels Ready", done.stderr)
    archive = tmp_path / "report.tar.gz"
    done = plugin("report", "-o", str(archive))
    assert done.exit_code == 0, done.output
    with tarfile.open(archive) as packed:
        files = {each.name: packed.extractfile(each) for each in packed}
        texts = {name: file.read().decode() for name, file in files.items() if file is not None}
    assert "ArtifactNotFound" in texts["tenantry-report/tenantmodels.json"]
    assert "secretKeyRef" in texts["tenantry-report/deployments.json"]
    assert "hunter2" not in "".join(texts.values())
    assert not any("secret" in name for name in texts)


_IN_PODS = """#!{python}
import os, sys
if "exec" not in sys.argv:
    os.execv({kubectl!r}, [{kubectl!r}, *sys.argv[1:]])
command = sys.argv[sys.argv.index("--") + 1 :]
os.execve(sys.executable, [sys.executable, *command[1:]], os.environ | {{"TENANTRY_REGISTRY_URL": {url!r}}})
"""


def test_the_plugin_shows_which_tenants_ask_most_and_what_servers_hold(
    home: Home, kubectl: Kubectl, modern: ControlPlane, tmp_path: Path
) -> None:
    """No kubelet is here to run `exec`: what should run in a pod runs beside it, over the same registry."""
    for user in ("gil", "hal"):
        kubectl.ok("apply", "-f", "-", stdin=to_yaml(home.publish(user, 1.0)))
    kubectl.ok("wait", "--for=condition=Ready", TIMEOUT, "tm/gil", "tm/hal")
    for _ in range(40):  # more than any other test here asks
        home.predict("gil", 2.0)
    home.predict("hal", 2.0)
    wrapper = tmp_path / "kubectl"
    wrapper.write_text(
        _IN_PODS.format(python=sys.executable, kubectl=str(kubectl.binary), url=home.registry_url)
    )
    wrapper.chmod(0o755)
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "KUBECONFIG": str(modern.kubeconfig)}
    done = CliRunner().invoke(cli, ["top"], env=env, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    first, second, *_ = done.stdout.splitlines()
    assert first.split()[:2] == ["USER", "REQUESTS"]
    user_id, requests, *_ = second.split()
    assert (user_id, int(requests) >= 40) == ("gil", True)
    done = CliRunner().invoke(cli, ["top", "--by", "bytes", "-o", "json"], env=env, catch_exceptions=False)
    held = {one["userId"]: one["bytes"] for one in json.loads(done.stdout)["tenants"]}
    assert held["gil"] > 0
    assert held["hal"] > 0
    done = CliRunner().invoke(cli, ["top", "servers"], env=env, catch_exceptions=False)
    assert re.search(r"server-0 +live +1024", done.stdout), done.output


def test_v1alpha1_warns_once_it_is_deprecated(home: Home, kubectl: Kubectl, tmp_path: Path) -> None:
    """Only clients of v1alpha1 see it, and the operator goes on."""
    plane, name = home.plane, "tenantmodels.tenantry.dev"
    assert "Warning" not in kubectl.run("get", "tenantmodels.v1alpha1.tenantry.dev").stderr
    composed_crds = composed(tmp_path, CRD_FOLDER, CRD_FOLDER / "deprecated-v1alpha1")
    deprecated = next(crd for crd in composed_crds if crd["metadata"]["name"] == name)
    found = plane.request("GET", f"{CRDS}/{name}")[1]
    found["spec"] = deprecated["spec"]
    assert plane.request("PUT", f"{CRDS}/{name}", found)[0] == 200
    warned = until(
        lambda: kubectl.run("get", "tenantmodels.v1alpha1.tenantry.dev").stderr, "the API server warns"
    )
    assert (
        "Warning: tenantry.dev/v1alpha1 TenantModel is deprecated; write apiVersion tenantry.dev/v1beta1"
        in warned
    )
    assert "Warning" not in kubectl.run("get", "tenantmodels.v1beta1.tenantry.dev").stderr
    kubectl.ok("apply", "-f", "-", stdin=to_yaml(home.publish("dan", 3.0)))
    kubectl.ok("wait", "--for=condition=Ready", TIMEOUT, "tm/dan")
    found = plane.request("GET", f"{CRDS}/{name}")[1]
    found["spec"] = yaml.safe_load(CRD.read_text())["spec"]
    assert plane.request("PUT", f"{CRDS}/{name}", found)[0] == 200
