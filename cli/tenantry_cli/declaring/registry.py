"""A TenantModel of a folder, as the operator of that folder wrote it to the registry."""

from collections.abc import Mapping
from typing import Any

from tenantry import TenantModel
from tenantry.registry import RegistryReader
from tenantry.registry.rows import Claim


def seen_in(registry: RegistryReader, declared: TenantModel) -> Mapping[str, Any] | None:
    """Return what the registry knows of a TenantModel, in the form of an API server; None: nothing yet."""
    claims = registry.claims(named=declared.name)
    found = (each for each in claims if (each.namespace, each.name) == (declared.namespace, declared.name))
    return next((_as_object(claim) for claim in found), None)


def _as_object(claim: Claim) -> Mapping[str, Any]:
    return {
        "metadata": {"namespace": claim.namespace, "name": claim.name, "generation": claim.generation},
        "spec": claim.spec,
        "status": {
            "observedGeneration": claim.observed_generation,
            "modelId": claim.model_id,
            "conditions": claim.conditions,
        },
    }
