"""Every error that Tenantry raises on purpose, by what it means to the reader.

    TenantryError
    ├── InvalidManifest          a TenantModel document breaks a rule; a person must edit it
    ├── NotPublished             `publish` refuses, and has stored nothing
    ├── ModelNotAssigned         no TenantModel names this user
    │   └── VersionNotFound          one does, and the requested version does not answer
    ├── CardNotFound             its model has no card
    ├── ModelNotReady            assigned, and no version of it has loaded yet
    │   └── ModelStalled             the same, and a person must act
    ├── ArtifactError            the bytes behind a model id
    │   ├── ArtifactNotFound         nothing there (yet)
    │   ├── ArtifactAccessDenied     the store refused our credentials
    │   ├── ArtifactOutsideRoots     a file outside the folders that artifacts may come from
    │   ├── ArtifactChanged          other bytes stand where the pinned ones stood
    │   ├── ArtifactDigestMismatch   the bytes read do not have the pinned sha256
    │   ├── ArtifactTruncated        the body ended early
    │   ├── ArtifactUnavailable      the store did not answer
    │   │   └── FleetUnreachable      no server answers a sidecar
    │   ├── ArtifactTooLarge         over the limit for one artifact
    │   ├── CardUnusable             the model's card can't be read, or does not fit the model
    │   ├── AnswersDiffer            it answers its card's rows otherwise than where it was trained
    │   ├── SignatureRefused         it has to be signed, and no signature of it is accepted
    │   │   ├── SignatureMissing         there is none
    │   │   ├── SignatureInvalid         what lies there does not sign these bytes
    │   │   ├── SignatureUntrusted       nobody whom the servers trust made it
    │   │   ├── SignatureExpired         the signer's certificate is not valid now
    │   │   └── SignatureUnverifiable    this process can't verify signatures
    │   └── ArtifactInvalid          the bytes are not a model that this server can read
    │       ├── UnknownFormat            no loader for this format or suffix
    │       ├── VersionSkew              another version of a library wrote it, and that is refused
    │       ├── ModelTimedOut            loading it did not end in time
    │       └── FormatNotInstalled       the library of its format is not installed here
    ├── ModelTooLarge            larger than the whole cache, or than the memory that a load may take
    │   └── ModelOverLimit           larger than its user's limits allow
    ├── MemoryTaken              others have the memory that its load would take
    ├── ModelCrashed             it ended the process that ran it
    ├── ModelQuarantined         it did so again and again, and is left alone for a while
    ├── ModelMoving              its processes ended one after another before its turn
    ├── WorkersUnavailable       there is no process to run it in
    ├── Unauthenticated          the request carries no key or token that is accepted
    ├── Forbidden                what it asks is not for its caller
    ├── QuotaExceeded            more is asked for a user than the user's limits allow
    ├── RowsTooMany              one request has more rows than they allow
    ├── BatchTooLong             one request has more rows than a server takes at once
    ├── AnswerTooLarge           its rows and a model's outputs make an answer larger than a server gives
    ├── UnknownMediaType         its body has a type that this server does not read
    ├── InvalidRequest           the request body
    │   ├── FeatureMismatch          its columns, rows or values are not what the model takes
    │   ├── TimelineMismatch         its times do not follow those of the model's series
    │   ├── NotAForecaster           it asks for a forecast, and the model predicts rows
    │   └── OnlyForecasts            it asks for predictions, and the model forecasts
    ├── PredictionFailed         the model itself raised
    ├── BodyTimeout              the body of a request did not arrive in time
    ├── BodiesTooMany            bodies that still arrive hold more than they may
    ├── ServersLost              two servers were lost while they worked on one request
    ├── PredictionTimeout        the time for this request is spent
    ├── ModelLoading             the time for this request was spent before its model had loaded
    ├── RegistryUnavailable      the SQL registry did not answer
    ├── HistoryChanged           the registry lost commits; what this process knows is of another history
    ├── LeaseLost                fresh knowledge is asked for, and this server's lease is over
    ├── RegistryMismatch         the registry belongs to another version or another source
    ├── ServerIdTaken            another model server runs under the same name
    ├── InvalidSetting           a TENANTRY_* variable or an option breaks its rule
    └── LeadershipLost           another operator holds a newer epoch; this one must stop writing

`reason` is public: HTTP bodies, conditions and metrics carry it. `retryable` says whether time alone can
mend the cause; an error that is not retryable waits for a person. An error does not know its HTTP status or
condition: only the server's wire and the operator's reconciler map it.
"""

