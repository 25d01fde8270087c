"""Figures and reasons in words."""

import time
from datetime import UTC, datetime

from tenantry.manifest.status import READY

UNDECIDED = "Undecided"
"""What stands for a reason where the operator has not decided yet."""

_STORE = "See whether the store answers and holds the whole artifact. It is asked for again by itself."
_PUBLISH = "Publish another version. What answered before goes on answering."
_SIGN = (
    "Sign the artifact with a key that the servers trust (tenantry sign), or let an admin trust its signer."
)
_REPORT = "This is a fault of Tenantry. The log of the operator or of the server has it; please report it."
_WAIT = "Nothing to do: it goes on by itself."
ADVICE = {
    "Resolving": _WAIT,
    "Loading": f"{_WAIT} Where it takes long, the log of the shard's owner says why.",
    "RollingOut": "Nothing to do, but where it takes more than 10 s: see which server is behind.",
    "NoServer": "Start a model server, or give it the same registry as this operator.",
    "Degraded": "Bring the artifact back, or publish a version that loads. Ready comes back by itself.",
    "ArtifactNotFound": "Publish the artifact, or correct spec.model.uri. It is asked for again by itself.",
    "ArtifactAccessDenied": "Grant read access to the operator and to the servers.",
    "ArtifactUnavailable": _STORE,
    "ArtifactTruncated": _STORE,
    "ArtifactOutsideRoots": "Publish below one of the allowed folders, or set TENANTRY_FILE_ROOTS.",
    "ArtifactInvalid": _PUBLISH,
    "UnknownFormat": "Name the format in spec.model.format, or publish a format that servers read.",
    "AnswersDiffer": "Train it with the libraries that serve it, and publish it again.",
    "CardUnusable": "Publish the model again, with its card beside it.",
    "VersionSkew": "Train it with the version that serves, or serve it with the one that trained it.",
    "ModelTimedOut": _PUBLISH,
    "ModelCrashed": f"Run it where it was trained, with the versions of the servers. {_PUBLISH}",
    "MemoryTaken": "It is tried again by itself. Where that goes on, give the servers more memory.",
    "ModelQuarantined": "It is tried again by itself, ever more seldom. Publish a version that works.",
    "WorkersUnavailable": "It is tried again by itself. The server's log says why no process can be made.",
    "FormatNotInstalled": "Install what the message names where the servers run, and restart them.",
    "SignatureMissing": _SIGN,
    "SignatureInvalid": _SIGN,
    "SignatureUntrusted": _SIGN,
    "SignatureExpired": _SIGN,
    "SignatureUnverifiable": "Tell the servers whom to trust, and install tenantry[signing] there.",
    "ArtifactDigestMismatch": "Correct the pinned sha256, or publish under a new name.",
    "ArtifactChanged": "Publish under new names, or set spec.refreshInterval.",
    "ArtifactTooLarge": "Publish a smaller artifact, or raise TENANTRY_MAX_ARTIFACT_BYTES.",
    "ModelTooLarge": "Publish a smaller model, or raise TENANTRY_CACHE_BYTES.",
    "ModelOverLimit": "Publish a smaller model, or raise spec.limits.cacheBytes.",
    "InvalidManifest": "Correct the manifest; the message has file and line.",
    "LoadFailed": _REPORT,
    "UserIdImmutable": "Delete this TenantModel and declare another one.",
    "UserIdConflict": "Delete one of the two TenantModels, or give this one another userId.",
    "UserIdBound": "Give this one another userId, or release the user: tenantry users release USER.",
    "PolicyDenied": "Change the TenantModel, or the TenantPolicy that the message names.",
    "InternalError": _REPORT,
    UNDECIDED: "The operator has not decided yet. Is one running, and does it lead? Its log says so.",
}
"""What a person does about each reason that is not Ready's."""


def advice(reason: str) -> str:
    """Return what to do about a reason; empty: nothing needs to be done, or the message says it."""
    return ADVICE.get(reason or UNDECIDED, "")


def size(count_bytes: float | None) -> str:
    """Format bytes for people.

    Example:
        >>> size(1536), size(None)
        ('1.5 KiB', '-')
    """
    if count_bytes is None:
        return "-"
    for unit in ("B", "KiB", "MiB"):
        if count_bytes < 1024:
            return f"{count_bytes:.0f} B" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1024
    return f"{count_bytes:.1f} GiB"


def seconds(value: float) -> str:
    """Format a short time for people.

    Example:
        >>> seconds(0.00042), seconds(0.25), seconds(12.0)
        ('0.42 ms', '250 ms', '12.0 s')
    """
    if value < 0.01:
        return f"{value * 1e3:.2f} ms"
    return f"{value * 1e3:.0f} ms" if value < 1.0 else f"{value:.1f} s"


def age(moment: str, now_s: float | None = None) -> str:
    """Return how long ago a time in RFC 3339 was; empty: it is none.

    Example:
        >>> age("1970-01-01T00:00:00Z", 7200.0), age("soon")
        ('2 h', '')
    """
    try:
        then = datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return ""
    passed = max(0.0, (time.time() if now_s is None else now_s) - then)
    for unit, length in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if passed >= 2 * length:
            return f"{passed / length:.0f} {unit}"
    return f"{passed:.0f} s"


def tone(reason: str, state: str = "") -> str:
    """Return the class of a state's badge."""
    if reason == READY:
        return "good"
    return "bad" if state == "Stalled" else "busy"
