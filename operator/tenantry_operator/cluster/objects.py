"""Between a TenantModel on an API server and what the operator decides about: pure conversions."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from tenantry.errors import InvalidManifest
from tenantry.registry.rows import Claim
from tenantry.spec import TenantModel
from tenantry.status import State
from tenantry_operator.conditions import UNDER_WAY
from tenantry_operator.declared import Declaration


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it was last seen.

    Attributes:
        resource_version: a write that names an older one is refused.
        status_digest: of the status that stands on it, in far less memory.
    """

    namespace: str
    name: str
    generation: int
    resource_version: str
    status_digest: bytes


def declaration(document: Mapping[str, Any]) -> Declaration:
    """Return what an object declares; one that breaks a rule in spite of the CRD has a problem."""
    metadata = document["metadata"]
    model, problem = None, None
    try:
        model = TenantModel.parse(document)
    except InvalidManifest as error:
        problem = error
    return Declaration(
        uid=metadata["uid"],
        namespace=sys.intern(metadata["namespace"]),  # the same few, ten thousand times
        name=metadata["name"],
        generation=metadata["generation"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]).timestamp(),
        model=model,
        problem=problem,
    )


def seen(document: Mapping[str, Any]) -> Seen:
    """Return what a write of its status needs."""
    metadata = document["metadata"]
    status = document.get("status")
    return Seen(
        sys.intern(metadata["namespace"]),
        metadata["name"],
        metadata["generation"],
        metadata["resourceVersion"],
        _digest(status if isinstance(status, Mapping) else {}),
    )


def status_of(claim: Claim) -> dict[str, Any]:
    """Return the status that a claim asks for; None: the field must be absent."""
    return {
        "observedGeneration": claim.observed_generation,
        "modelId": claim.model_id,
        "sizeBytes": claim.size_bytes,
        "conditions": claim.conditions,
    }


def stands(wanted: Mapping[str, Any], on: Seen) -> bool:
    """Return whether an object already has this status."""
    return on.status_digest == _digest(wanted)


def _digest(status: Mapping[str, Any]) -> bytes:
    """Digest our fields; null and absence are equal, and other fields are ignored."""
    ours = [status.get(field) for field in _STATUS_FIELDS]
    return blake2b(json.dumps(ours, sort_keys=True).encode(), digest_size=16).digest()


_STATUS_FIELDS = ("observedGeneration", "modelId", "sizeBytes", "conditions")


def is_under_way(claim: Claim) -> bool:
    """Return whether the operator and the servers are at work on it."""
    return claim.status is not None and claim.status.reason in UNDER_WAY


def is_settled(claim: Claim) -> bool:
    """Return whether to write it at once: what time alone will change is written only if it stays."""
    return claim.status is not None and claim.status.state in (State.READY, State.STALLED)
