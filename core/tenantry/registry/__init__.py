"""The SQL tables that say who has which model: how servers and the operator talk to each other.

`ServerRegistry` and `OperatorRegistry` are the two views; each holds the statements of its side.
"""

from tenantry.registry.engine import is_migrated, migrate, open_engine
from tenantry.registry.operating import OperatorRegistry, Writes
from tenantry.registry.rows import (
    Assignment,
    Changes,
    Claim,
    Holding,
    LoadReport,
    LoadState,
    Server,
    ServerReport,
)
from tenantry.registry.serving import ServerRegistry

__all__ = [
    "Assignment",
    "Changes",
    "Claim",
    "Holding",
    "LoadReport",
    "LoadState",
    "OperatorRegistry",
    "Server",
    "ServerRegistry",
    "ServerReport",
    "Writes",
    "is_migrated",
    "migrate",
    "open_engine",
]
