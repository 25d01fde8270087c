"""Every error that Tenantry raises on purpose, by what it means to the one who reads it.

    TenantryError
    ├── InvalidManifest          a TenantModel document breaks a rule; a person must edit it
    ├── ModelNotAssigned         no TenantModel names this user
    │   └── VersionNotFound          one does, and another version of it answers than was asked for
    ├── ModelNotReady            assigned, and no version of it has loaded yet
    ├── ArtifactError            the bytes behind a model id
    │   ├── ArtifactNotFound         nothing there (yet)
    │   ├── ArtifactAccessDenied     the store refused our credentials
    │   ├── ArtifactChanged          other bytes stand where the pinned ones stood
    │   ├── ArtifactDigestMismatch   the bytes read do not have the pinned sha256
    │   ├── ArtifactTruncated        the body ended early
    │   ├── ArtifactUnavailable      the store did not answer
    │   ├── ArtifactTooLarge         over the limit for one artifact
    │   └── ArtifactInvalid          the bytes are no model that this server can read
    │       ├── UnknownFormat            no loader for this format or suffix
    │       └── FormatNotInstalled       the library of its format is not installed here
    ├── ModelTooLarge            loaded, and larger than the whole cache
    ├── InvalidRequest           the request body
    │   └── FeatureMismatch          its columns, rows or values are not what the model takes
    ├── PredictionFailed         the model itself raised
    ├── PredictionTimeout        the time for this request is spent
    ├── ModelLoading             the time for this request was spent before its model had loaded
    ├── RegistryUnavailable      the SQL registry did not answer
    ├── LeaseLost                fresh knowledge is asked for, and this server's lease is over
    ├── RegistryMismatch         the registry belongs to another version or another source
    ├── ServerIdTaken            another model server runs under the same name
    ├── InvalidSetting           a TENANTRY_* variable or an option breaks its rule
    └── LeadershipLost           another operator holds a newer epoch; this one must stop writing

`reason` is public: HTTP bodies, conditions and metrics carry it. `retryable` says whether time alone
can mend it; an error that is not retryable waits for a person. Which HTTP status or condition an error
becomes is not its business: only the server's app and the operator's reconciler decide that.
"""

from typing import ClassVar


class TenantryError(Exception):
    """An error whose message is written for the person who must act on it.

    Attributes:
        retry_after_s: seconds until another try makes sense; None: not known.
    """

    reason: ClassVar[str] = "Error"
    retryable: ClassVar[bool] = False
    retry_after_s: float | None = None


class InvalidManifest(TenantryError):
    """A TenantModel document breaks a rule of its type.

    Args:
        field: dotted path of the value that breaks it, such as ``spec.model.uri``.
        problem: what was seen and what is allowed.
        line: 1-based line in the file, where one is known.
    """

    reason: ClassVar[str] = "InvalidManifest"

    def __init__(self, field: str, problem: str, *, line: int | None = None) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.line = line


class ModelNotAssigned(TenantryError):
    """The registry answered, and holds no model for this user."""

    reason: ClassVar[str] = "ModelNotAssigned"

    def __init__(self, user_id: str) -> None:
        super().__init__(f"no model is assigned to user {user_id!r}; apply a TenantModel with this userId")
        self.user_id = user_id


class VersionNotFound(ModelNotAssigned):
    """The path names a version, and another one answers for this user."""

    reason: ClassVar[str] = "VersionNotFound"

    def __init__(self, user_id: str, asked: str, current: str) -> None:
        TenantryError.__init__(
            self,
            f"version {asked[:40]!r} does not answer for user {user_id!r}, {current!r} does; ask for "
            "that one, or leave the version out of the path",
        )
        self.user_id = user_id


class ModelNotReady(TenantryError):
    """The user has a TenantModel, and no version of it has been loaded successfully yet."""

    reason: ClassVar[str] = "ModelNotReady"
    retryable: ClassVar[bool] = True

    def __init__(self, user_id: str) -> None:
        super().__init__(
            f"the model of user {user_id!r} has not loaded yet; retry shortly, "
            f"or see why with `tenantry get {user_id}`"
        )
        self.user_id = user_id


