"""The SQL tables that say who has which model: how servers and the operator talk to each other.

`ServerRegistry` and `OperatorRegistry` are the views of the two sides, each with the statements of its own;
`RegistryReader` is for everybody else. A name is imported when it is first used: a process that only reads
rows which another one sends, as a sidecar does, goes without what speaks SQL, which takes 18 MiB.
"""

from typing import TYPE_CHECKING

from tenantry.lazy_names import lazily

if TYPE_CHECKING:
    from tenantry.registry.access.bindings import BindingBook
    from tenantry.registry.access.keys import ApiKey, KeyBook, Scope
    from tenantry.registry.costs import Cost, CostBook
    from tenantry.registry.engine import is_migrated, migrate, open_engine
    from tenantry.registry.faults import Fault, FaultBook, FaultState
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
    from tenantry.registry.views.browsing import TenantBrowser
    from tenantry.registry.views.operating import OperatorRegistry, Writes
    from tenantry.registry.views.reading import RegistryReader
    from tenantry.registry.views.serving import ServerRegistry

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
    "TenantBrowser",
    "Writes",
    "is_migrated",
    "migrate",
    "open_engine",
]

_HOMES = {
    "ApiKey": "tenantry.registry.access.keys",
    "Assignment": "tenantry.registry.rows",
    "BindingBook": "tenantry.registry.access.bindings",
    "Changes": "tenantry.registry.rows",
    "Claim": "tenantry.registry.rows",
    "Cost": "tenantry.registry.costs",
    "CostBook": "tenantry.registry.costs",
    "Fault": "tenantry.registry.faults",
    "FaultBook": "tenantry.registry.faults",
    "FaultState": "tenantry.registry.faults",
    "Holding": "tenantry.registry.rows",
    "KeyBook": "tenantry.registry.access.keys",
    "LoadReport": "tenantry.registry.rows",
    "LoadState": "tenantry.registry.rows",
    "OperatorRegistry": "tenantry.registry.views.operating",
    "RegistryReader": "tenantry.registry.views.reading",
    "Scope": "tenantry.registry.access.keys",
    "Server": "tenantry.registry.rows",
    "ServerRegistry": "tenantry.registry.views.serving",
    "ServerReport": "tenantry.registry.rows",
    "StrikeReport": "tenantry.registry.rows",
    "TenantBrowser": "tenantry.registry.views.browsing",
    "Writes": "tenantry.registry.views.operating",
    "is_migrated": "tenantry.registry.engine",
    "migrate": "tenantry.registry.engine",
    "open_engine": "tenantry.registry.engine",
}

__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
