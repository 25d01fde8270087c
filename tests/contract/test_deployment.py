"""The manifests, the image and kind's configuration fit an API server, the product and each other."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tenantry.settings import CommonSettings
from tenantry_operator.settings import OperatorSettings
from tenantry_server.settings import ServerSettings
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.deploying import chart_values, helm, pod_security
from tests.support.kubernetes.deploying.manifests import (
    BASE,
    KIND,
    NAMESPACE,
    PRODUCTION,
    ROOT,
    Document,
    apart,
    collection,
    container_of,
    create,
    dry_run,
    environment,
    labels_of,
    lost_in,
    of_kind,
    pod_of,
    rendered,
    secrets_in,
    the,
    title,
    workloads,
)

DOCS = ROOT / "docs" / "kubernetes.md"
REGISTRY = {("tenantry-registry", "url"): "postgresql://me@db/tenantry"}
OURS: dict[str, type[CommonSettings]] = {
    "Deployment/tenantry-operator": OperatorSettings,
    "StatefulSet/tenantry-server": ServerSettings,
}


FOLDERS = {str(folder.relative_to(ROOT)): folder for folder in (BASE, KIND, PRODUCTION)}


@pytest.fixture(
    scope="module", params=[*FOLDERS, *(f"charts/tenantry, {each}" for each in chart_values.CASES)]
)
def documents(request: pytest.FixtureRequest) -> list[Document]:
    """Of base, of each overlay, and of the chart with several values."""
    if folder := FOLDERS.get(request.param):
        return rendered(folder)
    of_chart = helm.manifests(chart_values.CASES[request.param.partition(", ")[2]])
    # helm makes no namespace; the page does, with the labels of the base.
    return [*of_kind(rendered(BASE), "Namespace"), *of_chart]


# What an API server says


def test_a_real_api_server_accepts_each_and_drops_nothing(
    documents: list[Document], plane: ControlPlane
) -> None:
    """Server-side dry-run. Before 1.25 an unknown field is dropped in silence, and so is seen here too."""
    documents = apart(documents)
    create(plane, of_kind(documents, "Namespace"))
    wrong: dict[str, list[str]] = {}
    for document in documents:
        if document["apiVersion"] in chart_values.OTHERS_APIS:
            continue  # neither built in nor ours: their controllers' schemas are not at hand
        status, answer = dry_run(plane, document)
        if status not in (200, 201):
            wrong[title(document)] = [answer["message"]]
        elif lost := sorted(lost_in(collection(plane, document)[1], answer)):
            wrong[title(document)] = lost
    assert wrong == {}, f"on {plane.version}"


def test_what_a_server_drops_would_be_seen(plane: ControlPlane) -> None:
    base = apart(rendered(BASE))
    create(plane, of_kind(base, "Namespace"))
    document = the(base, "Deployment", "tenantry-operator")
    container = document["spec"]["template"]["spec"]["containers"][0]
    container["readinesProbe"] = container.pop("readinessProbe")
    status, answer = dry_run(plane, document)
    if plane.version_info >= (1, 25):
        assert status == 400
        assert "readinesProbe" in answer["message"]
    else:
        assert list(lost_in(document, answer)) == [".spec.template.spec.containers[0].readinesProbe"]


# Pods


def test_every_pod_keeps_the_rules_that_its_namespace_sets(documents: list[Document]) -> None:
    """Pod Security "restricted": https://kubernetes.io/docs/concepts/security/pod-security-standards/."""
    (namespace,) = of_kind(documents, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = {title(each): pod_of(each) for each in workloads(documents)}
    pods |= {title(each): each["spec"] for each in of_kind(documents, "Pod")}
    broken = {name: found for name, pod in pods.items() if (found := pod_security.breaches(pod))}
    assert broken == {}


def test_a_pod_that_breaks_the_rules_would_be_seen() -> None:
    """Each rule, alone."""
    good = pod_of(the(rendered(BASE), "Deployment", "tenantry-operator"))
    assert pod_security.breaches(good) == []
    rules: dict[str, Document] = {
        "hostNetwork": {"hostNetwork": True},
        "volume host": {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
        "sysctls": {
            "securityContext": {**good["securityContext"], "sysctls": [{"name": "a", "value": "b"}]}
        },
        "it: runAsNonRoot": {"securityContext": {**good["securityContext"], "runAsNonRoot": False}},
        "it: runAsUser": {"securityContext": {**good["securityContext"], "runAsUser": 0}},
        "it: seccompProfile": {"securityContext": {"runAsNonRoot": True, "runAsUser": 1}},
    }
    (container,) = good["containers"]
    for rule, said in rules.items():
        pod = {**good, "containers": [{**container, "name": "it"}], **said}
        assert pod_security.breaches(pod) == [rule]
    of_container: dict[str, Document] = {
        "privileged": {"privileged": True},
        "allowPrivilegeEscalation": {"allowPrivilegeEscalation": True},
        "capabilities": {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}},
        "readOnlyRootFilesystem": {"readOnlyRootFilesystem": False},
    }
    for rule, said in of_container.items():
        context = {**container["securityContext"], **said}
        pod = {**good, "initContainers": [{"name": "it", "securityContext": context}]}
        assert pod_security.breaches(pod) == [f"it: {rule}"]


def test_every_variable_is_a_setting_and_every_value_keeps_its_rule(
    documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pydantic leaves variables that it does not know alone, so a misspelt one would do nothing."""
    for workload in workloads(documents):
        if title(workload) not in OURS:
            continue
        settings, unknown, loaded = _configured(workload, documents, monkeypatch)
        assert unknown == set(), title(workload)
        (port,) = container_of(workload)["ports"]
        listens = {"probe_host": "::", "probe_port": port["containerPort"]}
        if settings is ServerSettings:
            listens = {"host": "::", "port": port["containerPort"]}
        assert {name: getattr(loaded, name) for name in listens} == listens


def _configured(
    workload: Document, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> tuple[type[CommonSettings], set[str], CommonSettings]:
    """The settings' class, the variables that it does not know, and the settings of this pod."""
    settings = OURS[title(workload)]
    for name in [name for name in os.environ if name.startswith("TENANTRY_")]:
        monkeypatch.delenv(name)
    environ = environment(
        workload, f"{workload['metadata']['name']}-0", {**REGISTRY, **secrets_in(documents)}
    )
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    known = {f"TENANTRY_{field.upper()}" for field in settings.model_fields}
    ours = {name for name in environ if name.startswith("TENANTRY_")}
    return settings, ours - known, settings.load()


def test_no_service_of_the_namespace_reaches_the_environment(documents: list[Document]) -> None:
    """The Service `tenantry` would otherwise set TENANTRY_PORT=tcp://10.0.0.1:80 in every pod."""
    assert "tenantry" in {each["metadata"]["name"] for each in of_kind(documents, "Service")}
    linked = [
        title(each) for each in workloads(documents) if pod_of(each)["enableServiceLinks"] is not False
    ]
    assert linked == []


def test_a_server_is_reached_by_its_peers_at_its_own_name(
    documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Host names of a StatefulSet's pods: POD.SERVICE.NAMESPACE.svc, where the Service is headless."""
    server = the(documents, "StatefulSet", "tenantry-server")
    headless = the(documents, "Service", server["spec"]["serviceName"])
    assert headless["spec"]["clusterIP"] == "None"
    _, _, loaded = _configured(server, documents, monkeypatch)
    assert isinstance(loaded, ServerSettings)
    assert loaded.server_id == "tenantry-server-0"
    assert loaded.advertise_url == (
        f"http://tenantry-server-0.{headless['metadata']['name']}.{NAMESPACE}.svc:{loaded.port}"
    )


def test_memory_has_room_for_the_cache_and_as_much_again(
    documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = the(documents, "StatefulSet", "tenantry-server")
    _, _, loaded = _configured(server, documents, monkeypatch)
    assert isinstance(loaded, ServerSettings)
    resources = container_of(server)["resources"]
    assert resources["limits"]["memory"] == resources["requests"]["memory"]
    assert _bytes(resources["limits"]["memory"]) >= 2 * loaded.cache_bytes


def test_a_pod_has_the_time_to_drain(documents: list[Document], monkeypatch: pytest.MonkeyPatch) -> None:
    server = the(documents, "StatefulSet", "tenantry-server")
    _, _, loaded = _configured(server, documents, monkeypatch)
    assert isinstance(loaded, ServerSettings)
    assert "lifecycle" not in container_of(server), "the image need not have a `sleep`"
    longest_s = max(loaded.drain_at_least_s, loaded.drain_s)
    assert pod_of(server)["terminationGracePeriodSeconds"] >= longest_s + loaded.shutdown_s + 5
    assert loaded.drain_at_least_s > 2, "nodes forget an endpoint a moment after it began to end"


def _bytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Ki|Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) << {"Ki": 10, "Mi": 20, "Gi": 30}[unit]


# References between documents


def test_every_selector_finds_its_pods(documents: list[Document]) -> None:
    found = workloads(documents)
    for workload in found:
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels_of(workload).items()
        for spread in pod_of(workload).get("topologySpreadConstraints", []):
            assert spread["labelSelector"]["matchLabels"].items() <= labels_of(workload).items()
    for document in of_kind(documents, "Service", "PodDisruptionBudget"):
        selector = document["spec"]["selector"]
        selector = selector.get("matchLabels", selector)
        matched = [each for each in found if selector.items() <= labels_of(each).items()]
        assert len(matched) == 1, f"{title(document)} finds {[title(each) for each in matched]}"


def test_every_port_by_name_is_a_port_of_the_container(documents: list[Document]) -> None:
    for workload in workloads(documents):
        container = container_of(workload)
        ports = {port["name"] for port in container["ports"]}
        probes = [
            probe["httpGet"]
            for key, probe in container.items()
            if key.endswith("Probe") and "httpGet" in probe
        ]
        assert {probe["port"] for probe in probes} <= ports, title(workload)
        for service in of_kind(documents, "Service"):
            if service["spec"]["selector"].items() <= labels_of(workload).items():
                assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, title(service)


def test_a_node_can_always_be_drained(documents: list[Document]) -> None:
    """Whatever their number, one pod may go and one stays, else a drain never ends, or nobody answers."""
    for budget in of_kind(documents, "PodDisruptionBudget"):
        workload = next(
            each
            for each in workloads(documents)
            if budget["spec"]["selector"]["matchLabels"].items() <= labels_of(each).items()
        )
        for replicas in {workload["spec"].get("replicas", 2), *range(2, 30)}:
            may_go = _may_go(budget["spec"], replicas)
            assert may_go >= 1, (title(budget), replicas)
            assert may_go < replicas or replicas == 1, (title(budget), replicas)


def _may_go(spec: Document, replicas: int) -> int:
    """Percentages are of the replicas, rounded up, in either direction."""
    assert ("minAvailable" in spec) != ("maxUnavailable" in spec)
    value: int | str = spec["minAvailable"] if "minAvailable" in spec else spec["maxUnavailable"]
    count = -(-int(value.rstrip("%")) * replicas // 100) if isinstance(value, str) else value
    return replicas - count if "minAvailable" in spec else count


def test_the_operator_makes_its_lease_and_may_hold_no_other(
    documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Argo CD applies no Lease, and a second apply of one would take it from its holder."""
    assert of_kind(documents, "Lease") == []
    operator = the(documents, "Deployment", "tenantry-operator")
    _, _, loaded = _configured(operator, documents, monkeypatch)
    assert isinstance(loaded, OperatorSettings)
    assert loaded.lease == f"{operator['metadata']['namespace']}/{operator['metadata']['name']}"
    rules = [
        (rule.get("resourceNames"), rule["verbs"])
        for role in of_kind(documents, "Role", "ClusterRole")
        for rule in role["rules"]
        if "leases" in rule["resources"]
    ]
    assert rules == [([operator["metadata"]["name"]], ["get", "update"]), (None, ["create"])]


def test_the_operator_looks_at_the_servers_stateful_set_and_may_look_at_no_other(
    documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = the(documents, "StatefulSet", "tenantry-server")
    _, _, loaded = _configured(the(documents, "Deployment", "tenantry-operator"), documents, monkeypatch)
    assert isinstance(loaded, OperatorSettings)
    assert loaded.statefulset == f"{server['metadata']['namespace']}/{server['metadata']['name']}"
    rules = [
        rule
        for role in of_kind(documents, "Role", "ClusterRole")
        for rule in role["rules"]
        if "apps" in rule["apiGroups"]
    ]
    assert [(rule["resources"], rule["resourceNames"], rule["verbs"]) for rule in rules] == [
        (["statefulsets"], [server["metadata"]["name"]], ["get"])
    ]
    _, _, of_server = _configured(server, documents, monkeypatch)
    assert isinstance(of_server, ServerSettings)
    assert of_server.server_id == f"{server['metadata']['name']}-0", "so the operator knows its ordinal"


def test_the_disk_cache_stays_below_the_limit_of_its_volume(documents: list[Document]) -> None:
    """A pod that exceeds the limit of a volume is evicted."""
    server = the(documents, "StatefulSet", "tenantry-server")
    told = environment(server, "tenantry-server-0", secrets_in(documents) | REGISTRY)
    (mount,) = (
        each
        for each in container_of(server)["volumeMounts"]
        if each["mountPath"] == told["TENANTRY_DISK_CACHE_DIR"]
    )
    (volume,) = (each for each in pod_of(server)["volumes"] if each["name"] == mount["name"])
    limit_gib = float(volume["emptyDir"]["sizeLimit"].removesuffix("Gi"))
    assert int(told["TENANTRY_DISK_CACHE_BYTES"]) <= 0.8 * limit_gib * (1 << 30)


def test_every_account_role_claim_and_volume_that_is_named_exists(documents: list[Document]) -> None:
    there = {title(each) for each in documents}
    for binding in of_kind(documents, "RoleBinding", "ClusterRoleBinding"):
        assert f"{binding['roleRef']['kind']}/{binding['roleRef']['name']}" in there
        (subject,) = binding["subjects"]
        assert f"{subject['kind']}/{subject['name']}" in there
        assert subject["namespace"] == NAMESPACE
    for workload in workloads(documents):
        pod = pod_of(workload)
        if "serviceAccountName" in pod:
            assert f"ServiceAccount/{pod['serviceAccountName']}" in there
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        mounts = {mount["name"] for mount in container_of(workload).get("volumeMounts", [])}
        assert mounts == volumes, title(workload)
        claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["volumes"]]
        assert {f"PersistentVolumeClaim/{claim}" for claim in claims if claim} <= there


def test_every_secret_that_is_needed_is_made_or_explained(documents: list[Document]) -> None:
    made = {secret["metadata"]["name"] for secret in of_kind(documents, "Secret")}
    needed = set(re.findall(r"'(?:secretKeyRef|secretRef)': {[^}]*'name': '([\w-]+)'", str(documents)))
    assert {"tenantry-registry", "tenantry-postgres"} & needed
    needed |= set(re.findall(r"'secretName': '([\w-]+)'", str(workloads(documents))))
    unexplained = [
        name for name in needed - made if f"create secret generic {name}" not in DOCS.read_text()
    ]
    assert unexplained == []


def test_another_namespace_is_one_line(tmp_path: Path) -> None:
    """A person's own overlay moves all of it, and no account of the old namespace keeps a right."""
    relative = os.path.relpath(BASE, tmp_path.resolve())
    text = f"namespace: elsewhere\nresources: [{relative}]\n"
    (tmp_path / "kustomization.yaml").write_text(text)
    moved = rendered(tmp_path.resolve())
    assert f"'{NAMESPACE}'" not in str(
        [(each["metadata"].get("namespace"), each.get("subjects")) for each in moved]
    )
    assert [each["metadata"]["name"] for each in of_kind(moved, "Namespace")] == ["elsewhere"]
    operator = the(moved, "Deployment", "tenantry-operator")
    told = environment(operator, "it", REGISTRY)
    assert told["TENANTRY_LEASE"] == "elsewhere/tenantry-operator"
    assert told["TENANTRY_STATEFULSET"] == "elsewhere/tenantry-server"


def test_each_field_reference_says_its_version(documents: list[Document]) -> None:
    """Client-side apply writes the default apiVersion, and a server-side apply without it conflicts."""
    references = [
        entry["valueFrom"]["fieldRef"]
        for workload in workloads(documents)
        for entry in container_of(workload)["env"]
        if "fieldRef" in entry.get("valueFrom", {})
    ]
    assert {each.get("apiVersion") for each in references} <= {"v1"}


# kind


def _on_a_laptop() -> dict[str, list[Document]]:
    """The two ways of the page, with the claim that both use."""
    models = list(yaml.safe_load_all((KIND / "models.yaml").read_text()))
    values = yaml.safe_load((ROOT / "examples" / "kind" / "values.yaml").read_text())
    return {"chart": [*helm.manifests(values), *models], "kustomize": rendered(KIND)}


@pytest.mark.parametrize("way", ["chart", "kustomize"])
def test_the_laptop_reaches_the_service_and_the_pods_its_models(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One port and one path, in several places; the operator would otherwise allow no file at all."""
    config = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
    (node,) = config["nodes"]
    documents = _on_a_laptop()[way]
    (port,) = the(documents, "Service", "tenantry")["spec"]["ports"]
    assert [each["containerPort"] for each in node["extraPortMappings"]] == [port["nodePort"]]
    assert node["extraPortMappings"][0]["listenAddress"] == "127.0.0.1"
    volume = the(documents, "PersistentVolume", "tenantry-models")
    path = volume["spec"]["hostPath"]["path"]
    assert [(each["hostPath"], each["containerPath"]) for each in node["extraMounts"]] == [(path, path)]
    ours = [each for each in workloads(documents) if title(each) in OURS]
    assert len(ours) == 2
    for workload in ours:
        mounts = {each["name"]: each["mountPath"] for each in container_of(workload)["volumeMounts"]}
        assert mounts["models"] == path
        assert container_of(workload)["image"] == "tenantry:dev"
        _, unknown, loaded = _configured(workload, documents, monkeypatch)
        assert (unknown, loaded.file_roots) == (set(), path)


# The page


def test_every_path_of_the_page_exists() -> None:
    named = set(re.findall(r"(?:manifests|crds)/[\w./-]*\w", DOCS.read_text()))
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_training_job_of_the_page_declares_what_the_page_asks_for(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    volume = the(rendered(KIND), "PersistentVolume", "tenantry-models")["spec"]["hostPath"]["path"]
    assert f'"{volume}"' in block
    code = block.replace(volume, str(tmp_path / "models"))
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=True)
    (declared,) = (tmp_path / "tenants").glob("*.yaml")
    document = yaml.safe_load(declared.read_text())
    assert f"tenantmodel/{document['metadata']['name']}" in DOCS.read_text()
    assert f"/predict/{document['spec']['userId']}" in DOCS.read_text()
