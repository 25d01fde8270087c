"""Brings the status of each object on the API server to what was decided: one write for a change."""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from tenantry.registry import Claim
from tenantry_operator import objects
from tenantry_operator.cluster import Cluster, ClusterError, Conflict, Gone
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.objects import Seen

log = structlog.get_logger(__name__)

_WRITERS = 32
# What is still unsettled after this is worth a write of its own: at once where a person or a server may be
# needed, later where it is under way, and last where it only waits behind others that get through.
_UNSETTLED_S, _UNDER_WAY_S, _IN_LINE_S = 2.0, 5.0, 60.0
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 60.0


class StatusWriter:
    """Compares what was decided with what stands on the object, and writes where they differ.

    Both sides may change at any moment and in any order; whichever does, the object is looked at again.
    So a write that was lost, by a crash between the decision and the write too, is made up for. Use it
    from one event loop.

    Args:
        cluster: entered already.
        leads: whether this process is sure to lead just now; else it waits with its writes.
        metrics: of the operator.
    """

    def __init__(self, cluster: Cluster, leads: Callable[[], bool], metrics: OperatorMetrics) -> None:
        self._leads = leads
        self._metrics = metrics
        self._cluster = cluster
        self._wanted: dict[str, Claim] = {}
        self._seen: dict[str, Seen] = {}
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._retry_s: dict[str, float] = {}  # of those that could not be written
        self._settled_at_s = float("-inf")

    def decided(self, claim: Claim) -> None:
        """This status is wanted; one that time alone may change is written only if it stays."""
        self._wanted[claim.uid] = claim
        self._consider(claim)

    def seen(self, uid: str, found: Seen) -> None:
        """The object stands like this now."""
        self._seen[uid] = found
        wanted = self._wanted.get(uid)
        if wanted is not None:
            self._consider(wanted)

    def knows(self, uid: str, resource_version: str) -> bool:
        """Whether this is the version that was seen or written last; may be called from any thread."""
        known = self._seen.get(uid)
        return known is not None and known.resource_version == resource_version

    def gone(self, uids: Iterable[str]) -> None:
        """There is nothing to write to any more."""
        for uid in uids:
            self._seen.pop(uid, None)
            self._wanted.pop(uid, None)
            self._retry_s.pop(uid, None)

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_WRITERS):
                group.create_task(self._work())

    def _consider(self, claim: Claim) -> None:
        now_s = asyncio.get_running_loop().time()
        if objects.is_settled(claim):
            self._settled_at_s = now_s
            self._look(claim.uid)
        else:
            self._look_later(claim, now_s)

    def _look_later(self, claim: Claim, since_s: float) -> None:
        later_s = _UNDER_WAY_S if objects.is_under_way(claim) else _UNSETTLED_S
        asyncio.get_running_loop().call_later(later_s, self._look_at_same, claim, since_s)

    def _look_at_same(self, claim: Claim, since_s: float) -> None:
        if self._wanted.get(claim.uid) is not claim:
            return
        now_s = asyncio.get_running_loop().time()
        others_get_through = now_s - self._settled_at_s < _UNDER_WAY_S and now_s - since_s < _IN_LINE_S
        if objects.is_under_way(claim) and others_get_through:
            self._look_later(claim, since_s)
        else:
            self._look(claim.uid)

    def _look(self, uid: str) -> None:
        if uid not in self._queued:
            self._queued.add(uid)
            self._queue.put_nowait(uid)
            self._metrics.status_queue.set(len(self._queued))

    async def _work(self) -> None:
        while True:
            uid = await self._queue.get()
            self._queued.discard(uid)
            self._metrics.status_queue.set(len(self._queued))
            try:
                await self._bring(uid)
                self._retry_s.pop(uid, None)
            except ClusterError as error:
                self._count("failed")
                self._again(uid, str(error))
            except Exception as error:
                # A fault of ours about one object must not keep the others from their statuses.
                log.exception("status failed", uid=uid)
                self._again(uid, type(error).__name__)

    def _again(self, uid: str, problem: str) -> None:
        """Later, and less and less often: an API server may refuse a status for good."""
        retry_s = self._retry_s.get(uid, _FIRST_RETRY_S)
        tell = log.warning if retry_s == _FIRST_RETRY_S else log.debug
        tell("status not written yet", uid=uid, error=problem)
        self._retry_s[uid] = min(2 * retry_s, _LAST_RETRY_S)
        asyncio.get_running_loop().call_later(retry_s, self._look, uid)

    async def _bring(self, uid: str) -> None:
        wanted, found = self._wanted.get(uid), self._seen.get(uid)
        if wanted is None or found is None or wanted.observed_generation != found.generation:
            return  # whatever is missing, or newer, comes as an event of its own
        status = objects.status_of(wanted)
        if objects.stands(status, found):
            return
        if not self._leads():  # another one may lead by now, and know better
            self._again(uid, "the lease is not held just now")
            return
        try:
            written = await self._cluster.write_status(
                found.namespace, found.name, found.resource_version, status
            )
        except Conflict:
            self._count("conflict")
            newer = await self._cluster.find(found.namespace, found.name)
            if newer is not None and newer["metadata"]["uid"] == uid:
                self.seen(uid, objects.seen(newer))
            return
        except Gone:
            self._count("gone")
            self.gone([uid])
            return
        self._count("written")
        self._seen[uid] = objects.seen(written)

    def _count(self, result: str) -> None:
        self._metrics.status_writes.labels(result).inc()
