"""What the registry says of tenants and servers, as rows for a person."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, func, or_, select

from tenantry import ModelId
from tenantry.errors import RegistryMismatch
from tenantry.registry import OperatorRegistry, Server, is_migrated, open_engine, schema
from tenantry.registry.engine import reading
from tenantry.registry.rows import Claim
from tenantry.registry.sql import claim_from


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


def open_existing(url: str) -> Engine:
    """An engine for a registry that is in use.

    Raises:
        RegistryMismatch: nothing has set it up yet.
    """
    engine = open_engine(url)
    path = engine.url.database or ""
    if engine.url.get_backend_name() == "sqlite" and not Path(path).is_file():
        raise RegistryMismatch(f"no registry at {path}; start one with `tenantry up FOLDER`")
    if not is_migrated(engine):
        raise RegistryMismatch("the registry is empty; start an operator first")
    return engine


def tenants(engine: Engine, *, like: str | None = None) -> list[Tenant]:
    """Every TenantModel by namespace and name, or those whose user or name is `like`."""
    query = select(schema.claims).order_by(schema.claims.c.namespace, schema.claims.c.name)
    if like is not None:
        query = query.where(or_(schema.claims.c.user_id == like, schema.claims.c.name == like))
    with reading(engine) as connection:
        return [_tenant(claim_from(row)) for row in connection.execute(query)]


def ready_count(engine: Engine) -> tuple[int, int]:
    """How many tenants have a model that answers, and how many are declared."""
    declared = select(func.count()).select_from(schema.claims)
    answered = declared.where(schema.claims.c.model_id.is_not(None))
    with reading(engine) as connection:
        return (
            connection.execute(answered).scalar_one(),
            connection.execute(declared).scalar_one(),
        )


def servers(engine: Engine) -> list[Server]:
    """The servers whose lease holds."""
    return [server for server in OperatorRegistry(engine, "cli").servers() if server.live]


def _tenant(claim: Claim) -> Tenant:
    ready = next((c for c in claim.conditions if c["type"] == "Ready"), None)
    version = ModelId.parse(claim.model_id).short if claim.model_id else "-"
    if ready is None:
        return Tenant(claim, "Unknown", "", "not looked at yet", version)
    return Tenant(claim, ready["status"], ready["reason"], ready["message"], version)
