"""The SQL tables that say who has which model: how servers and the operator talk to each other.

`ServerRegistry` and `OperatorRegistry` are the views of the two sides, each with the statements of its own;
`RegistryReader` is for everybody else.
"""

from tenantry.registry.access.bindings import BindingBook
from tenantry.registry.access.keys import ApiKey, KeyBook, Scope
from tenantry.registry.costs import Cost, CostBook
from tenantry.registry.engine import is_migrated, migrate, open_engine
from tenantry.registry.faults import Fault, FaultBook, FaultState
from tenantry.registry.operating import OperatorRegistry, Writes
from tenantry.registry.reading import RegistryReader
from tenantry.registry.rows import (
    Assignment,
    Changes,
    Claim,
    Holding,
    LoadReport,
    LoadState,
    Server,
    ServerReport,
    StrikeReport,
)
from tenantry.registry.serving import ServerRegistry

__all__ = [
    "ApiKey",
    "Assignment",
    "BindingBook",
    "Changes",
    "Claim",
    "Cost",
    "CostBook",
    "Fault",
    "FaultBook",
    "FaultState",
    "Holding",
    "KeyBook",
    "LoadReport",
    "LoadState",
    "OperatorRegistry",
    "RegistryReader",
    "Scope",
    "Server",
    "ServerRegistry",
    "ServerReport",
    "StrikeReport",
    "Writes",
    "is_migrated",
    "migrate",
    "open_engine",
]
