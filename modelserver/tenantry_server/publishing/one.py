"""The last line of a training job: an artifact under a name that never repeats, and its manifest."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tenantry_server.publishing.stores import local_folder

if TYPE_CHECKING:
    from tenantry import TenantModel
    from tenantry_server.signing.making import Signer


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
    sign: "Signer | str | Path | None" = None,
    s3_endpoint_url: str | None = None,
    check: bool = True,
) -> "TenantModel":
    """Store a model and declare it: the artifact first, the TenantModel manifest last.

    The artifact's name holds the time and its digest, so a new version never overwrites an older one,
    and the manifest pins the sha256. A manifest is replaced in one step: a reader sees the old one or
    the new one, never half. What the old one said is kept unless an argument says otherwise: labels,
    annotations, and the fields of its spec.

    Args:
        model: a fitted estimator or a Model (written as joblib reads it), a Booster of XGBoost or LightGBM,
            an ONNX, a Keras or a PyTorch program (written as its library does), or the path of a model
            file or of the folder of a SavedModel or an MLflow model (written as a zip archive).
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
            Ready. None: the input example of an MLflow folder, else no card.
        sign: the private key, or `Signer`, that the artifact is signed with, for servers that ask for that;
            the signature is stored beside it. Needs ``pip install 'tenantry[signing]'``. None: it is not
            signed.
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
    from tenantry_server.publishing import publisher  # noqa: PLC0415 - pydantic, NumPy and PyYAML
    from tenantry_server.signing import making  # noqa: PLC0415 - as above

    user = publisher.text_of(user_id)
    what = (
        str(model) if isinstance(model, str | Path) else f"the {publisher.kind_of(model)} for user {user!r}"
    )
    said = publisher.Said(user, name, namespace, model_format, method, spec or {})
    artifact = publisher.artifact_of(model, what)
    folder = None if manifests is None else local_folder(manifests)
    where = publisher.Where(to, folder, s3_endpoint_url, making.signer_of(sign))
    return publisher.store(artifact, said, where, example=example, check=check)
