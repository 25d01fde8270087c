"""The manifests as `kubectl apply -k` would send them, and what they say of a pod.

Owns: rendering, where the API server takes each document and what it drops of it, the environment that a
kubelet would make.
Refuses: judging them; that is the tests'.
"""

import base64
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.kubectl import provide

ROOT = Path(__file__).parents[4]
MANIFESTS = ROOT / "manifests"
BASE, KIND, PRODUCTION = (MANIFESTS / folder for folder in ("base", "overlays/kind", "overlays/production"))
CRDS = ROOT / "crds"
NAMESPACE = "tenantry"
APART = "dry-run"

# A version, the first server that knows it, and what the same was called before.
RENAMED = {
    "policy/v1": ((1, 21), "policy/v1beta1"),
    "autoscaling/v2": ((1, 23), "autoscaling/v2beta2"),
}

Document = dict[str, Any]


def rendered(folder: Path) -> list[Document]:
    """Every document of a kustomization, as kubectl builds it."""
    done = subprocess.run(
        [provide(), "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr  # such as of a deprecated field
    documents = list(yaml.load_all(done.stdout, yaml.CSafeLoader))
    for secret in of_kind(documents, "Secret"):  # kustomize folds long values
        secret["data"] = {key: "".join(value.split()) for key, value in secret["data"].items()}
    return documents


def composed(folder: Path, base: Path, *components: Path) -> list[Document]:
    """Every document of an overlay, written into an empty folder, of `base` with these components."""
    here = folder.resolve()  # kustomize takes no absolute path
    lines = [f"namespace: {NAMESPACE}", f"resources: [{os.path.relpath(base, here)}]"]
    lines += [f"components: [{', '.join(os.path.relpath(each, here) for each in components)}]"]
    (here / "kustomization.yaml").write_text("\n".join(lines))
    return rendered(here)


def of_kind(documents: Iterable[Document], *kinds: str) -> list[Document]:
    return [document for document in documents if document["kind"] in kinds]


def the(documents: Iterable[Document], kind: str, name: str) -> Document:
    """The one of this kind and name."""
    (found,) = (each for each in of_kind(documents, kind) if each["metadata"]["name"] == name)
    return found


def title(document: Document) -> str:
    """As kubectl says it: Deployment/tenantry-operator."""
    return f"{document['kind']}/{document['metadata']['name']}"


def workloads(documents: Iterable[Document]) -> list[Document]:
    return of_kind(documents, "Deployment", "StatefulSet")


def pod_of(workload: Document) -> Document:
    """Its pods' spec."""
    return dict(workload["spec"]["template"]["spec"])


def labels_of(workload: Document) -> dict[str, str]:
    """Its pods' labels."""
    return dict(workload["spec"]["template"]["metadata"]["labels"])


def container_of(workload: Document) -> Document:
    """The only container of its pods."""
    (container,) = pod_of(workload)["containers"]
    return dict(container)


def environment(
    workload: Document, pod_name: str, secrets: Mapping[tuple[str, str], str]
) -> dict[str, str]:
    """What a kubelet would put into the container's environment: references, then $(NAME) of those before.

    Args:
        secrets: (name, key) -> value.
    """
    fields = {"metadata.name": pod_name, "metadata.namespace": workload["metadata"]["namespace"]}
    made: dict[str, str] = {}
    for entry in container_of(workload)["env"]:
        source = entry.get("valueFrom", {})
        if "fieldRef" in source:
            value = fields[source["fieldRef"]["fieldPath"]]
        elif "secretKeyRef" in source:
            named = source["secretKeyRef"]
            if named.get("optional") and (named["name"], named["key"]) not in secrets:
                continue
            value = secrets[named["name"], named["key"]]
        else:
            value = re.sub(r"\$\((\w+)\)", lambda found: made[found[1]], entry["value"])
        made[entry["name"]] = value
    return made


def secrets_in(documents: Iterable[Document]) -> dict[tuple[str, str], str]:
    """(name, key) -> value, of the Secrets among them."""
    return {
        (secret["metadata"]["name"], key): base64.b64decode(value).decode()
        for secret in of_kind(documents, "Secret")
        for key, value in secret["data"].items()
    }


def collection(plane: ControlPlane, document: Document) -> tuple[str, Document]:
    """The path where this API server takes such documents, and the document in a version that it serves."""
    version = document["apiVersion"]
    since, before = RENAMED.get(version, ((0, 0), version))
    if plane.version_info < since:
        version = before
    group = f"/apis/{version}" if "/" in version else f"/api/{version}"
    status, served = plane.request("GET", group)
    assert status == 200, f"{version} is not served: {served}"
    (resource,) = (
        each for each in served["resources"] if each["kind"] == document["kind"] and "/" not in each["name"]
    )
    namespace = f"/namespaces/{document['metadata']['namespace']}" if resource["namespaced"] else ""
    return f"{group}{namespace}/{resource['name']}", {**document, "apiVersion": version}


def create(plane: ControlPlane, documents: Iterable[Document]) -> None:
    """POST them, in their order; what stands there already stays."""
    for document in documents:
        path, body = collection(plane, document)
        status, answer = plane.request("POST", path, body)
        assert status in (201, 409), f"{title(document)}: {answer}"


def apart(documents: Iterable[Document]) -> list[Document]:
    """The same in a namespace that is theirs, what has no namespace under a name that is.

    What another test left on the same API server may differ in a field that may not change, such as the
    selector of a StatefulSet.
    """
    moved = []
    for document in documents:
        metadata = dict(document["metadata"])
        if "namespace" in metadata:
            metadata["namespace"] = APART
        else:
            metadata["name"] = APART if document["kind"] == "Namespace" else f"{metadata['name']}-{APART}"
        moved.append({**document, "metadata": metadata})
    return moved


def dry_run(plane: ControlPlane, document: Document) -> tuple[int, Any]:
    """Create it, or replace the one that stands there, as of a CRD, which has one name everywhere."""
    path, body = collection(plane, document)
    asked = "?dryRun=All&fieldValidation=Strict"
    status, answer = plane.request("POST", path + asked, body)
    if status != 409:
        return status, answer
    path = f"{path}/{document['metadata']['name']}"
    found = plane.request("GET", path)[1]
    metadata = {**body["metadata"], "resourceVersion": found["metadata"]["resourceVersion"]}
    return plane.request("PUT", path + asked, {**body, "metadata": metadata})


def lost_in(sent: Any, answer: Any, path: str = "") -> Iterator[str]:
    """Paths of what was sent and is not in the answer; defaults that the server adds don't count."""
    if isinstance(sent, dict) and isinstance(answer, dict):
        for key, value in sent.items():
            if key not in answer:
                yield f"{path}.{key}"
            else:
                yield from lost_in(value, answer[key], f"{path}.{key}")
    elif isinstance(sent, list) and isinstance(answer, list) and len(sent) == len(answer):
        for index, (one, other) in enumerate(zip(sent, answer, strict=True)):
            yield from lost_in(one, other, f"{path}[{index}]")
    elif sent != answer and (sent or answer):  # null and empty are one to the server
        yield f"{path}: {sent!r} became {answer!r}"