class ArtifactError(TenantryError):
    """Something about the bytes behind a model id."""

    reason: ClassVar[str] = "ArtifactError"


class ArtifactNotFound(ArtifactError):
    """The store answered, and holds nothing under this name."""

    reason: ClassVar[str] = "ArtifactNotFound"
    retryable: ClassVar[bool] = True

    def __init__(self, uri: str, detail: str = "") -> None:
        super().__init__(
            f"no artifact at {uri}{f' ({detail})' if detail else ''}; "
            "publish it there, or correct spec.model.uri"
        )


class ArtifactAccessDenied(ArtifactError):
    """The store refused the credentials of this process."""

    reason: ClassVar[str] = "ArtifactAccessDenied"
    retryable: ClassVar[bool] = True

    def __init__(self, uri: str, detail: str = "") -> None:
        super().__init__(
            f"access to {uri} was denied{f' ({detail})' if detail else ''}; "
            "grant read access to the credentials that this process runs with"
        )


class ArtifactChanged(ArtifactError):
    """The object was overwritten since its version was pinned."""

    reason: ClassVar[str] = "ArtifactChanged"

    def __init__(self, uri: str, pinned: str) -> None:
        super().__init__(
            f"{uri} no longer holds the version that was pinned ({pinned}); publish new versions "
            "under new names, or set spec.refreshInterval to follow an object that is overwritten"
        )


class ArtifactDigestMismatch(ArtifactError):
    """The bytes that were read do not have the sha256 that was asked for."""

    reason: ClassVar[str] = "ArtifactDigestMismatch"

    def __init__(self, uri: str, expected: str, seen: str) -> None:
        super().__init__(
            f"{uri} has sha256 {seen}, expected {expected}; nothing was deserialised. "
            "Publish the right bytes, or correct the pin"
        )


class ArtifactTruncated(ArtifactError):
    """The body ended before its announced length."""

    reason: ClassVar[str] = "ArtifactTruncated"
    retryable: ClassVar[bool] = True

    def __init__(self, uri: str, seen_bytes: int, expected_bytes: int) -> None:
        super().__init__(
            f"reading {uri} ended after {seen_bytes} of {expected_bytes} bytes; it will be retried"
        )


class ArtifactUnavailable(ArtifactError):
    """The store did not answer, or answered that it cannot at the moment.

    Attributes:
        reached: it answered; where not, another server may reach it.
        tried: it was asked at all, and not left alone because it could not be reached a moment ago.
    """

    reason: ClassVar[str] = "ArtifactUnavailable"
    retryable: ClassVar[bool] = True

    def __init__(self, uri: str, detail: str, *, reached: bool = False, tried: bool = True) -> None:
        super().__init__(f"the store of {uri} did not answer: {detail}; it will be retried")
        self.reached = reached
        self.tried = tried


class ArtifactTooLarge(ArtifactError):
    """The artifact is larger than this process may read."""

    reason: ClassVar[str] = "ArtifactTooLarge"

    def __init__(self, uri: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{uri} has {size_bytes} bytes, the limit is {limit_bytes}; "
            "raise TENANTRY_MAX_ARTIFACT_BYTES or publish a smaller model"
        )


class ArtifactInvalid(ArtifactError):
    """The bytes are there and whole, and are no model that this server can read."""

    reason: ClassVar[str] = "ArtifactInvalid"

    def __init__(self, uri: str, problem: str) -> None:
        super().__init__(f"{uri} is not a usable model: {problem}")


class UnknownFormat(ArtifactInvalid):
    """No loader is registered for the format or the suffix."""

    reason: ClassVar[str] = "UnknownFormat"

    def __init__(self, uri: str, seen: str, known: str) -> None:
        super().__init__(uri, f"no loader for {seen}; this server knows {known}")


