"""Brings the status of each object on the API server to what was decided: one write for a change."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from tenantry.processes import backoff
from tenantry.registry import Claim
from tenantry_operator.cluster import objects
from tenantry_operator.cluster.client import Cluster, ClusterError, Conflict, Gone
from tenantry_operator.cluster.objects import Seen
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.tracing import Step

log = structlog.get_logger(__name__)

_WRITERS = 32
# What is still unsettled after this gets a write of its own: _UNSETTLED_S where something outside is
# awaited, _UNDER_WAY_S where the work goes on, _IN_LINE_S where it waits while others get through.
_UNSETTLED_S, _UNDER_WAY_S, _IN_LINE_S = 2.0, 5.0, 60.0
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 60.0
_LEADS_S = 0.2


@dataclass(frozen=True, slots=True)
class _Retry:
    failures: int
    timer: asyncio.TimerHandle


class StatusWriter:
    """Compares what was decided with what stands on the object, and writes where they differ.

    Both sides may change at any moment and in any order; whichever does, they are compared again. So
    this makes up for a lost write, also after a crash between the decision and the write. Use it from
    one event loop.

    A registry that lost commits may hold another model than an object says Ready of. Such a promise, which
    this writer has not made, is taken back at once.

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
        self._stood: set[str] = set()  # objects that had the status that was wanted, or got it
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._retries: dict[str, _Retry] = {}  # of those that could not be written
        self._heard: set[str] = set()  # of which objects, since the last listing began
        self._settled_at_s = float("-inf")

    def decided(self, claim: Claim) -> None:
        """Want this status; one that time alone may change is written only if it stays."""
        self._wanted[claim.uid] = claim
        if objects.is_settled(claim):
            self._settled_at_s = asyncio.get_running_loop().time()
        self._consider(claim)

    def listing_begins(self) -> None:
        """From here on, a page of the listing may be older than an event."""
        self._heard.clear()

    def listed(self, uid: str, found: Seen) -> None:
        """Like `seen`, but from a page: ignored if an event came since the listing began."""
        if uid not in self._heard:
            self.seen(uid, found)

    def seen(self, uid: str, found: Seen) -> None:
        """Remember how the object stands now, unless something newer is known."""
        self._heard.add(uid)
        known = self._seen.get(uid)
        if known is not None and found.generation < known.generation:
            return
        self._seen[uid] = found
        wanted = self._wanted.get(uid)
        if wanted is not None:
            self._consider(wanted)

    def knows(self, uid: str, resource_version: str) -> bool:
        """Return whether this version was seen or written last; may be called from any thread."""
        known = self._seen.get(uid)
        return known is not None and known.resource_version == resource_version

    def gone(self, uids: Iterable[str]) -> None:
        """Forget deleted objects."""
        for uid in uids:
            self._seen.pop(uid, None)
            self._wanted.pop(uid, None)
            self._stood.discard(uid)
            self._forget_retry(uid)

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_WRITERS):
                group.create_task(self._work())

    def _consider(self, claim: Claim) -> None:
        found = self._seen.get(claim.uid)
        is_strange = (
            found is not None and claim.uid not in self._stood and objects.breaks_promise(claim, found)
        )
        if objects.is_settled(claim) or is_strange:
            self._enqueue(claim.uid)
        else:
            self._consider_later(claim, asyncio.get_running_loop().time())

    def _consider_later(self, claim: Claim, since_s: float) -> None:
        later_s = _UNDER_WAY_S if objects.is_under_way(claim) else _UNSETTLED_S
        asyncio.get_running_loop().call_later(later_s, self._consider_if_same, claim, since_s)

    def _consider_if_same(self, claim: Claim, since_s: float) -> None:
        if self._wanted.get(claim.uid) is not claim:
            return
        now_s = asyncio.get_running_loop().time()
        others_get_through = now_s - self._settled_at_s < _UNDER_WAY_S and now_s - since_s < _IN_LINE_S
        if objects.is_under_way(claim) and others_get_through:
            self._consider_later(claim, since_s)
        else:
            self._enqueue(claim.uid)

    def _enqueue(self, uid: str) -> None:
        if uid not in self._queued:
            self._queued.add(uid)
            self._queue.put_nowait(uid)
            self._metrics.status_queue.set(len(self._queued))

    async def _work(self) -> None:
        while True:
            uid = await self._queue.get()
            while not self._leads():  # noqa: ASYNC110 - another one may lead by now, and know better
                await asyncio.sleep(_LEADS_S)
            self._queued.discard(uid)
            self._metrics.status_queue.set(len(self._queued))
            try:
                await self._write(uid)
                self._forget_retry(uid)
            except ClusterError as error:
                self._count("failed")
                self._retry(uid, str(error))
            except Exception as error:
                # A fault of ours about one object must not keep the others from their statuses.
                log.exception("status failed", uid=uid)
                self._retry(uid, type(error).__name__)

    def _retry(self, uid: str, problem: str) -> None:
        """Write it later, less and less often: an API server may refuse a status for good."""
        former = self._retries.get(uid)
        failures = 1 if former is None else former.failures + 1
        retry_s = backoff.delay_s(failures, first_s=_FIRST_RETRY_S, last_s=_LAST_RETRY_S)
        if former is not None:
            former.timer.cancel()
        write_log = log.warning if former is None else log.debug
        write_log("status not written yet", uid=uid, error=problem)
        timer = asyncio.get_running_loop().call_later(retry_s, self._enqueue, uid)
        self._retries[uid] = _Retry(failures, timer)

    def _forget_retry(self, uid: str) -> None:
        former = self._retries.pop(uid, None)
        if former is not None:
            former.timer.cancel()

    async def _write(self, uid: str) -> None:
        """Write where what is wanted and what stands there differ."""
        wanted, found = self._wanted.get(uid), self._seen.get(uid)
        if wanted is None or found is None or wanted.observed_generation != found.generation:
            return  # whichever is missing or older, the other one follows
        status = objects.status_of(wanted)
        if objects.stands(status, found):
            self._stood.add(uid)
            self._metrics.changes.written(wanted)
            return
        try:
            with self._metrics.changes.step(Step.WRITE_STATUS, (uid,)):
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
        self._metrics.changes.written(wanted)
        self._stood.add(uid)
        self._heard.add(uid)
        if self._seen.get(uid) == found:  # else something newer came meanwhile, or its end
            self._seen[uid] = objects.seen(written)

    def _count(self, result: str) -> None:
        self._metrics.status_writes.labels(result).inc()
