"""The reasons of conditions that the operator gives by itself; others are those of errors."""

INVALID_MANIFEST = "InvalidManifest"
INTERNAL_ERROR = "InternalError"
RESOLVING, LOADING, ROLLING_OUT, NO_SERVER = "Resolving", "Loading", "RollingOut", "NoServer"
DEGRADED = "Degraded"  # it was Ready, and a server can't load the model in force any more

UNDER_WAY = (RESOLVING, LOADING, ROLLING_OUT)
"""The operator and the servers are at work: time alone changes these."""
