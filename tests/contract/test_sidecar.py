"""A sidecar in an application's pods: the component, the chart's templates and the example agree."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import V1Container

from tenantry_server.roles import Role, is_loopback
from tenantry_server.settings import ServerSettings
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.deploying import helm, pod_security
from tests.support.kubernetes.deploying.helm import SIDECAR_CHART, HelmRefused
from tests.support.kubernetes.deploying.manifests import (
    MANIFESTS,
    PRODUCTION,
    ROOT,
    Document,
    apart,
    collection,
    create,
    dry_run,
    environment,
    labels_of,
    lost_in,
    of_kind,
    pod_of,
    rendered,
    the,
)

EXAMPLE = ROOT / "examples" / "sidecar"
COMPONENTS = MANIFESTS / "components"
LABEL = {"tenantry.dev/sidecar": "true"}
NAME = "tenantry-sidecar"
OURS = {"tenantry-socket", "tenantry-fleet", "tenantry-tls"}
# Servers from here on know containers that start before the others and run beside them.
NATIVE_SIDECARS = (1, 29)


@pytest.fixture(scope="module")
def shop() -> Document:
    """The example's Deployment, with the component."""
    return the(rendered(EXAMPLE), "Deployment", "shop")


@pytest.fixture(scope="module")
def charted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's chart, with what it depends on where `helm dependency build` puts it."""
    chart = tmp_path_factory.mktemp("charts") / "shop"
    shutil.copytree(EXAMPLE / "chart", chart)
    shutil.copytree(SIDECAR_CHART, chart / "charts" / NAME)
    return chart


def _by_helm(chart: Path, values: dict[str, Any] | None = None) -> Document:
    documents = helm.of_chart(chart, {NAME: values or {}}, name="shop", namespace="shop")
    return the(documents, "Deployment", "shop")


def _sidecar(workload: Document) -> Document:
    (found,) = (each for each in pod_of(workload)["initContainers"] if each["name"] == NAME)
    return dict(found)


def _env(workload: Document, pod_name: str, namespace: str = "shop") -> dict[str, str]:
    pod = {"spec": {"containers": [_sidecar(workload)]}}
    made = {"metadata": {"namespace": namespace}, "spec": {"template": pod}}
    return environment(made, pod_name, {})


# The pod


