"""One full listing of the cluster: the only way to find what was deleted while no watch saw it."""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from tenantry.registry import Claim
from tenantry_operator.cluster import objects
from tenantry_operator.cluster.client import Cluster
from tenantry_operator.cluster.status_writer import StatusWriter
from tenantry_operator.cluster.watcher import Watcher
from tenantry_operator.declared import Declaration, Listing
from tenantry_operator.metrics import OperatorMetrics

log = structlog.get_logger(__name__)

_AT_ONCE = 32


class FullSync:
    """Lists every TenantModel, and confirms by a live GET what is gone.

    Args:
        cluster: entered already.
        known: claims by uid; the controller's thread changes it, each time in one operation.
        watcher: knows what was deleted meanwhile.
        statuses: hears how each object stands.
        submit: takes the listing.
        metrics: of the operator.
    """

    def __init__(
        self,
        cluster: Cluster,
        known: Mapping[str, Claim],
        watcher: Watcher,
        statuses: StatusWriter,
        submit: Callable[[Listing], None],
        metrics: OperatorMetrics,
    ) -> None:
        self._cluster = cluster
        self._known = known
        self._watcher = watcher
        self._statuses = statuses
        self._submit = submit
        self._metrics = metrics

    async def run(self) -> None:
        """List once and submit the result.

        Raises:
            ClusterError: the API server did not list everything; nothing was submitted.
        """
        known_before = set(self._known)
        self._watcher.listing_begins()
        self._statuses.listing_begins()
        listed, declared = await self._listed()
        absent = await self._absent(known_before - listed - self._watcher.deleted)
        # Deleted while the pages came in: a listing must not bring these back.
        for uid in self._watcher.deleted:
            declared.pop(uid, None)
        self._submit(Listing(declared, absent, complete=True))
        self._metrics.listed.inc()
        log.info("listed", tenants=len(declared), absent=len(absent))

    async def _listed(self) -> tuple[set[str], dict[str, Declaration]]:
        listed: set[str] = set()
        declared: dict[str, Declaration] = {}
        async for document in self._cluster.listed():
            uid = document["metadata"]["uid"]
            listed.add(uid)
            try:
                declared[uid] = objects.declaration(document)
                self._statuses.listed(uid, objects.seen(document))
            except Exception:
                # A fault of ours about one object must not hold up the others.
                log.exception("an object was not understood", uid=uid)
        return listed, declared

    async def _absent(self, missing: set[str]) -> set[str]:
        """Those of `missing` that a live GET confirms: it says 404, or another object has the name."""
        absent: set[str] = set()
        in_order = sorted(missing)
        for few in (in_order[i : i + _AT_ONCE] for i in range(0, len(in_order), _AT_ONCE)):
            gone = await asyncio.gather(*(self._is_gone(uid) for uid in few))
            absent.update(uid for uid, is_gone in zip(few, gone, strict=True) if is_gone)
        return absent

    async def _is_gone(self, uid: str) -> bool:
        claim = self._known.get(uid)
        if claim is None:
            return False
        found = await self._cluster.find(claim.namespace, claim.name)
        return found is None or found["metadata"]["uid"] != uid
