"""TenantModels in the registry: what an operator without Kubernetes writes, and `tenantry get` reads."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tenantry.errors import RegistryUnavailable
from tenantry.registry import RegistryReader
from tenantry_airflow.awaited import Key
from tenantry_airflow.sources import SourceUnavailableError


@dataclass(frozen=True, slots=True)
class RegistrySource:
    """A registry on SQLite or PostgreSQL.

    Attributes:
        url: ``sqlite:///path`` or ``postgresql://…``.
    """

    url: str

    def listed(self, namespaces: Collection[str]) -> dict[Key, Mapping[str, Any]]:
        """Read the claims of these namespaces in one query.

        Raises:
            SourceUnavailableError: the database did not answer.
            RegistryMismatch: nothing is there, or something else.
        """
        try:
            with RegistryReader.of_existing(self.url) as registry:
                claims = registry.claims()
        except RegistryUnavailable as error:
            raise SourceUnavailableError(str(error)) from error
        return {
            (claim.namespace, claim.name): {
                "metadata": {"generation": claim.generation},
                "spec": claim.spec or {},
                "status": {
                    "observedGeneration": claim.observed_generation,
                    "modelId": claim.model_id,
                    "conditions": claim.conditions,
                },
            }
            for claim in claims
            if claim.namespace in namespaces
        }