class FormatNotInstalled(ArtifactInvalid):
    """The server knows the format, and the library that reads it can't be imported here.

    Args:
        library: what could not be imported, such as ``onnxruntime``.
        extra: of our own distribution, which brings it.
        problem: what the import said.
    """

    reason: ClassVar[str] = "FormatNotInstalled"

    def __init__(self, uri: str, library: str, extra: str, problem: str) -> None:
        super().__init__(
            uri,
            f"here, because it needs {library}, which can't be imported ({problem}); where the servers "
            f"run: pip install 'tenantry[{extra}]'",
        )


class ModelTooLarge(TenantryError):
    """The loaded model does not fit the whole cache."""

    reason: ClassVar[str] = "ModelTooLarge"

    def __init__(self, model_id: str, size_bytes: int, capacity_bytes: int) -> None:
        super().__init__(
            f"{model_id} takes {size_bytes} bytes in memory, the cache holds {capacity_bytes}; "
            "raise TENANTRY_CACHE_BYTES or publish a smaller model"
        )


class InvalidRequest(TenantryError):
    """The request body cannot be understood."""

    reason: ClassVar[str] = "InvalidRequest"


class FeatureMismatch(InvalidRequest):
    """The rows are not what the model was fitted with."""

    reason: ClassVar[str] = "FeatureMismatch"


class PredictionFailed(TenantryError):
    """The model raised while it predicted on rows that passed every check."""

    reason: ClassVar[str] = "PredictionFailed"


class PredictionTimeout(TenantryError):
    """The budget of this request is spent; a load that was under way goes on."""

    reason: ClassVar[str] = "PredictionTimeout"
    retryable: ClassVar[bool] = True

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no answer within {timeout_s:g} s; retry, or raise TENANTRY_PREDICT_TIMEOUT_S")


class ModelLoading(TenantryError):
    """The budget of this request was spent before the model had loaded; the load goes on."""

    reason: ClassVar[str] = "ModelLoading"
    retryable: ClassVar[bool] = True

    def __init__(self, user_id: str, timeout_s: float) -> None:
        super().__init__(
            f"the model of user {user_id!r} is still being loaded after {timeout_s:g} s; the load goes on, "
            "so retry shortly"
        )
        self.user_id = user_id


class ServerIdTaken(TenantryError):
    """Another model server took this one's name; two that speak for one another would make Ready a lie."""

    reason: ClassVar[str] = "ServerIdTaken"

    def __init__(self, server_id: str, endpoint: str) -> None:
        super().__init__(
            f"another server at {endpoint} has taken the name {server_id!r}, so this one ends; "
            "give each its own --server-id (TENANTRY_SERVER_ID)"
        )


class InvalidSetting(TenantryError):
    """A setting breaks its rule; the message names it, and what was seen."""

    reason: ClassVar[str] = "InvalidSetting"


class RegistryUnavailable(TenantryError):
    """The SQL registry did not answer."""

    reason: ClassVar[str] = "RegistryUnavailable"
    retryable: ClassVar[bool] = True


class LeaseLost(TenantryError):
    """The request wants fresh knowledge only, and this server's may be old."""

    reason: ClassVar[str] = "LeaseLost"
    retryable: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__(
            "this server has lost touch with the registry, and the request asks for fresh knowledge "
            "only (Tenantry-Fresh); ask another server, or again shortly"
        )


class RegistryMismatch(TenantryError):
    """The registry answers, and is not the one that this process can work with."""

    reason: ClassVar[str] = "RegistryMismatch"


class LeadershipLost(TenantryError):
    """Another operator took over; every later write of this one must be refused."""

    reason: ClassVar[str] = "LeadershipLost"

    def __init__(self, held_epoch: int, current_epoch: int) -> None:
        super().__init__(
            f"another operator leads since epoch {current_epoch}, this one held {held_epoch}; "
            "nothing was written"
        )
