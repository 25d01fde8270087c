"""The chart says what manifests/ says, refuses values that it does not know, and installs."""

import base64
import itertools
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.deploying import helm
from tests.support.kubernetes.deploying.chart_values import CASES
from tests.support.kubernetes.deploying.helm import CHART, CRDS_CHART, SIDECAR_CHART, HelmRefused
from tests.support.kubernetes.deploying.manifests import (
    BASE,
    MANIFESTS,
    NAMESPACE,
    ROOT,
    Document,
    composed,
    container_of,
    environment,
    of_kind,
    pod_of,
    rendered,
    the,
    title,
    workloads,
)
from tests.support.kubernetes.home import CRDS as CRD_OBJECTS
from tests.support.waiting import until

# What takes the place of each component of manifests/.
VALUES: dict[str, dict[str, Any]] = {
    "autoscaling": {"autoscaling": {"by": "cpu"}},
    "network-policy": {"networkPolicy": {"enabled": True}},
    "priority": {"priorityClass": {"create": True}},
    "monitoring": {"monitoring": {"podMonitor": True, "alerts": True, "dashboard": True}},
    "tls": {"tls": {"secretName": "tenantry-tls"}},
    "fleet-secret": {"fleet": {"secretName": "tenantry-fleet"}},
}
COMPONENTS = MANIFESTS / "components"
# Where the chart may differ from the manifests: a pattern of `KIND/NAME.PATH`, and why.
DIFFERENCES = {
    r"Namespace/tenantry\..*": "helm makes it, with --create-namespace",
    r".*\.metadata\.labels\.[\w./-]+": "what helm and other tools find objects by",
    r".*\.(matchLabels|selector|podSelector)\.app\.kubernetes\.io/instance": "two releases, two fleets",
    r".*\.containers\.\w+\.image": "the chart's appVersion",
    r".*\.containers\.\w+\.imagePullPolicy": "a value",
    r"Pod/tenantry-test\..*": "what `helm test` runs",
}
OF_COMPONENTS = {
    r"(Certificate|Issuer)/.*": "the chart takes the Secret that cert-manager, or a person, makes",
    r"NetworkPolicy/tenantry-server\.spec\.ingress\.0\.from\.5\..*": "the pod of `helm test`",
}


class Difference(NamedTuple):
    where: str
    in_manifests: Any
    in_chart: Any


# One truth


def test_the_chart_differs_from_the_base_only_where_it_is_said() -> None:
    assert _unsaid(rendered(BASE), helm.manifests(), DIFFERENCES) == []


def test_with_all_components_too(tmp_path: Path) -> None:
    there = [each for each in VALUES if (COMPONENTS / each).is_dir()]
    manifests = composed(tmp_path, BASE, *(COMPONENTS / each for each in there))
    values = {key: value for each in there for key, value in VALUES[each].items()}
    assert _unsaid(manifests, helm.manifests(values), DIFFERENCES | OF_COMPONENTS) == []


def test_every_component_is_an_option_of_the_chart() -> None:
    """But for the sidecar, which is a part of an application's chart: see test_sidecar.py."""
    assert {each.name for each in COMPONENTS.iterdir()} <= {*VALUES, "sidecar", "sidecar-tls"}


def _unsaid(manifests: list[Document], chart: list[Document], said: dict[str, str]) -> list[Difference]:
    found = _differences(manifests, chart)
    return [each for each in found if not any(re.fullmatch(pattern, each.where) for pattern in said)]


@pytest.mark.parametrize("pattern", DIFFERENCES)
def test_each_difference_that_is_said_is_one(pattern: str) -> None:
    found = [each.where for each in _differences(rendered(BASE), helm.manifests())]
    assert any(re.fullmatch(pattern, each) for each in found), found


def _differences(manifests: list[Document], chart: list[Document]) -> list[Difference]:
    """In objects, or in a field of one; a list's items are told apart by their names."""
    before, after = (dict(_leaves_of(documents)) for documents in (manifests, chart))
    return [
        Difference(where, before.get(where), after.get(where))
        for where in sorted({*before, *after})
        if before.get(where) != after.get(where)
    ]


def _leaves_of(documents: list[Document]) -> Iterator[tuple[str, Any]]:
    for document in documents:
        yield from _leaves(document, title(document))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for index, each in enumerate(value):
            named = isinstance(each, dict) and "name" in each
            yield from _leaves(each, f"{path}.{each['name'] if named else index}")
    else:
        yield path, value