def test_it_starts_before_the_application_and_ends_after_it(shop: Document) -> None:
    """As an init container that is restarted: https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/."""
    sidecar = _sidecar(shop)
    assert sidecar["restartPolicy"] == "Always"
    assert "lifecycle" not in sidecar, "it is told to end once the application has ended"
    gets = {each: sidecar[f"{each}Probe"]["httpGet"] for each in ("startup", "liveness", "readiness")}
    assert {each: get["path"] for each, get in gets.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    (port,) = sidecar["ports"]
    assert {get["port"] for get in gets.values()} == {port["name"]}


def test_every_variable_is_a_setting_of_a_sidecar(shop: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TENANTRY_")]:
        monkeypatch.delenv(name)
    told = _env(shop, "shop-5d8f-x2x4z")
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    known = {f"TENANTRY_{field.upper()}" for field in ServerSettings.model_fields}
    assert {name for name in told if name.startswith("TENANTRY_")} <= known
    loaded = ServerSettings.load()
    assert loaded.role is Role.SIDECAR
    assert is_loopback(loaded.host)
    (port,) = _sidecar(shop)["ports"]
    assert loaded.probe_port == port["containerPort"]
    (base,) = (each for each in of_kind(rendered(PRODUCTION), "Service") if "clusterIP" not in each["spec"])
    assert loaded.fleet_urls() == [f"http://{base['metadata']['name']}.{base['metadata']['namespace']}.svc"]


def test_no_two_pods_of_a_cluster_follow_under_one_name(shop: Document) -> None:
    """Pods of two StatefulSets may have the same name, in two namespaces; logs tell them apart."""
    pods = [("a", "b-c-0"), ("a-b", "c-0"), ("a", "c-0")]
    names = {_env(shop, pod, namespace)["TENANTRY_SERVER_ID"] for namespace, pod in pods}
    assert len(names) == len(pods)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", name) for name in names)


def test_the_pod_keeps_the_rules_of_its_namespace(shop: Document, charted: Path) -> None:
    (namespace,) = of_kind(rendered(EXAMPLE), "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod_security.breaches(pod_of(shop)) == []
    assert pod_security.breaches(pod_of(_by_helm(charted))) == []
    alone = {"initContainers": [_sidecar(shop)]}
    assert pod_security.breaches(alone) == [], "whatever the application's pod says of itself"


def test_both_containers_have_the_socket_and_the_sidecar_alone_the_secret(shop: Document) -> None:
    (application,) = pod_of(shop)["containers"]
    sidecar = _sidecar(shop)
    mounts = [
        {each["name"]: each["mountPath"] for each in of["volumeMounts"]} for of in (application, sidecar)
    ]
    path = _env(shop, "it")["TENANTRY_SOCKET"]
    assert {"name": "SIDECAR_SOCKET", "value": path} in application["env"]
    assert {str(Path(path).parent)} == {each["tenantry-socket"] for each in mounts}
    assert [("tenantry-fleet" in each) for each in mounts] == [False, True]
    assert _env(shop, "it")["TENANTRY_FLEET_SECRET_FILE"] == f"{mounts[1]['tenantry-fleet']}/secrets"
    assert pod_of(shop)["securityContext"]["fsGroup"], "the socket is open to this group"
    taken = {port["containerPort"] for port in application["ports"]}
    assert taken.isdisjoint({int(_env(shop, "it")["TENANTRY_PORT"]), sidecar["ports"][0]["containerPort"]})


# An API server


def test_an_api_server_takes_the_example(plane: ControlPlane) -> None:
    """Older ones know no such container: then the rest of it is tried as one of the application's."""
    documents = apart(rendered(EXAMPLE))
    create(plane, of_kind(documents, "Namespace"))
    deployment = the(documents, "Deployment", "shop")
    status, answer = dry_run(plane, deployment)
    if plane.version_info < NATIVE_SIDECARS:
        probes = {
            f"spec.template.spec.initContainers[0].{each}Probe"
            for each in ("liveness", "readiness", "startup")
        }
        assert status == 422, f"{plane.version}: {answer}"
        assert {each["field"] for each in answer["details"]["causes"]} == probes
        pod = deployment["spec"]["template"]["spec"]
        (sidecar,) = pod.pop("initContainers")
        del sidecar["restartPolicy"]
        pod["containers"].append(sidecar)
        status, answer = dry_run(plane, deployment)
    assert status == 201, answer
    assert list(lost_in(collection(plane, deployment)[1], answer)) == []


def test_each_field_of_the_container_is_one_of_kubernetes(shop: Document) -> None:
    """As the client library of a release that has native sidecars knows them."""
    known = set(V1Container.attribute_map.values())
    assert "restartPolicy" in known
    assert set(_sidecar(shop)) <= known


# The component


def _composed(
    folder: Path, *documents: Document, components: Sequence[str] = ("sidecar",)
) -> list[Document]:
    (folder / "these.yaml").write_text(yaml.safe_dump_all(documents))
    named = ", ".join(os.path.relpath(COMPONENTS / each, folder.resolve()) for each in components)
    (folder / "kustomization.yaml").write_text(f"resources: [these.yaml]\ncomponents: [{named}]\n")
    return rendered(folder.resolve())


def _workload(kind: str, name: str, labels: dict[str, str], **pod: Any) -> Document:
    spec = {"containers": [{"name": "it", "image": "it"}], **pod}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "spec": {"template": {"metadata": {"labels": {"app": name}}, "spec": spec}},
    }


def test_only_workloads_with_the_label_get_one(tmp_path: Path) -> None:
    kinds = ("Deployment", "StatefulSet", "DaemonSet")
    others = [
        _workload("Deployment", "without", {}),
        _workload("Deployment", "not-so", {"tenantry.dev/sidecar": "false"}),
    ]
    made = _composed(tmp_path, *(_workload(kind, kind.lower(), LABEL) for kind in kinds), *others)
    have = {
        each["metadata"]["name"]: _sidecar(each)
        for each in made
        if "initContainers" in each["spec"]["template"]["spec"]
    }
    assert set(have) == {kind.lower() for kind in kinds}
    for each in made:
        labelled = LABEL.items() <= labels_of(each).items()
        assert labelled is (each["metadata"]["name"] in have)
        assert labels_of(each)["app"] == each["metadata"]["name"], "and the application's own stay"


def test_what_the_application_has_itself_stays_and_comes_after_it(tmp_path: Path) -> None:
    """Its own init containers may ask for predictions, too."""
    own = {
        "initContainers": [{"name": "migrate", "image": "it"}],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "securityContext": {"fsGroup": 7},
    }
    (made,) = _composed(tmp_path, _workload("Deployment", "it", LABEL, **own))
    pod = pod_of(made)
    assert [each["name"] for each in pod["initContainers"]] == [NAME, "migrate"]
    assert {each["name"] for each in pod["volumes"]} == {"data", "tenantry-socket", "tenantry-fleet"}
    assert pod["securityContext"] == {"fsGroup": 7}
    assert pod["containers"] == [{"name": "it", "image": "it"}]


# The chart's templates


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_the_charts_templates_make_what_the_components_add(
    tls: bool, charted: Path, tmp_path: Path
) -> None:
    image = {"image": "tenantry:0.1.0", "imagePullPolicy": "IfNotPresent"}
    (by_kustomize,) = _composed(
        tmp_path,
        _workload("Deployment", "it", LABEL),
        components=("sidecar", "sidecar-tls") if tls else ("sidecar",),
    )
    by_helm = _by_helm(
        charted,
        {"image": {"repository": "tenantry"}, "tls": {"secretName": "tenantry-tls" if tls else ""}},
    )
    assert _by_name(_sidecar(by_helm)) == _by_name({**_sidecar(by_kustomize), **image})
    assert LABEL.items() <= labels_of(by_helm).items()
    assert _by_name(pod_of(by_helm))["volumes"] == _by_name(pod_of(by_kustomize))["volumes"]
    (mount,) = pod_of(by_helm)["containers"][0]["volumeMounts"]
    assert mount in _sidecar(by_kustomize)["volumeMounts"]
    told = _env(by_helm, "it")
    assert told["TENANTRY_FLEET_URL"] == f"{'https' if tls else 'http'}://tenantry.tenantry.svc"
    assert ("TENANTRY_TLS_KEY" in told) is tls


def _by_name(of: Document) -> Document:
    """Its lists of named things without their order."""
    return {
        key: {each["name"]: each for each in value} if key in {"env", "volumes", "volumeMounts"} else value
        for key, value in of.items()
    }


def test_values_reach_the_sidecar_as_they_were_written(charted: Path) -> None:
    values = {
        "image": {"digest": f"sha256:{'0' * 64}"},
        "fleet": {"url": "https://one.example.com https://two.example.com", "secretName": "another"},
        "nearCacheBytes": 1 << 30,
        "port": 9000,
        "env": {"TENANTRY_LOG_LEVEL": "debug", "TENANTRY_LIMIT_BURST": 1_000_000},
    }
    made = _by_helm(charted, values)
    sidecar, told = _sidecar(made), _env(made, "it")
    assert sidecar["image"] == f"registry.example.com/tenantry@sha256:{'0' * 64}"
    assert told["TENANTRY_FLEET_URL"] == values["fleet"]["url"]  # type: ignore[index]
    assert (told["TENANTRY_NEAR_CACHE_BYTES"], told["TENANTRY_PORT"]) == (str(1 << 30), "9000")
    assert (told["TENANTRY_LOG_LEVEL"], told["TENANTRY_LIMIT_BURST"]) == ("debug", "1000000")
    secrets = {each["secret"]["secretName"] for each in pod_of(made)["volumes"] if "secret" in each}
    assert secrets == {"another"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cacheBytes": 1}, "additional properties 'cacheBytes' not allowed"),
        ({"fleet": {"url": "tenantry"}}, "'/fleet/url'"),
        ({"probePort": 0}, "'/probePort'"),
    ],
)
def test_a_value_that_the_templates_do_not_know_is_refused(
    charted: Path, values: dict[str, Any], words: str
) -> None:
    with pytest.raises(HelmRefused, match=re.escape(words)):
        _by_helm(charted, values)


def test_the_example_depends_on_the_chart_that_is_here() -> None:
    (dependency,) = yaml.safe_load((EXAMPLE / "chart" / "Chart.yaml").read_text())["dependencies"]
    chart = yaml.safe_load((SIDECAR_CHART / "Chart.yaml").read_text())
    assert (dependency["name"], dependency["version"]) == (chart["name"], chart["version"])
    there = (EXAMPLE / "chart" / dependency["repository"].removeprefix("file://")).resolve()
    assert there == SIDECAR_CHART


# Who may reach the servers


def _admitted(policy: Document, namespace: dict[str, str], pod: dict[str, str]) -> bool:
    """Whether a pod of another namespace may connect: in one entry of `from`, all selectors must agree."""
    (rule,) = policy["spec"]["ingress"]
    return any(
        each["namespaceSelector"].get("matchLabels", {}).items() <= namespace.items()
        and each.get("podSelector", {}).get("matchLabels", {}).items() <= pod.items()
        for each in rule["from"]
        if "namespaceSelector" in each
    )


@pytest.mark.parametrize("of", ["component", "chart"])
def test_pods_with_a_sidecar_reach_the_servers_and_their_neighbours_do_not(of: str, shop: Document) -> None:
    documents = (
        rendered(PRODUCTION) if of == "component" else helm.manifests({"networkPolicy": {"enabled": True}})
    )
    policy = the(documents, "NetworkPolicy", "tenantry-server")
    (namespace,) = of_kind(rendered(EXAMPLE), "Namespace")
    where, its = namespace["metadata"]["labels"], labels_of(shop)
    neighbour = {name: value for name, value in its.items() if name not in LABEL}
    assert _admitted(policy, where, its)
    assert not _admitted(policy, where, neighbour)
    assert not _admitted(policy, {"kubernetes.io/metadata.name": "elsewhere"}, its), (
        "everybody who may make a pod may give it labels"
    )
