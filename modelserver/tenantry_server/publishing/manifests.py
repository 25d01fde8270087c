"""TenantModel manifests as `publish` writes them: their names, their text, and their files."""

import hashlib
import re
from pathlib import Path

import yaml

from tenantry import TenantModel, files


def write_manifest(declared: TenantModel, folder: Path) -> Path:
    """Write ``NAME.yaml`` in one step, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = manifest_path(declared, folder)
    files.replace(path, to_yaml(declared).encode())
    return path


def manifest_path(declared: TenantModel, folder: Path) -> Path:
    """Return where `write_manifest` puts it."""
    return folder / f"{declared.name}.yaml"


def to_yaml(declared: TenantModel) -> str:
    """Return the manifest as a person would write it."""
    return yaml.safe_dump(declared.to_manifest(), sort_keys=False, allow_unicode=True)


def object_name(user_id: str) -> str:
    """Return a Kubernetes object name for a user id: itself where it is valid, else readable and unique.

    Example:
        >>> object_name("store-042")
        'store-042'
        >>> object_name("Ann@shop.example")
        'ann-shop.example-fb4ad4fef4'
    """
    plain = re.sub(r"[^a-z0-9.-]+", "-", user_id.lower())
    plain = re.sub(r"-*\.[.-]*", ".", plain).strip("-.")[:200].strip("-.")
    if plain and plain == user_id:
        return plain
    return f"{plain or 'user'}-{hashlib.sha256(user_id.encode()).hexdigest()[:10]}"
