"""Tenantry's own headers: those of answers, and those that servers send one another."""

from functools import lru_cache

from tenantry.model_id import public_name

MODEL_ID = "Tenantry-Model-Id"
SERVER = "Tenantry-Server"
REGISTRY_AGE = "Tenantry-Registry-Age"
REASON = "Tenantry-Reason"
SHARDS = "Tenantry-Shards"
HOP = "Tenantry-Hop"
TIMEOUT_MS = "Tenantry-Timeout-Ms"
RETRY_AFTER_MS = "Tenantry-Retry-After-Ms"
FRESH = "Tenantry-Fresh"
PROOF = "Tenantry-Proof"


@lru_cache(maxsize=16_384)  # 2 us without, and it stands on every answer
def value_of(model_id: str) -> str:
    """Return a model id as the value of a header: clients see its version, never bucket and key."""
    return public_name(model_id)
