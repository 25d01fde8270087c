"""Knows by the servers' StatefulSet which of them are about to leave, before these are told to stop."""

import asyncio

import structlog

from tenantry_operator.cluster.client import Cluster, ClusterError
from tenantry_operator.fleet.membership import Ordinals

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 2.0  # less than the five seconds that a pod goes on before it is told


class ScaleWatch:
    """Looks at one StatefulSet; without an answer, what was known last holds.

    Args:
        statefulset: NAMESPACE/NAME.
    """

    # Written by the loop that runs it and read by the controller's thread; one reference, so no lock.

    def __init__(self, statefulset: str) -> None:
        self._namespace, _, self._name = statefulset.partition("/")
        self._ordinals: Ordinals | None = None
        self._told = False  # that it can't be read

    def is_leaving(self, server_id: str) -> bool:
        """Whether this server is a pod that the StatefulSet is to have no more."""
        ordinals = self._ordinals
        return ordinals is not None and ordinals.exclude(server_id)

    async def run(self, cluster: Cluster) -> None:
        """Look until cancelled."""
        while True:
            await self._look(cluster)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _look(self, cluster: Cluster) -> None:
        problem = ""
        try:
            found = await cluster.find_stateful_set(self._namespace, self._name)
        except ClusterError as error:
            found, problem = None, str(error)
        if found is not None:
            self._take(Ordinals.of(found))
        elif not self._told:
            log.warning("the servers' scale is not known", error=problem or "there is no such StatefulSet")
        self._told = found is None

    def _take(self, ordinals: Ordinals) -> None:
        if ordinals != self._ordinals:
            log.info("scale", statefulset=ordinals.name, replicas=ordinals.replicas)
        self._ordinals = ordinals
