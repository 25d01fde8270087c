"""Tenantry's own headers: those of answers, and those that servers send one another."""

from urllib.parse import quote

MODEL_ID = "Tenantry-Model-Id"
SERVER = "Tenantry-Server"
REGISTRY_AGE = "Tenantry-Registry-Age"
REASON = "Tenantry-Reason"
HOP = "Tenantry-Hop"
TIMEOUT_MS = "Tenantry-Timeout-Ms"
FRESH = "Tenantry-Fresh"


def value_of(model_id: str) -> str:
    """Return a model id as the value of a header: quoted where a line break would end the header."""
    return model_id if model_id.isprintable() else quote(model_id, safe=":/?#=&")