@pytest.mark.parametrize(
    ("copy", "source"),
    [
        ("tenantry-crds/templates/tenantmodel.yaml", "crds/tenantmodel.yaml"),
        ("tenantry-crds/templates/tenantpolicy.yaml", "crds/tenantpolicy.yaml"),
        ("tenantry/files/alerts.yaml", "manifests/components/monitoring/alerts.yaml"),
        ("tenantry/files/dashboard.json", "manifests/components/monitoring/dashboard.json"),
    ],
)
def test_what_a_chart_holds_a_copy_of_is_the_same(copy: str, source: str) -> None:
    """Helm packs nothing that is outside a chart, and Flux follows no symbolic link."""
    assert (ROOT / "charts" / copy).read_text() == (ROOT / source).read_text(), "run `make charts`"


def test_every_crd_is_in_the_chart_of_crds() -> None:
    listed = yaml.safe_load((ROOT / "crds" / "kustomization.yaml").read_text())["resources"]
    there = {each.name for each in (CRDS_CHART / "templates").glob("*.yaml")}
    assert there == set(listed), "run `make charts`"


@pytest.mark.parametrize("chart", [CHART, CRDS_CHART, SIDECAR_CHART], ids=lambda chart: chart.name)
def test_chart_and_product_have_one_version(chart: Path) -> None:
    said = yaml.safe_load((chart / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (said["version"], said["appVersion"]) == (version, version)


# Values


@pytest.mark.parametrize("case", CASES)
def test_helm_has_nothing_against_the_chart(case: str) -> None:
    assert helm.lint(CHART, CASES[case]) == []


@pytest.mark.parametrize("chart", [CRDS_CHART, SIDECAR_CHART], ids=lambda chart: chart.name)
def test_helm_has_nothing_against_the_other_charts(chart: Path) -> None:
    assert helm.lint(chart) == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"server": {"replica": 3}}, "additional properties 'replica' not allowed"),
        ({"registry": {"url": "postgresql://me:secret@db/x"}}, "additional properties 'url'"),
        ({"image": {"digest": "latest"}}, "'/image/digest': 'latest' does not match pattern"),
        ({"autoscaling": {"by": "keda"}}, "'/autoscaling/prometheusUrl': minLength"),
        ({"autoscaling": {"by": "memory"}}, "'/autoscaling/by': value must be one of"),
        ({"server": {"podDisruptionBudget": {"maxUnavailable": 0}}}, "minimum: got 0, want 1"),
        ({"server": {"env": {"log level": "debug"}}}, "invalid propertyName 'log level'"),
        ({"postgresql": {"enabled": True, "password": "a@b/c"}}, "'/postgresql/password'"),
    ],
)
def test_a_value_that_the_chart_does_not_know_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(HelmRefused, match=re.escape(words)):
        helm.manifests(values)


@pytest.mark.parametrize("chart", [CHART, SIDECAR_CHART], ids=lambda chart: chart.name)
def test_the_schema_has_every_value_and_no_other(chart: Path) -> None:
    """A value without a type would be refused, and a type without a default found by nobody."""
    schema = json.loads((chart / "values.schema.json").read_text())
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    of_the_chart_above = {"global", "enabled"} if chart == SIDECAR_CHART else {"global"}
    assert set(_paths(defaults)) == set(_paths_of_schema(schema)) - of_the_chart_above


_OF_A_PERSON = {"probes", "resources", "clientNamespaceLabels", "sidecarNamespaceLabels"}


