"""What the registry says of tenants and servers, as rows for a person."""

from dataclasses import dataclass

from tenantry import ModelId
from tenantry.registry import RegistryReader, Server
from tenantry.registry.rows import Claim


@dataclass(frozen=True, slots=True)
class Tenant:
    """One TenantModel and how it stands.

    Attributes:
        ready: ``True``, ``False`` or ``Unknown``.
        version: eight characters of the model that answers; ``-`` where none does.
    """

    claim: Claim
    ready: str
    reason: str
    message: str
    version: str


def tenants(registry: RegistryReader, *, named: str | None = None) -> list[Tenant]:
    """Return every TenantModel by namespace and name, or those with this name or userId."""
    return [_tenant(claim) for claim in registry.claims(named=named)]


def live_servers(registry: RegistryReader) -> list[Server]:
    """Return the servers whose lease holds."""
    return [server for server in registry.servers() if server.live]


def _tenant(claim: Claim) -> Tenant:
    ready = next((c for c in claim.conditions if c["type"] == "Ready"), None)
    version = ModelId.parse(claim.model_id).short if claim.model_id else "-"
    if ready is None:
        return Tenant(claim, "Unknown", "", "not read yet", version)
    return Tenant(claim, ready["status"], ready["reason"], ready["message"], version)
