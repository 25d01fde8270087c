"""Knows from the servers' StatefulSet which of them are about to leave, before they are told to stop."""

import asyncio

import structlog

from tenantry.processes.logs import OnChange
from tenantry_operator.cluster.client import Cluster, ClusterError
from tenantry_operator.fleet.membership import Ordinals

log = structlog.get_logger(__name__)

_CHECK_EVERY_S = 2.0  # less than the five seconds of a pod's preStop hook


class ScaleWatch:
    """Watches the scale of one StatefulSet; without an answer, the last known one holds.

    Args:
        statefulset: NAMESPACE/NAME.
    """

    # Written by the loop that runs it and read by the controller's thread; one reference, so no lock.

    def __init__(self, statefulset: str) -> None:
        self._namespace, _, self._name = statefulset.partition("/")
        self._ordinals: Ordinals | None = None
        self._problem = OnChange(log)

    def is_leaving(self, server_id: str) -> bool:
        """Return whether this server is a pod that the StatefulSet no longer wants."""
        ordinals = self._ordinals
        return ordinals is not None and ordinals.exclude(server_id)

    async def run(self, cluster: Cluster) -> None:
        """Check until cancelled."""
        while True:
            await self._check(cluster)
            await asyncio.sleep(_CHECK_EVERY_S)

    async def _check(self, cluster: Cluster) -> None:
        problem = "the StatefulSet does not exist"
        try:
            found = await cluster.find_stateful_set(self._namespace, self._name)
        except ClusterError as error:
            found, problem = None, str(error)
        if found is None:
            self._problem.warning("the servers' scale is not known", error=problem)
        else:
            self._problem.over()
            self._update(Ordinals.of(found))

    def _update(self, ordinals: Ordinals) -> None:
        if ordinals != self._ordinals:
            log.info("scale", statefulset=ordinals.name, replicas=ordinals.replicas)
        self._ordinals = ordinals
