"""What reads the status of TenantModels: the port that a registry and a cluster stand behind."""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from tenantry_airflow.awaited import Key


class SourceUnavailableError(Exception):
    """The source gave no answer, and may give one later."""


class Source(Protocol):
    """Reads TenantModels as an API server returns them."""

    def listed(self, namespaces: Collection[str]) -> dict[Key, Mapping[str, Any]]:
        """Read all TenantModels of these namespaces at once.

        Raises:
            SourceUnavailableError: ask again later.
        """
        ...
