"""Between a TenantModel on an API server and what the operator decides about: pure conversions."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from tenantry.errors import InvalidManifest
from tenantry.manifest.spec import TenantModel
from tenantry.manifest.status import READY, State
from tenantry.registry.rows import Claim
from tenantry_operator.conditions import UNDER_WAY
from tenantry_operator.declared import Declaration


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it was last seen.

    Attributes:
        resource_version: a write that names an older one is refused.
        status_digest: of the status that stands on it, in far less memory.
        promised: digest of the model that Ready is said of; None: it is not Ready, or was when another
            generation was declared.
    """

    namespace: str
    name: str
    generation: int
    resource_version: str
    status_digest: bytes
    promised: bytes | None = None


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
    found = document.get("status")
    status = found if isinstance(found, Mapping) else {}
    return Seen(
        sys.intern(metadata["namespace"]),
        metadata["name"],
        metadata["generation"],
        metadata["resourceVersion"],
        _digest(status),
        _promised(status, metadata["generation"]),
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


def breaks_promise(wanted: Claim, on: Seen) -> bool:
    """Return whether an object says Ready of another model than the one that answers."""
    return on.promised is not None and on.promised != _short(wanted.model_id)


def _promised(status: Mapping[str, Any], generation: int) -> bytes | None:
    given = status.get("conditions")
    said = [each for each in given if isinstance(each, Mapping)] if isinstance(given, list) else []
    ready = any((each.get("type"), each.get("status")) == (READY, "True") for each in said)
    return (
        _short(status.get("modelId")) if ready and status.get("observedGeneration") == generation else None
    )


def _short(model_id: Any) -> bytes:
    return blake2b(str(model_id).encode(), digest_size=8).digest()


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