from tenantry.errors.artifacts import (
    AnswersDiffer,
    ArtifactAccessDenied,
    ArtifactChanged,
    ArtifactDigestMismatch,
    ArtifactError,
    ArtifactInvalid,
    ArtifactNotFound,
    ArtifactOutsideRoots,
    ArtifactTooLarge,
    ArtifactTruncated,
    ArtifactUnavailable,
    CardUnusable,
    FleetUnreachable,
    FormatNotInstalled,
    ModelTimedOut,
    UnknownFormat,
    VersionSkew,
)
from tenantry.errors.base import (
    TenantryError,
)
from tenantry.errors.declared import (
    CardNotFound,
    InvalidManifest,
    ModelNotAssigned,
    ModelNotReady,
    ModelStalled,
    VersionNotFound,
)
from tenantry.errors.models import MemoryTaken, ModelCrashed, ModelQuarantined, ModelTooLarge
from tenantry.errors.processes import (
    HistoryChanged,
    InvalidSetting,
    LeadershipLost,
    LeaseLost,
    RegistryMismatch,
    RegistryUnavailable,
    ServerIdTaken,
    WorkersUnavailable,
)
from tenantry.errors.publishing import NotPublished
from tenantry.errors.requests import (
    AnswerTooLarge,
    BatchTooLong,
    BodiesTooMany,
    BodyTimeout,
    FeatureMismatch,
    Forbidden,
    InvalidRequest,
    ModelLoading,
    ModelMoving,
    ModelOverLimit,
    NotAForecaster,
    OnlyForecasts,
    PredictionFailed,
    PredictionTimeout,
    QuotaExceeded,
    RowsTooMany,
    ServersLost,
    TimelineMismatch,
    Unauthenticated,
    UnknownMediaType,
)
from tenantry.errors.signatures import (
    SignatureExpired,
    SignatureInvalid,
    SignatureMissing,
    SignatureRefused,
    SignatureUntrusted,
    SignatureUnverifiable,
)

__all__ = [
    "AnswerTooLarge",
    "AnswersDiffer",
    "ArtifactAccessDenied",
    "ArtifactChanged",
    "ArtifactDigestMismatch",
    "ArtifactError",
    "ArtifactInvalid",
    "ArtifactNotFound",
    "ArtifactOutsideRoots",
    "ArtifactTooLarge",
    "ArtifactTruncated",
    "ArtifactUnavailable",
    "BatchTooLong",
    "BodiesTooMany",
    "BodyTimeout",
    "CardNotFound",
    "CardUnusable",
    "FeatureMismatch",
    "FleetUnreachable",
    "Forbidden",
    "FormatNotInstalled",
    "HistoryChanged",
    "InvalidManifest",
    "InvalidRequest",
    "InvalidSetting",
    "LeadershipLost",
    "LeaseLost",
    "MemoryTaken",
    "ModelCrashed",
    "ModelLoading",
    "ModelMoving",
    "ModelNotAssigned",
    "ModelNotReady",
    "ModelOverLimit",
    "ModelQuarantined",
    "ModelStalled",
    "ModelTimedOut",
    "ModelTooLarge",
    "NotAForecaster",
    "NotPublished",
    "OnlyForecasts",
    "PredictionFailed",
    "PredictionTimeout",
    "QuotaExceeded",
    "RegistryMismatch",
    "RegistryUnavailable",
    "RowsTooMany",
    "ServerIdTaken",
    "ServersLost",
    "SignatureExpired",
    "SignatureInvalid",
    "SignatureMissing",
    "SignatureRefused",
    "SignatureUntrusted",
    "SignatureUnverifiable",
    "TenantryError",
    "TimelineMismatch",
    "Unauthenticated",
    "UnknownFormat",
    "UnknownMediaType",
    "VersionNotFound",
    "VersionSkew",
    "WorkersUnavailable",
]
