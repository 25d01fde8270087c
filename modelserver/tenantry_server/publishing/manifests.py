"""TenantModel manifests as `publish` writes them: their names, their text, and their files.

YAML 1.1, YAML 1.2 and kubectl disagree about what is a number, a boolean or a date: ``1e5``,
``0o17``, ``y``. So a text is plain only where it is a word or a path to all of them, and else in double
quotes.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tenantry import TenantModel
from tenantry.processes import files

# A number or a date to nobody, as it begins with a letter; and not a boolean of YAML 1.1.
_PLAIN = re.compile(
    r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z]([a-z0-9_./:-]*[a-z0-9_./-])?", re.IGNORECASE
)


def write_manifest(declared: TenantModel, folder: Path, metadata: Mapping[str, Any] | None = None) -> Path:
    """Write ``NAME.yaml`` in one step, and return its path; `metadata` as for `to_yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = manifest_path(declared, folder)
    files.replace(path, to_yaml(declared, metadata).encode())
    return path


def manifest_path(declared: TenantModel, folder: Path) -> Path:
    """Return where `write_manifest` puts it."""
    return folder / f"{declared.name}.yaml"


def to_yaml(declared: TenantModel, metadata: Mapping[str, Any] | None = None) -> str:
    """Return the manifest as a person would write it, with further `metadata` such as labels.

    Example:
        >>> document = {"userId": "0089", "model": {"uri": "s3://models/a.joblib"}}
        >>> print(to_yaml(TenantModel.parse({
        ...     "apiVersion": "tenantry.dev/v1alpha1", "kind": "TenantModel",
        ...     "metadata": {"name": "store-89"}, "spec": document})))
        apiVersion: tenantry.dev/v1alpha1
        kind: TenantModel
        metadata:
          name: store-89
          namespace: default
        spec:
          userId: "0089"
          model:
            uri: s3://models/a.joblib
    """
    document = declared.to_manifest()
    document["metadata"] |= {k: v for k, v in (metadata or {}).items() if k not in document["metadata"]}
    try:
        return "".join(_lines(document, ""))
    except _OtherError:
        return _dumped(document)


def _dumped(document: Mapping[str, Any]) -> str:
    text: str = yaml.dump(
        document,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=_WIDTH,  # a long text stays on its line
    )
    return text


class _OtherError(Exception):
    """A value that is left to PyYAML."""


def _lines(document: Mapping[str, Any], indent: str) -> Iterator[str]:
    """Yield the lines that PyYAML would write, in a tenth of its time, of what most manifests hold.

    Raises:
        _OtherError: something else is in it: a list, a fraction, an empty mapping, or an odd text.
    """
    for key, value in document.items():
        if not isinstance(key, str) or not _PLAIN.fullmatch(key) or len(key) > _LONGEST_KEY:
            raise _OtherError
        if value is True or value is False:
            yield f"{indent}{key}: {'true' if value else 'false'}\n"
        elif type(value) is int or (type(value) is str and _PLAIN.fullmatch(value)):
            yield f"{indent}{key}: {value}\n"
        elif type(value) is str and _QUOTED.fullmatch(value):
            yield f'{indent}{key}: "{value}"\n'
        elif type(value) is dict and value:
            yield f"{indent}{key}:\n"
            yield from _lines(value, f"{indent}  ")
        else:
            raise _OtherError


_QUOTED = re.compile(r"[ !#-\[\]-~]*")  # of ASCII what stands in double quotes as it is
_LONGEST_KEY = 100  # a longer one gets a line of its own, with a question mark

_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's takes a fifth of the time
_WIDTH = 2**31 - 1  # libyaml's largest


class _Dumper(_Base):  # type: ignore[misc]  # a class that is chosen above
    """Writes each text so that every reader takes it for one."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Write a value out wherever it stands."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(text) is not None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


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
