"""When a load that fails is a fault of the model, and when it is tried again. Pure.

A store that does not answer is not a fault, nor is a server without memory or workers: Ready must not be
taken back from ten thousand tenants because of two seconds.
"""

from dataclasses import dataclass

from tenantry import TenantryError
from tenantry.errors import ArtifactAccessDenied, ArtifactNotFound, ModelQuarantined
from tenantry.processes import backoff

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0
_CONFIRMED_S = 2.0  # a folder that is mounted again, a file that is replaced
_DENIED_S = 30.0  # credentials that are being renewed


def confirmed_after_s(error: BaseException) -> float | None:
    """Return for how long a load has to fail like this until it is a fault; None: it never is.

    Example:
        >>> from tenantry.errors import ArtifactUnavailable
        >>> confirmed_after_s(ArtifactUnavailable("s3://models/a.joblib", "timeout")) is None
        True
        >>> confirmed_after_s(ArtifactNotFound("s3://models/a.joblib"))
        2.0
    """
    if isinstance(error, ModelQuarantined):
        return 0.0
    if isinstance(error, ArtifactAccessDenied):
        return _DENIED_S
    if not isinstance(error, TenantryError) or (
        error.retryable and not isinstance(error, ArtifactNotFound)
    ):
        return None
    return _CONFIRMED_S


@dataclass(slots=True)
class Suspect:
    """A model whose load failed, and did not succeed since.

    Attributes:
        since_s: when it failed first in a way that may be a fault.
        due_s: when it is tried again.
        error: what it failed with last, if that may be a fault.
        confirmed: it failed for long enough.
    """

    since_s: float
    due_s: float
    error: TenantryError | None = None
    failures: int = 0
    confirmed: bool = False


def adopted(now_s: float) -> Suspect:
    """Return a model that was called broken before: one more failure confirms it."""
    return Suspect(now_s - _DENIED_S, now_s)


def after(error: BaseException, known: Suspect | None, now_s: float) -> Suspect | None:
    """Return what is known of a model after its load failed; None: that says nothing about the model."""
    needed_s = confirmed_after_s(error)
    if known is None and needed_s is None:
        return None
    suspect = known or Suspect(now_s, now_s)
    suspect.failures += 1
    suspect.due_s = now_s + backoff.delay_s(suspect.failures, first_s=FIRST_RETRY_S, last_s=LAST_RETRY_S)
    if needed_s is not None and isinstance(error, TenantryError):
        suspect.error = error
        suspect.confirmed |= now_s - suspect.since_s >= needed_s
    return suspect
