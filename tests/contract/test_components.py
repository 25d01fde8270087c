"""The CRD as a step of its own, and the components that an overlay may take."""

from pathlib import Path

import pytest

from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.deploying.manifests import (
    BASE,
    CRDS,
    KIND,
    MANIFESTS,
    PRODUCTION,
    Document,
    collection,
    composed,
    container_of,
    dry_run,
    labels_of,
    lost_in,
    of_kind,
    pod_of,
    rendered,
    the,
    title,
    workloads,
)


@pytest.mark.parametrize("server", ["plane", "modern"])
def test_an_api_server_takes_the_crd_and_drops_what_it_is_too_old_for(
    server: str, request: pytest.FixtureRequest
) -> None:
    """CEL came with 1.25, selectable fields with 1.30."""
    plane: ControlPlane = request.getfixturevalue(server)
    newer = {"x-kubernetes-validations": (1, 25), "selectableFields": (1, 30)}
    known = plane.crd_version_info
    for crd in rendered(CRDS):
        status, answer = dry_run(plane, crd)
        assert status in (200, 201), answer
        lost = sorted(lost_in(collection(plane, crd)[1], answer))
        assert [path for path in lost if newer.get(path.rpartition(".")[2], (0, 0)) <= known] == []


@pytest.mark.parametrize("folder", [BASE, KIND, PRODUCTION])
def test_no_manifest_deletes_the_crd(folder: Path) -> None:
    """`kubectl delete -k` takes what it applied; annotations stop Argo CD, Flux and helm."""
    assert of_kind(rendered(folder), "CustomResourceDefinition") == []
    crds = rendered(CRDS)
    assert len(crds) == 2
    for crd in crds:
        assert crd["metadata"]["annotations"] == {
            "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
            "kustomize.toolkit.fluxcd.io/prune": "disabled",
            "helm.sh/resource-policy": "keep",
        }


def test_where_an_autoscaler_decides_no_manifest_sets_replicas() -> None:
    """Each apply would undo what it decided."""
    documents = rendered(PRODUCTION)
    (scaler,) = of_kind(documents, "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("StatefulSet", "tenantry-server")
    server = the(documents, "StatefulSet", "tenantry-server")
    assert "replicas" not in server["spec"]
    assert container_of(server)["resources"]["requests"]["cpu"], "utilization is of the request"


def test_policies_select_our_pods_and_their_ports() -> None:
    documents = rendered(PRODUCTION)
    policies = of_kind(documents, "NetworkPolicy")
    assert [title(each) for each in policies] == [
        "NetworkPolicy/tenantry-operator",
        "NetworkPolicy/tenantry-server",
    ]
    for policy in policies:
        workload = next(
            each for each in workloads(documents) if title(each).endswith(policy["metadata"]["name"])
        )
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels_of(workload).items()
        ports = {port["name"] for port in container_of(workload)["ports"]}
        (rule,) = policy["spec"]["ingress"]
        assert {port["port"] for port in rule["ports"]} <= ports
        assert pod_of(workload)["priorityClassName"] == "tenantry"


def test_pods_are_scraped_at_ports_that_they_have(tmp_path: Path) -> None:
    documents = composed(tmp_path, BASE, MANIFESTS / "components" / "monitoring")
    (monitor,) = of_kind(documents, "PodMonitor")
    ports = {port["name"] for each in workloads(documents) for port in container_of(each)["ports"]}
    assert {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]} == ports


def test_tls_reaches_every_part_that_asks_a_server(tmp_path: Path) -> None:
    """What settings name is mounted, and the certificate is for every host that is asked."""
    components = [MANIFESTS / "components" / name for name in ("monitoring", "tls")]
    documents = composed(tmp_path, BASE, *components)
    server, operator = (
        the(documents, kind, f"tenantry-{name}")
        for kind, name in (("StatefulSet", "server"), ("Deployment", "operator"))
    )
    certificate = the(documents, "Certificate", "tenantry-server")["spec"]
    assert _mounted(server, certificate["secretName"]) == {
        "CERT": "tls.crt",
        "KEY": "tls.key",
        "CA": "ca.crt",
    }
    assert _mounted(operator, certificate["secretName"]) == {"CA": "ca.crt"}
    (volume,) = [each for each in pod_of(operator)["volumes"] if each["name"] == "tls"]
    assert [item["key"] for item in volume["secret"]["items"]] == ["ca.crt"], "the key is the servers'"
    assert pod_of(server)["securityContext"]["fsGroup"] == pod_of(server)["securityContext"]["runAsUser"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container_of(server)[probe]["httpGet"]["scheme"] == "HTTPS"
        assert "scheme" not in container_of(operator)[probe]["httpGet"]
    assert {"server auth", "client auth"} <= set(certificate["usages"])
    names = {"*.tenantry-servers.tenantry.svc", "tenantry.tenantry.svc"}
    assert names <= set(certificate["dnsNames"])
    advertised = next(
        each["value"] for each in container_of(server)["env"] if each["name"] == "TENANTRY_ADVERTISE_URL"
    )
    assert advertised == "http://$(TENANTRY_SERVER_ID).tenantry-servers.$(POD_NAMESPACE).svc:8080"
    ports = the(documents, "Service", "tenantry")["spec"]["ports"]
    assert {(each["port"], each["targetPort"]) for each in ports} == {(80, "http"), (443, "http")}
    (monitor,) = of_kind(documents, "PodMonitor")
    schemes = {each["port"]: each.get("scheme") for each in monitor["spec"]["podMetricsEndpoints"]}
    assert schemes == {"metrics": None, "http": "https"}


def test_each_certificate_has_an_issuer(tmp_path: Path) -> None:
    documents = composed(tmp_path, BASE, MANIFESTS / "components" / "tls")
    issuers = {each["metadata"]["name"]: each["spec"] for each in of_kind(documents, "Issuer")}
    certificates = {each["metadata"]["name"]: each["spec"] for each in of_kind(documents, "Certificate")}
    assert {each["issuerRef"]["name"] for each in certificates.values()} == set(issuers)
    authority = issuers[certificates["tenantry-server"]["issuerRef"]["name"]]["ca"]["secretName"]
    (signing,) = [each for each in certificates.values() if each["secretName"] == authority]
    assert signing["isCA"] is True


def _mounted(workload: Document, secret: str) -> dict[str, str]:
    """The keys of a Secret that settings name by its mounted files."""
    pod, container = pod_of(workload), container_of(workload)
    volumes = {
        each["name"] for each in pod["volumes"] if each.get("secret", {}).get("secretName") == secret
    }
    (folder,) = [each["mountPath"] for each in container["volumeMounts"] if each["name"] in volumes]
    files = {
        each["name"].removeprefix("TENANTRY_TLS_"): each["value"]
        for each in container["env"]
        if each["name"].startswith("TENANTRY_TLS_")
    }
    assert all(path.startswith(f"{folder}/") for path in files.values())
    return {name: path.removeprefix(f"{folder}/") for name, path in files.items()}
