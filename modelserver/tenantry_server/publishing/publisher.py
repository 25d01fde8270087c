"""Stores one artifact and declares it: the artifact first, the manifest last.

What `publish` and `publish_many` do; they import it when they are called.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from tenantry import TenantModel
from tenantry.errors import InvalidManifest, NotPublished
from tenantry.manifest.spec import API_VERSION, KIND
from tenantry.model_id import CARD_SUFFIX, SIGNATURE_SUFFIX
from tenantry.processes import files
from tenantry_server.formats import format_of, known
from tenantry_server.formats.checks import archive
from tenantry_server.publishing import replaced, trial
from tenantry_server.publishing.batch.alike import Alike
from tenantry_server.publishing.manifests import manifest_path, object_name, to_yaml
from tenantry_server.publishing.replaced import Replaced
from tenantry_server.publishing.stores import Place, place_for
from tenantry_server.signing.making import Signer

_PICKLED = ".joblib"


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is stored of a model.

    Attributes:
        model: the object, where it was pickled and predicts itself; None: it was a file, or is in its
            library's own format.
        what: the model, for messages.
        data: the bytes.
        suffix: of their name.
        sha256: the digest of the bytes, hexadecimal.
    """

    model: Any
    what: str
    data: bytes
    suffix: str
    sha256: str

    @classmethod
    def of(cls, model: Any, what: str, data: bytes, suffix: str) -> Self:
        """Return the artifact of these bytes."""
        return cls(model, what, data, suffix, hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)
class Where:
    """Where artifacts go, and manifests, by which S3 server and signed by whom where these are not None."""

    to: str | Path
    manifests: Path | None
    s3_endpoint_url: str | None
    signer: Signer | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """One model that was tried and declared, and is not stored yet.

    Attributes:
        declared: the TenantModel.
        files: what is stored, in this order: a card, a signature, and last the artifact.
        manifest: its path and bytes, which are written after these; None: nobody wants one.
    """

    declared: TenantModel
    files: tuple[tuple[Place, bytes], ...]
    manifest: tuple[Path, bytes] | None


def store(artifact: Artifact, said: "Said", where: Where, *, example: Any, check: bool) -> TenantModel:
    """Store one artifact and declare it, as `publish` says."""
    place = place_for(where.to, said.user_id, artifact.sha256, artifact.suffix)
    prepared = prepare(artifact, said, where, place, example=example, check=check)
    for each, data in prepared.files:
        each.store(data, s3_endpoint_url=where.s3_endpoint_url)
    if prepared.manifest is not None:
        path, text = prepared.manifest
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, text)
    return prepared.declared


def prepare(  # noqa: PLR0913 - as `publish`
    artifact: Artifact,
    said: "Said",
    where: Where,
    place: Place,
    *,
    example: Any,
    check: bool,
    alike: Alike | None = None,
    settled: Callable[[Path], None] = lambda _: None,
) -> Prepared:
    """Try one model and declare it; nothing is stored.

    Args:
        place: where its artifact will be.
        alike: of its batch; None: it is published alone.
        settled: called with the path of the manifest before the one that stands there is read.
    """
    source: dict[str, Any] = {"uri": place.uri, "sha256": artifact.sha256}
    declared = said.over(replaced.NOTHING, source)
    kept = replaced.NOTHING
    path = None
    if where.manifests is not None:
        path = manifest_path(declared, where.manifests)
        settled(path)
        kept = replaced.read(path, declared.name, said.user_id, said.namespace, artifact.suffix)
        declared = declared if kept is replaced.NOTHING else _over(said, kept, source, path)
    exact = declared.spec.model.pinned()
    format_of(exact)
    if example is None and check:
        example = trial.example_in(artifact.data, exact, artifact.what)
    stored = []
    if example is not None:
        card = trial.described(artifact.data, exact, artifact.what, example, artifact.model)
        beside = place.beside(CARD_SUFFIX)
        stored.append((beside, card))
        source["card"] = {"uri": beside.uri, "sha256": hashlib.sha256(card).hexdigest()}
        declared = said.over(kept, source)
    elif check:
        trial.try_model(artifact.data, exact, artifact.what, artifact.model, alike)
    if where.signer is not None:
        stored.append((place.beside(SIGNATURE_SUFFIX), where.signer.sign(artifact.data)))
    stored.append((place, artifact.data))
    manifest = None if path is None else (path, to_yaml(declared, kept.metadata).encode())
    return Prepared(declared, tuple(stored), manifest)


def _over(said: "Said", kept: Replaced, source: Mapping[str, Any], path: Path) -> TenantModel:
    try:
        return said.over(kept, source)
    except InvalidManifest as error:
        raise NotPublished(str(path), f"{error}; correct it there") from None


def text_of(user_id: Any) -> str:
    """Return a user id as text; whole numbers of a table are often NumPy's, and a float is refused.

    Raises:
        InvalidManifest: it is neither text, nor a whole number, nor a UUID.
    """
    if isinstance(user_id, str):
        return str.__str__(user_id)  # of an enumeration its value
    numbered = isinstance(user_id, Integral | UUID)
    if numbered and not isinstance(user_id, bool):
        return str(user_id)
    problem = f"must be text, a whole number or a UUID, got {user_id!r} ({type(user_id).__name__})"
    raise InvalidManifest("spec.userId", problem)


def kind_of(model: Any) -> str:
    """Return what a model is called in messages."""
    return f"class {model.__name__}" if isinstance(model, type) else type(model).__name__


def artifact_of(model: Any, what: str) -> Artifact:
    """Return what is stored of an object, or of a file or folder.

    Raises:
        ArtifactInvalid: it can't be pickled.
    """
    if isinstance(model, str | Path):
        path = Path(model)
        if path.is_dir():
            return Artifact.of(None, what, _packed(path), known.folder_suffix(path))
        return Artifact.of(None, what, path.read_bytes(), path.suffix)
    data, suffix = trial.dumped(model, what)
    # What its own library wrote is read back by that library: there is no second way to ask it.
    return Artifact.of(model if suffix == _PICKLED else None, what, data, suffix)


def _packed(folder: Path) -> bytes:
    try:
        return archive.pack(folder)
    except ValueError as error:
        raise NotPublished(str(folder), str(error)) from None


@dataclass(frozen=True, slots=True)
class Said:
    """What the caller says, which goes before what the replaced manifest said; as `publish` takes it."""

    user_id: str
    name: str | None
    namespace: str | None
    model_format: str | None
    method: str | Sequence[str] | None
    spec: Mapping[str, Any]

    def over(self, kept: Replaced, source: Mapping[str, Any]) -> TenantModel:
        """Return the TenantModel that both say together, of the artifact `source`.

        Raises:
            InvalidManifest: they break a rule.
        """
        more = dict(self.spec)
        more_model = more.pop("model", {})
        if not isinstance(more_model, Mapping):
            raise InvalidManifest("spec.model", f"must be a mapping, got {more_model!r}")
        given = {**source, "format": self.model_format, "method": self.method}
        model = {name: value for name, value in given.items() if value is not None}
        return TenantModel.parse(
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "metadata": {
                    "name": self.name or object_name(self.user_id),
                    "namespace": self.namespace or kept.namespace or "default",
                },
                "spec": {
                    **kept.spec,
                    **more,
                    "userId": self.user_id,
                    "model": {**kept.model, **more_model, **model},
                },
            }
        )
