"""The headers of our own: those that answers carry, and those by which servers speak to one another."""

from urllib.parse import quote

MODEL_ID = "Tenantry-Model-Id"
SERVER = "Tenantry-Server"
REGISTRY_AGE = "Tenantry-Registry-Age"
REASON = "Tenantry-Reason"
HOP = "Tenantry-Hop"
TIMEOUT_MS = "Tenantry-Timeout-Ms"
FRESH = "Tenantry-Fresh"


def value_of(model_id: str) -> str:
    """A model id as a header's value: itself, unless a line break or its like would end the header."""
    return model_id if model_id.isprintable() else quote(model_id, safe=":/?#=&")
