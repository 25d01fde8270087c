"""Follows the TenantPolicies of a cluster, and the labels of its namespaces.

Lists them every other second: both are few, and a change takes effect on every TenantModel at once. Until
both were read once, nothing is decided. Later, an API server that does not answer changes nothing.
"""

import asyncio
from collections.abc import Callable

import structlog

from tenantry.errors import InvalidManifest
from tenantry.processes.logs import OnChange
from tenantry_operator.cluster.client import Cluster, ClusterError
from tenantry_operator.policies.document import TenantPolicy
from tenantry_operator.policies.rules import Policies

log = structlog.get_logger(__name__)

_CHECK_EVERY_S = 2.0


class PolicyWatch:
    """Reads policies and labels again and again.

    Args:
        govern: takes them; called in the loop that runs it.
    """

    def __init__(self, govern: Callable[[Policies], None]) -> None:
        self._govern = govern
        self._problem = OnChange(log)

    async def run(self, cluster: Cluster) -> None:
        """Check until cancelled."""
        while True:
            try:
                self._govern(await _read(cluster))
                self._problem.over()
            except (ClusterError, InvalidManifest) as error:
                self._problem.error(
                    "can't read the policies; those read last stay in force", error=str(error)
                )
            await asyncio.sleep(_CHECK_EVERY_S)


async def _read(cluster: Cluster) -> Policies:
    """Read everything that verdicts depend on; labels only where a policy may choose by them."""
    policies = [TenantPolicy.parse(document) for document in await cluster.policies()]
    if not policies:
        return Policies()
    policies.sort(key=lambda policy: policy.name)
    return Policies(policies, await cluster.namespace_labels())
