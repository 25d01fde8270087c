"""A support bundle: what a cluster says of Tenantry, without what must stay there."""

import io
import json
import re
import tarfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from tenantry import __version__
from tenantry_cli.plugin.kubectl import TENANT_MODELS, Kubectl

_TAIL = 5000  # lines of each log
_HIDDEN = "***"
_KINDS = (
    *("deployments", "statefulsets", "pods", "services", "leases"),
    *("poddisruptionbudgets", "networkpolicies", "horizontalpodautoscalers"),
)
# What looks like a secret wherever it stands: credentials in a URL, signatures, tokens, named keys.
_SECRETS = (
    (re.compile(r"(\w+://)[^/\s:@\"']*:[^/\s\"']*@"), rf"\1{_HIDDEN}@"),
    (re.compile(r"(?i)(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"']+"), rf"\1{_HIDDEN}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), _HIDDEN),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), _HIDDEN),
    (re.compile(r"(?i)(bearer\s+)[\w.~+/-]{8,}=*"), rf"\1{_HIDDEN}"),
    (
        re.compile(
            r"(?i)((?:password|passwd|secret|token|api[_-]?key|access[_-]?key)[\w-]*[\"']?\s*[=:]\s*[\"']?)"
            r"[^\s\"',;&}]{3,}"
        ),
        rf"\1{_HIDDEN}",
    ),
)
_REFERENCE = re.compile(r"[\"']?(secretName|secretKeyRef|secretRef|automountServiceAccountToken)\b")


def redacted(text: str) -> str:
    """Return the text with credentials blotted out; names of Secrets stay.

    Example:
        >>> redacted("connecting to postgresql://me:hunter2@db/tenantry")
        'connecting to postgresql://***@db/tenantry'
    """
    return "\n".join(line if _REFERENCE.search(line) else _blotted(line) for line in text.split("\n"))


def _blotted(line: str) -> str:
    for pattern, instead in _SECRETS:
        line = pattern.sub(instead, line)
    return line


def collected(kubectl: Kubectl) -> tuple[dict[str, str], list[str]]:
    """Return the files of a bundle, and what could not be had."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    files = {"about.txt": f"kubectl-tenantry {__version__}, {now}\n"}
    problems: list[str] = []
    here = ["--namespace", kubectl.namespace]
    asked: dict[str, Callable[[], str]] = {
        "kubectl-version.yaml": partial(kubectl.ok, "version", "-o", "yaml"),
        "crd.json": partial(kubectl.ok, "get", "crd", TENANT_MODELS, "-o", "json"),
        "tenantmodels.json": partial(_objects, kubectl, TENANT_MODELS, "--all-namespaces"),
        "events.txt": partial(kubectl.ok, "get", "events", *here, "--sort-by=.lastTimestamp"),
    }
    asked |= {f"{kind}.json": partial(_objects, kubectl, kind, *here) for kind in _KINDS}
    for pod in _pods(kubectl, problems):
        logs = partial(kubectl.ok, "logs", *here, pod, f"--tail={_TAIL}")
        asked |= {f"logs/{pod}.log": logs, f"logs/{pod}.previous.log": partial(logs, "--previous")}
    for name, ask in asked.items():
        try:
            files[name] = redacted(ask())
        except click.ClickException as error:
            if not name.endswith(".previous.log"):  # most pods have had no other life
                problems.append(f"{name} ({redacted(error.message)})")
    files["left-out.txt"] = "".join(f"{problem}\n" for problem in problems)
    return files, problems


def write(path: Path, files: Mapping[str, str]) -> None:
    """Write a compressed archive, readable by its owner only."""
    path.touch(mode=0o600)
    with path.open("wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, text in files.items():
            data = text.encode()
            entry = tarfile.TarInfo(f"tenantry-report/{name}")
            entry.size, entry.mtime = len(data), int(time.time())
            archive.addfile(entry, io.BytesIO(data))


def _pods(kubectl: Kubectl, problems: list[str]) -> list[str]:
    try:
        return [str(each["metadata"]["name"]) for each in kubectl.own("pods")]
    except click.ClickException as error:
        problems.append(f"logs ({redacted(error.message)})")
        return []


def _without_values(document: Any) -> Any:
    """Return an object whose environment keeps its names, and the values of our own settings but URLs."""
    if isinstance(document, list):
        return [_without_values(each) for each in document]
    if not isinstance(document, dict):
        return document
    kept = {
        key: _without_values(value)
        for key, value in document.items()
        if key not in ("managedFields", "kubectl.kubernetes.io/last-applied-configuration")
    }
    if "name" in kept and isinstance(kept.get("value"), str):
        name = str(kept["name"])
        if not name.startswith(("TENANTRY_", "OMP_")) or name == "TENANTRY_REGISTRY_URL":
            kept["value"] = _HIDDEN
    return kept


def _objects(kubectl: Kubectl, *of_kind: str) -> str:
    return json.dumps({"items": [_without_values(each) for each in kubectl.items(*of_kind)]}, indent=1)
