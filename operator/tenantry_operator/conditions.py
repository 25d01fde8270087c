"""The reasons of conditions that the operator gives by itself, and words for some; others are of errors."""

INVALID_MANIFEST = "InvalidManifest"
INTERNAL_ERROR = "InternalError"
RESOLVING, LOADING, ROLLING_OUT, NO_SERVER = "Resolving", "Loading", "RollingOut", "NoServer"
USER_ID_BOUND, POLICY_DENIED = "UserIdBound", "PolicyDenied"
DEGRADED = "Degraded"  # it was Ready, and a server can't load the model in force any more

UNDER_WAY = (RESOLVING, LOADING, ROLLING_OUT)
"""The operator and the servers are at work: time alone changes these."""


def conflict(user_id: str, holder: str) -> str:
    """Return what to do where another TenantModel has the user."""
    return (
        f"user {user_id!r} belongs to the TenantModel {holder}; "
        "delete one of the two, or give this one another userId"
    )


def bound(user_id: str, namespace: str) -> str:
    """Return what to do where the user belongs to another namespace, which declares it no more."""
    return (
        f"user {user_id!r} belongs to namespace {namespace}, which declared it first; give this one "
        f"another userId, or let an admin run: tenantry users release {user_id}"
    )


def immutable(before: str | None, after: str) -> str:
    """Return what to do where the userId of a TenantModel was changed."""
    return (
        f"spec.userId was {before!r} and can't become {after!r}; "
        "delete this TenantModel and declare another one"
    )
