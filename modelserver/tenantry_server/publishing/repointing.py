"""Points a TenantModel that is declared already at another artifact of the same model.

Owns when that is right: the declaration still names the old artifact, and does not follow an object that is
overwritten in place. Refuses anything else of the declaration.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tenantry import ModelId
from tenantry.errors import NotPublished
from tenantry.processes import files
from tenantry_server.publishing import replaced
from tenantry_server.publishing.manifests import to_yaml
from tenantry_server.publishing.publisher import Said


def refusal(spec: Mapping[str, Any] | None, old: ModelId) -> str:
    """Return why a declared `spec` should not be pointed away from the artifact `old`; empty: it may be.

    Example:
        >>> refusal({"model": {"uri": "s3://models/b.joblib"}}, ModelId("s3://models/a.joblib"))
        'another version is declared already: s3://models/b.joblib'
    """
    model = (spec or {}).get("model")
    if not isinstance(model, dict):
        return "its TenantModel is not known"
    if (spec or {}).get("refreshInterval") is not None:
        return "it follows an object that is overwritten (refreshInterval), which a new name would end"
    if model.get("uri") != old.uri or model.get("sha256") not in (None, old.sha256):
        return f"another version is declared already: {model.get('uri')}"
    return ""


def rewrite_manifest(
    path: Path, old: ModelId, source: Mapping[str, Any], *, user_id: str, name: str, namespace: str
) -> bool:
    """Let the manifest at `path` declare another artifact, and keep all else that it says but comments.

    Args:
        old: the artifact that it has to name.
        source: ``uri``, ``sha256`` and ``card`` of the new one.

    Returns:
        whether it was written; False: it declares the new artifact already.

    Raises:
        NotPublished: the manifest is missing, can't be read, or declares something else.
    """
    suffix = Path(str(source["uri"])).suffix
    kept = replaced.read(path, name, user_id, namespace, suffix)
    if not path.exists():
        raise NotPublished(str(path), f"there is no manifest of {name}")
    document = yaml.safe_load(path.read_bytes())
    spec = document.get("spec") if isinstance(document, dict) else None
    new = ModelId(str(source["uri"]), sha256=str(source["sha256"]))
    if spec is not None and not refusal(spec, new):
        return False  # an earlier run wrote it
    problem = refusal(spec, old)
    if problem:
        raise NotPublished(str(path), problem)
    declared = Said(user_id, name, namespace, None, None, {}).over(kept, source)
    files.replace(path, to_yaml(declared, kept.metadata).encode())
    return True


def patch_command(source: Mapping[str, Any], *, name: str, namespace: str) -> str:
    """Return the command that declares another artifact on a cluster, for a person to run.

    Example:
        >>> print(patch_command({"uri": "s3://m/a.joblib"}, name="ann", namespace="shop"))
        kubectl patch tenantmodel ann -n shop --type merge -p '{"spec":{"model":{"uri":"s3://m/a.joblib",...}}}'
    """
    model = {**source, "versionId": None, "format": None}
    patch = json.dumps({"spec": {"model": model}}, separators=(",", ":"))
    return f"kubectl patch tenantmodel {name} -n {namespace} --type merge -p {shlex.quote(patch)}"
