"""The last line of a training job: an artifact under a name that never repeats, and its manifest."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any
from uuid import UUID

from tenantry import TenantModel
from tenantry.errors import InvalidManifest, NotPublished
from tenantry.model_id import CARD_SUFFIX
from tenantry.spec import API_VERSION, KIND
from tenantry_server.formats import archive, format_of
from tenantry_server.publishing import replaced, trial
from tenantry_server.publishing.manifests import manifest_path, object_name, write_manifest
from tenantry_server.publishing.replaced import Replaced
from tenantry_server.publishing.stores import local_folder, place_for


def publish(  # noqa: PLR0913 - one call with names is the whole point
    model: Any,
    *,
    user_id: str | Integral | UUID,
    to: str | Path,
    manifests: str | Path | None = None,
    name: str | None = None,
    namespace: str | None = None,
    model_format: str | None = None,
    method: str | Sequence[str] | None = None,
    spec: Mapping[str, Any] | None = None,
    example: Any = None,
    s3_endpoint_url: str | None = None,
    check: bool = True,
) -> TenantModel:
    """Store a model and declare it: the artifact first, the TenantModel manifest last.

    The artifact's name holds the time and its digest, so a new version never overwrites an older one,
    and the manifest pins the sha256. A manifest is replaced in one step: a reader sees the old one or
    the new one, never half. What the old one said is kept unless an argument says otherwise: labels,
    annotations, and the fields of its spec.

    Args:
        model: a fitted estimator or a Model (written with joblib), a Booster of XGBoost or LightGBM, an
            ONNX or a Keras model (written as its library does), or the path of a model file or of a
            SavedModel's folder (written as a zip archive).
        user_id: whom the model is for; a whole number or a UUID is written as text.
        to: a folder, or ``s3://bucket/prefix``.
        manifests: the folder that gets ``NAME.yaml``; None: nothing is written, use the result.
        name: of the TenantModel; None: made of `user_id`.
        namespace: of the TenantModel; None: that of the manifest that is replaced, else ``default``.
        model_format: loader of a model file; None: by its suffix.
        method: ``predict``, ``predict_proba`` or ``decision_function``, or a list of them, whose answers go
            together; None: as before, else ``predict``.
        spec: further fields, such as ``{"prewarm": True}``; one that is None goes back to its default.
        example: rows of what the model was fitted with, such as ``X_train.head(20)``: a DataFrame, a
            two-dimensional array, a Series or list of texts, or a list of dicts; of a forecaster a request,
            such as ``{"horizon": 14}``. Then a card is stored beside the artifact: requests are read as
            these types, and a server must answer these rows as the model does here before the version is
            Ready.
        s3_endpoint_url: of an S3 server other than Amazon's; None: TENANTRY_S3_ENDPOINT_URL.
        check: whether to load the model as a server would, and let it predict a trial row, before anything
            is stored. A file then runs its code here. An `example` is always tried.

    Returns:
        the declared TenantModel.

    Raises:
        InvalidManifest: `user_id`, `name` or `spec` breaks a rule; nothing was stored.
        NotPublished: `to` or `manifests` is an address of another kind, or the manifest that would be
            replaced declares something else, or a server would not answer `example` as the model does;
            nothing was stored.
        ArtifactInvalid: a server would refuse the model, such as one that is not fitted or whose code is
            in this script or notebook; nothing was stored.
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
    user = text_of(user_id)
    what = str(model) if isinstance(model, str | Path) else f"the {_kind(model)} for user {user!r}"
    said = Said(user, name, namespace, model_format, method, spec or {})
    artifact = artifact_of(model, what)
    where = Where(to, None if manifests is None else local_folder(manifests), s3_endpoint_url)
    return store(artifact, said, where, example=example, check=check)


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is stored of a model.

    Attributes:
        model: the object, where there is one; None: it was a file.
        what: the model, for messages.
        data: the bytes.
        suffix: of their name.
    """

    model: Any
    what: str
    data: bytes
    suffix: str

    @property
    def sha256(self) -> str:
        """The digest of the bytes, hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Where:
    """Where artifacts go, and manifests and by which S3 server where those are not None."""

    to: str | Path
    manifests: Path | None
    s3_endpoint_url: str | None


def store(artifact: Artifact, said: "Said", where: Where, *, example: Any, check: bool) -> TenantModel:
    """Store one artifact and declare it, as `publish` says."""
    place = place_for(where.to, said.user_id, artifact.data, artifact.suffix)
    source: dict[str, Any] = {"uri": place.uri, "sha256": artifact.sha256}
    declared = said.over(Replaced(), source)
    kept = Replaced()
    if where.manifests is not None:
        path = manifest_path(declared, where.manifests)
        kept = replaced.read(path, declared.name, said.user_id, said.namespace, artifact.suffix)
        try:
            declared = said.over(kept, source)
        except InvalidManifest as error:
            raise NotPublished(str(path), f"{error}; correct it there") from None
    exact = declared.spec.model.pinned()
    format_of(exact)
    if example is not None:
        card = trial.described(artifact.data, exact, artifact.what, example, artifact.model)
        beside = place.beside(CARD_SUFFIX)
        beside.store(card, s3_endpoint_url=where.s3_endpoint_url)
        source["card"] = {"uri": beside.uri, "sha256": hashlib.sha256(card).hexdigest()}
        declared = said.over(kept, source)
    elif check:
        trial.try_model(artifact.data, exact, artifact.what)
    place.store(artifact.data, s3_endpoint_url=where.s3_endpoint_url)
    if where.manifests is not None:
        write_manifest(declared, where.manifests, kept.metadata)
    return declared


def text_of(user_id: Any) -> str:
    """Return a user id as text: ids of a table are often NumPy's numbers, and a float was an id once.

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


def _kind(model: Any) -> str:
    return f"class {model.__name__}" if isinstance(model, type) else type(model).__name__


def artifact_of(model: Any, what: str) -> Artifact:
    """Return what is stored of an object, or of a file or folder.

    Raises:
        ArtifactInvalid: it can't be pickled.
    """
    if isinstance(model, str | Path):
        path = Path(model)
        if path.is_dir():
            return Artifact(None, what, archive.pack(path), ".zip")
        return Artifact(None, what, path.read_bytes(), path.suffix)
    return Artifact(model, what, *trial.dumped(model, what))


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