def _paths(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Of the maps that the chart itself gives keys; the others' keys are a person's."""
    for key, value in values.items():
        yield prefix + key
        if isinstance(value, dict) and key not in _OF_A_PERSON:
            yield from _paths(value, f"{prefix}{key}.")


def _paths_of_schema(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in schema["properties"].items():
        yield prefix + key
        if "properties" in value and key not in {"probes", "resources"}:
            yield from _paths_of_schema(value, f"{prefix}{key}.")


def test_values_reach_the_pods_as_they_were_written() -> None:
    """Helm reads numbers as floats, and prints a million as 1e+06 where nobody takes care."""
    documents = helm.manifests(CASES["production"])
    server = the(documents, "StatefulSet", "tenantry-server")
    told = {each["name"]: each.get("value") for each in container_of(server)["env"]}
    assert told["TENANTRY_LIMIT_BURST"] == "1000000"
    assert told["TENANTRY_OPEN_LISTS"] == "true"
    assert told["TENANTRY_CACHE_BYTES"] == str(2 << 30)
    assert told["AWS_ENDPOINT_URL_S3"] == "https://s3.example.com"
    assert container_of(server)["image"] == f"registry.example.com/tenantry@sha256:{'0' * 64}"
    pod = pod_of(server)
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert {pod["nodeSelector"]["kubernetes.io/arch"], pod["tolerations"][0]["key"]} == {"arm64", "ml"}
    assert pod_of(the(documents, "Deployment", "tenantry-operator")).get("tolerations") is None


def test_another_name_and_namespace_are_everywhere() -> None:
    """Nothing of one release would be another one's."""
    documents = helm.manifests(CASES["for trying"], name="blue", namespace="elsewhere")
    cluster_wide = {"ClusterRole", "ClusterRoleBinding"}
    for each in documents:
        assert each["metadata"]["name"].startswith("blue-tenantry"), title(each)
        spaces = {each["metadata"].get("namespace"), *(s["namespace"] for s in each.get("subjects", []))}
        assert spaces - {None} <= {"elsewhere"}, title(each)
        assert ("namespace" in each["metadata"]) is (each["kind"] not in cluster_wide), title(each)
    for workload in workloads(documents):
        assert workload["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "blue"
    operator = the(documents, "Deployment", "blue-tenantry-operator")
    told = environment(operator, "it", {("blue-tenantry-postgres", "url"): "postgresql://"})
    assert told["TENANTRY_LEASE"] == "elsewhere/blue-tenantry-operator"
    assert told["TENANTRY_STATEFULSET"] == "elsewhere/blue-tenantry-server"


def test_servers_may_have_a_role_of_their_own_in_the_database() -> None:
    documents = helm.manifests({"registry": {"secretName": "all", "serversSecretName": "few"}})
    for workload, secret in zip(workloads(documents), ("all", "few"), strict=True):
        sources = [each.get("valueFrom", {}) for each in container_of(workload)["env"]]
        named = {each["secretKeyRef"]["name"] for each in sources if "secretKeyRef" in each}
        assert named == {secret}, title(workload)


def test_servers_speak_tls_with_the_certificate_of_a_secret() -> None:
    documents = helm.manifests({"tls": {"secretName": "tenantry-tls"}, "monitoring": {"podMonitor": True}})
    server = the(documents, "StatefulSet", "tenantry-server")
    container = container_of(server)
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "tls")
    told = {each["name"]: each.get("value") for each in container["env"]}
    assert mount["readOnly"]
    for name, key in (("CERT", "tls.crt"), ("KEY", "tls.key"), ("CA", "ca.crt")):
        assert told[f"TENANTRY_TLS_{name}"] == f"{mount['mountPath']}/{key}"
    assert told["TENANTRY_TLS"] == "required"
    ports = the(documents, "Service", "tenantry")["spec"]["ports"]
    assert {each["name"]: each["port"] for each in ports} == {"http": 80, "https": 443}
    probes = [container[f"{each}Probe"]["httpGet"] for each in ("startup", "liveness", "readiness")]
    assert [each["scheme"] for each in probes] == ["HTTPS"] * 3
    (volume,) = (
        v
        for v in pod_of(the(documents, "Deployment", "tenantry-operator"))["volumes"]
        if v["name"] == "tls"
    )
    assert [each["key"] for each in volume["secret"]["items"]] == ["ca.crt"], "the operator gets no key"
    (monitor,) = of_kind(documents, "PodMonitor")
    assert [each.get("scheme") for each in monitor["spec"]["podMetricsEndpoints"]] == [None, "https"]


def test_the_fleets_secrets_are_a_file_that_pods_follow() -> None:
    """One of the two settings, as both are an error; no subPath, as such a file is never renewed."""
    documents = helm.manifests(CASES["fleet's secret"])
    for workload in workloads(documents):
        container, pod = container_of(workload), pod_of(workload)
        told = {each["name"]: each.get("value") for each in container["env"]}
        (mount,) = (each for each in container["volumeMounts"] if each["name"] == "fleet")
        (volume,) = (each["secret"] for each in pod["volumes"] if each["name"] == "fleet")
        (item,) = volume["items"]
        assert "TENANTRY_FLEET_SECRET" not in told
        assert told["TENANTRY_FLEET_SECRET_FILE"] == f"{mount['mountPath']}/{item['path']}"
        assert (volume["secretName"], item["key"]) == ("tenantry-fleet", "secrets")
        assert mount["readOnly"]
        assert "subPath" not in mount
        # Readable by the group of the process, and by nobody else.
        assert (volume["defaultMode"], pod["securityContext"]["fsGroup"]) == (0o440, 65532)


# Autoscaling


def test_servers_are_scaled_by_the_busy_share_that_they_export() -> None:
    """Through prometheus-adapter, or KEDA, which asks Prometheus itself."""
    metric = "tenantry_busy_ratio"
    assert (
        f'"{metric.removeprefix("tenantry_")}"'
        in (ROOT / "modelserver/tenantry_server/metrics.py").read_text()
    )
    (scaler,) = of_kind(helm.manifests(CASES["busy"]), "HorizontalPodAutoscaler")
    (by,) = scaler["spec"]["metrics"]
    assert (by["pods"]["metric"]["name"], by["pods"]["target"]["averageValue"]) == (metric, "700m")
    (scaled,) = of_kind(helm.manifests(CASES["keda"]), "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["query"] == (
        f'sum({metric}{{namespace="{NAMESPACE}",pod=~"tenantry-server-.*"}})'
    )
    assert (trigger["metricType"], trigger["metadata"]["threshold"]) == ("AverageValue", "0.7")


@pytest.mark.parametrize("case", ["production", "busy", "keda"])
def test_where_an_autoscaler_decides_the_chart_sets_no_replicas(case: str) -> None:
    assert "replicas" not in the(helm.manifests(CASES[case]), "StatefulSet", "tenantry-server")["spec"]


# What helm says and does


@pytest.mark.parametrize("page", ["README.md", "docs/kubernetes.md"])
def test_what_the_pages_install_can_be_rendered(page: str) -> None:
    """Charts, files of values, and values that the schema knows."""
    text = (ROOT / page).read_text().replace("\\\n", " ")
    lines = [shlex.split(line)[3:] for line in text.splitlines() if line.startswith("$ helm install ")]
    assert ["tenantry-crds", str(CRDS_CHART.relative_to(ROOT))] in lines
    installed = [line for line in lines if line[0] == "tenantry"]
    assert installed
    for line in installed:
        assert ROOT / line[1] == CHART
        values: dict[str, Any] = {}
        for option, value in itertools.pairwise(line):
            if option == "--values":
                values = yaml.safe_load((ROOT / value).read_text())
            elif option == "--set":
                path, _, given = value.partition("=")
                above, _, key = path.partition(".")
                values.setdefault(above, {})[key] = yaml.safe_load(given)
        assert helm.manifests(values), line


@pytest.mark.parametrize("case", CASES)
def test_the_notes_name_what_is_there(case: str) -> None:
    documents = helm.manifests(CASES[case])
    words = helm.notes(CASES[case])
    named = set(re.findall(r"(statefulset|service)/([\w-]+)", words))
    there = {(each["kind"].lower(), each["metadata"]["name"]) for each in documents}
    assert {kind for kind, _ in named} == {"statefulset", "service"}
    assert named <= there
    needs_a_secret = not of_kind(documents, "Secret")
    assert ("create secret generic tenantry-registry" in words) is needs_a_secret


@pytest.fixture
def no_crds(plane: ControlPlane) -> Iterator[list[str]]:
    """The paths of our CRDs, which are not there before and after: others install their own."""
    crds = [f"{CRD_OBJECTS}/{plural}.tenantry.dev" for plural in ("tenantmodels", "tenantpolicies")]

    def remove() -> None:
        for crd in crds:
            plane.request("DELETE", crd)
        until(lambda: {plane.request("GET", crd)[0] for crd in crds} == {404}, "none is there")

    remove()
    yield crds
    remove()


def test_uninstalling_the_crds_leaves_every_tenant_model(
    plane: ControlPlane, no_crds: list[str], tmp_path: Path
) -> None:
    chart = helm.for_any_version(CRDS_CHART, tmp_path)
    helm.release("install", chart, plane.kubeconfig, namespace="default")
    assert {plane.request("GET", crd)[0] for crd in no_crds} == {200}
    helm.release("uninstall", chart, plane.kubeconfig, namespace="default")
    for crd in no_crds:
        status, left = plane.request("GET", crd)
        assert status == 200
        assert "deletionTimestamp" not in left["metadata"]


def test_the_chart_is_installed_upgraded_and_uninstalled(plane: ControlPlane, tmp_path: Path) -> None:
    """By helm, on an API server; nothing runs pods there. The password outlives an upgrade.

    Its roles have names of their own: other tests apply the base's to the same server.
    """
    chart = helm.for_any_version(CHART, tmp_path)
    space = "charted"
    status, answer = plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": space}})
    assert status == 201, answer
    secret = f"/api/v1/namespaces/{space}/secrets/{space}-postgres"
    server = f"/apis/apps/v1/namespaces/{space}/statefulsets/{space}-server"
    values: dict[str, Any] = {
        "fullnameOverride": space,
        "postgresql": {"enabled": True},
        "podDisruptionBudgets": False,
    }  # policy/v1: 1.21
    helm.release("install", chart, plane.kubeconfig, values, namespace=space)
    made = plane.request("GET", secret)[1]["data"]
    password = base64.b64decode(made["password"]).decode()
    assert len(password) == 24
    assert f":{password}@{space}-postgres:5432/" in base64.b64decode(made["url"]).decode()
    assert plane.request("GET", server)[1]["spec"]["replicas"] == 2
    helm.release("upgrade", chart, plane.kubeconfig, {**values, "server": {"replicas": 3}}, namespace=space)
    assert plane.request("GET", secret)[1]["data"] == made
    assert plane.request("GET", server)[1]["spec"]["replicas"] == 3
    helm.release("uninstall", chart, plane.kubeconfig, namespace=space)
    assert plane.request("GET", server)[0] == 404
