"""What the manifest that `publish` replaces said, so that a new version doesn't drop it.

Owns which fields belong to one version of the artifact, and which to an API server. Refuses to replace a
manifest that declares something else, or that it can't read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tenantry.errors import NotPublished
from tenantry.manifest.spec import KIND

_OF_ONE_VERSION = frozenset({"uri", "sha256", "versionId", "card"})
_OF_THE_API_SERVER = frozenset(
    {
        *("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "selfLink"),
        *("managedFields", "ownerReferences"),
    }
)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Replaced:
    """What is kept of a manifest unless the caller says otherwise; empty where there was none.

    Attributes:
        namespace: of the TenantModel; None: it said nothing.
        metadata: labels, annotations and whatever else a person wrote there.
        spec: without `userId` and `model`.
        model: ``spec.model`` without what belongs to one version.
    """

    namespace: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)


NOTHING = Replaced()
"""There was no manifest."""


def read(path: Path, name: str, user_id: str, namespace: str | None, suffix: str) -> Replaced:
    """Read the manifest at `path`, which is about to be replaced.

    Args:
        path: where the new manifest goes.
        name: of the new TenantModel.
        user_id: whom the new version is for.
        namespace: that the caller names; None: the one that the manifest names.
        suffix: of the new artifact; a format is kept only for the same.

    Raises:
        NotPublished: it declares another TenantModel or another user, holds more than one document, or
            can't be read.
    """
    try:
        documents = [each for each in yaml.load_all(path.read_bytes(), _Loader) if each is not None]
    except FileNotFoundError:
        return NOTHING
    except Exception as error:  # PyYAML raises whatever its input breaks
        first = str(error).partition("\n")[0]
        raise NotPublished(str(path), f"can't be read ({first}); correct it, or remove it") from error
    if not documents:
        return NOTHING
    document = documents[0]
    if len(documents) > 1 or not isinstance(document, dict) or document.get("kind") != KIND:
        problem = "holds more than the TenantModel that would be replaced; move that to a file of its own"
        raise NotPublished(str(path), problem)
    metadata, spec = _mapping(document, "metadata"), _mapping(document, "spec")
    stands_in = metadata.get("namespace") or "default"
    for what, seen, said in (
        ("userId", spec.get("userId", user_id), user_id),
        ("name", metadata.get("name", name), name),
        ("namespace", stands_in, namespace or stands_in),
    ):
        if str(seen) != said:
            problem = f"declares the {what} {seen!r}, not {said!r}; give this TenantModel another name"
            raise NotPublished(str(path), f"{problem}, or remove that one")
    return _kept(metadata, spec, suffix)


def declares(path: Path, uri: str) -> bool:
    """Return whether the manifest at `path` declares the artifact `uri`."""
    try:
        document = yaml.load(path.read_bytes(), _Loader)  # noqa: S506 - a safe one
    except (OSError, yaml.YAMLError):
        return False
    spec = document.get("spec") if isinstance(document, dict) else None
    model = spec.get("model") if isinstance(spec, dict) else None
    return isinstance(model, dict) and model.get("uri") == uri


def _kept(metadata: Mapping[str, Any], spec: Mapping[str, Any], suffix: str) -> Replaced:
    model = _mapping(spec, "model")
    dropped = set(_OF_ONE_VERSION)
    if PurePosixPath(str(model.get("uri", ""))).suffix.lower() != suffix.lower():
        dropped.add("format")
    said = {k: v for k, v in metadata.items() if k not in _OF_THE_API_SERVER | {"name", "namespace"}}
    if isinstance(said.get("annotations"), dict):
        said["annotations"] = {k: v for k, v in said["annotations"].items() if k != _LAST_APPLIED}
    return Replaced(
        namespace=metadata.get("namespace"),
        metadata=said,
        spec={key: value for key, value in spec.items() if key not in ("userId", "model")},
        model={key: value for key, value in model.items() if key not in dropped},
    )


def _mapping(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's takes a fifth of the time


class _Loader(_Base):  # type: ignore[misc]  # a class that is chosen above
    """Leaves a date the text that it was, as an API server does."""


_Loader.add_constructor("tag:yaml.org,2002:timestamp", yaml.constructor.SafeConstructor.construct_yaml_str)
