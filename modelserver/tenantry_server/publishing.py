"""The last line of a training job: an artifact under a name that never repeats, and its manifest."""

import hashlib
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import yaml

from tenantry import TenantModel, files
from tenantry.errors import InvalidManifest
from tenantry.spec import API_VERSION, KIND
from tenantry_server.artifacts.s3 import make_client, publish_bytes
from tenantry_server.formats import archive, dump_model, format_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_STORING_S = 60.0  # a store answers once it has the whole artifact


def publish(  # noqa: PLR0913 - one call with names is the whole point
    model: Any,
    *,
    user_id: str,
    to: str | Path,
    manifests: str | Path | None = None,
    name: str | None = None,
    namespace: str = "default",
    model_format: str | None = None,
    method: str | None = None,
    spec: Mapping[str, Any] | None = None,
    s3_endpoint_url: str | None = None,
) -> TenantModel:
    """Store a model and declare it: the artifact first, the TenantModel manifest last.

    The artifact's name holds the time and its digest, so a new version never overwrites an older one,
    and the manifest pins the sha256. A manifest is replaced in one step: a reader sees the old one or
    the new one, never half.

    Args:
        model: a fitted estimator or a Model (written with joblib), a Booster of XGBoost or LightGBM, an
            ONNX or a Keras model (written as its library does), or the path of a model file or of a
            SavedModel's folder (written as a zip archive).
        user_id: whom the model is for.
        to: a folder, or ``s3://bucket/prefix``.
        manifests: the folder that gets ``NAME.yaml``; None: nothing is written, use the result.
        name: of the TenantModel; None: made of `user_id`.
        namespace: of the TenantModel.
        model_format: loader of a model file; None: by its suffix.
        method: ``predict``, ``predict_proba`` or ``decision_function``; None: ``predict``.
        spec: further fields, such as ``{"prewarm": True}``.
        s3_endpoint_url: as TENANTRY_S3_ENDPOINT_URL.

    Returns:
        the declared TenantModel.

    Raises:
        InvalidManifest: `user_id`, `name` or `spec` breaks a rule; nothing was stored.
        UnknownFormat: no server could load the file; nothing was stored.
        ArtifactError: the S3 server refused the artifact, or did not answer.

    Example:
        >>> from sklearn.linear_model import LinearRegression
        >>> folder = getfixture("tmp_path")
        >>> fitted = LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])
        >>> declared = publish(fitted, user_id="ann", to=folder / "models", manifests=folder)
        >>> declared.spec.user_id, sorted(p.name for p in folder.glob("*.yaml"))
        ('ann', ['ann.yaml'])
    """
    data, suffix = _artifact(model)
    digest = hashlib.sha256(data).hexdigest()
    stem = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{digest[:12]}"
    user_folder = quote(str(user_id), safe="@+~")
    if str(to).startswith("s3://"):
        prefix = str(to).removeprefix("s3://").strip("/")
        uri = f"s3://{prefix}/{user_id}/{stem}{suffix}"
    else:
        folder = str(Path(to).absolute())
        path = Path(folder) / user_folder / f"{stem}{suffix}"
        uri = path.as_uri()
    source = {"uri": uri, "sha256": digest, "format": model_format, "method": method}
    declared = _declared(name or object_name(str(user_id)), namespace, user_id, source, spec or {})
    format_of(declared.spec.model.pinned())
    if uri.startswith("s3://"):
        publish_bytes(_client(s3_endpoint_url, _aws_environment()), uri, data)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, data)
    if manifests is not None:
        write_manifest(declared, Path(manifests))
    return declared


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


def _aws_environment() -> frozenset[tuple[str, str]]:
    return frozenset(item for item in os.environ.items() if item[0].startswith("AWS_"))


@lru_cache(maxsize=4)  # making one takes 0.1 s: as long as fitting a small model
def _client(endpoint_url: str | None, _environment: frozenset[tuple[str, str]]) -> "S3Client":
    return make_client(endpoint_url, silent_s=_STORING_S)


def _artifact(model: Any) -> tuple[bytes, str]:
    if isinstance(model, str | Path):
        path = Path(model)
        if path.is_dir():
            return archive.pack(path), ".zip"
        return path.read_bytes(), path.suffix
    return dump_model(model)


def _declared(
    name: str, namespace: str, user_id: str, model: dict[str, Any], extra: Mapping[str, Any]
) -> TenantModel:
    more = dict(extra)
    more_model = more.pop("model", {})
    if not isinstance(more_model, Mapping):
        raise InvalidManifest("spec.model", f"must be a mapping, got {more_model!r}")
    return TenantModel.parse(
        {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                **more,
                "userId": user_id,
                "model": {**more_model, **{k: v for k, v in model.items() if v is not None}},
            },
        }
    )
