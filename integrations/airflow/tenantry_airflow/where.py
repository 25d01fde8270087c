"""Which registry or cluster is asked, in words that fit a task, a trigger and XCom."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenantry_airflow.sources import Source

if TYPE_CHECKING:
    from tenantry_airflow.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Where:
    """A registry, or else a cluster.

    Attributes:
        registry_url: ``sqlite:///path`` or ``postgresql://…``; None: a cluster.
        config_file, cluster_context, in_cluster: as for `Cluster`.
    """

    registry_url: str | None = None
    config_file: str | None = None
    cluster_context: str | None = None
    in_cluster: bool | None = None

    def source(self) -> Source:
        """Return what reads the TenantModels there; nothing is opened yet."""
        if self.registry_url is None:
            return self.cluster()
        from tenantry_airflow.registry import RegistrySource  # noqa: PLC0415 - clusters need no SQLAlchemy

        return RegistrySource(self.registry_url)

    def cluster(self) -> "Cluster":
        """Return the cluster."""
        from tenantry_airflow.cluster import Cluster  # noqa: PLC0415 - registries need no Kubernetes client

        return Cluster(self.config_file, self.cluster_context, self.in_cluster)
