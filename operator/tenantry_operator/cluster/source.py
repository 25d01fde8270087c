"""The operator on Kubernetes: the same controller as for a folder, with an API server as its source."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

import structlog

from tenantry.registry import Claim
from tenantry.runtime import run_async
from tenantry_operator.cluster import informer, objects
from tenantry_operator.cluster.client import PAGE, Cluster, ClusterError
from tenantry_operator.cluster.status_writer import StatusWriter
from tenantry_operator.declared import Declaration, Listing, Observer
from tenantry_operator.metrics import OperatorMetrics

log = structlog.get_logger(__name__)

_RETRY_S = 2.0
_LOOK_S = 1.0
_QUIET_S = 1.0  # without another object of a listing it is over
_BEGIN_S = 2.0  # a watch has listed by then, even where there is nothing to tell of
_SMALL_RESYNC_S = 60.0
_AT_ONCE = 32
_STOP_S, _JOIN_S = 0.1, 10.0


class ClusterSide(Observer):
    """Everything that speaks to the API server: the informer, full listings, and the status writer.

    Args:
        claims: what the registry remembers; gone ones are found by comparison with full listings.
        leads: whether this process is sure to lead just now; only then statuses are written.
        resync_s: between full listings.
        namespace: to look at; None: all.
        metrics: of the operator.
        beside: what else is done with the same client, each until it is cancelled.
    """

    # Written by: the controller's thread (_known), kopf's (_handed, _deleted, _relisted_s), and the loop
    # here, which also reads them; each access is one operation on a dict or a set.

    def __init__(
        self,
        claims: list[Claim],
        *,
        leads: Callable[[], bool],
        resync_s: float,
        namespace: str | None,
        metrics: OperatorMetrics,
        beside: Sequence[Callable[[Cluster], Coroutine[Any, Any, None]]] = (),
    ) -> None:
        self._leads = leads
        self._beside = beside
        self._metrics = metrics
        self._known = {claim.uid: claim for claim in claims}
        self._submit: Callable[[Listing], None] = lambda _: None
        self._resync_s = resync_s
        self._namespace = namespace
        self._deleted: set[str] = set()  # since the last full listing began
        self._handed: dict[str, int] = {}  # uid -> generation that the controller has got from the watch
        self._relisted_s: float | None = None  # when the watch last listed something; None: we did since
        self._watching: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._statuses: StatusWriter | None = None

    def decided(self, claim: Claim) -> None:
        """As Observer."""
        self._known[claim.uid] = claim
        self._on_loop(lambda statuses: statuses.decided(claim))

    def removed(self, uids: Collection[str]) -> None:
        """As Observer."""
        for uid in uids:
            self._known.pop(uid, None)
            self._handed.pop(uid, None)
        self._on_loop(lambda statuses: statuses.gone(uids))

    def run(self, submit: Callable[[Listing], None], stop: threading.Event) -> None:
        """Work until stopped; in a thread of its own.

        Args:
            submit: takes listings; called from several threads.
        """
        self._submit = submit
        run_async(self._run(stop))

    async def _run(self, stop: threading.Event) -> None:
        async with Cluster(self._namespace) as cluster:
            self._loop = asyncio.get_running_loop()
            self._statuses = StatusWriter(cluster, self._leads, self._metrics)
            for claim in list(self._known.values()):
                self._statuses.decided(claim)
            tasks = [
                asyncio.create_task(self._statuses.run()),
                asyncio.create_task(self._follow(cluster, stop)),
                *(asyncio.create_task(run(cluster)) for run in self._beside),
            ]
            while not stop.is_set() and not any(task.done() for task in tasks):  # noqa: ASYNC110 - a thread's
                await asyncio.sleep(_STOP_S)
            self._loop = None
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            if self._watching is not None:
                await asyncio.to_thread(self._watching.join, _JOIN_S)
            for problem in ended:
                if isinstance(problem, Exception):
                    raise problem

    async def _follow(self, cluster: Cluster, stop: threading.Event) -> None:
        """List everything, then watch, and list now and then; where the watch ends, begin anew."""
        while True:
            await self._first_sync(cluster)
            watching = threading.Thread(target=self._watch, args=(stop,), name="informer", daemon=True)
            watching.start()
            self._watching = watching
            await self._sync_while(watching, cluster)
            await asyncio.sleep(_RETRY_S)

    async def _first_sync(self, cluster: Cluster) -> None:
        told = False
        while True:
            try:
                return await self._full_sync(cluster)
            except ClusterError as error:
                if not told:
                    log.warning("the API server can't be listed yet", error=str(error))
                told = True
                await asyncio.sleep(_RETRY_S)

    async def _sync_while(self, watching: threading.Thread, cluster: Cluster) -> None:
        self._relisted_s = time.monotonic() + _BEGIN_S
        due_s = time.monotonic() + self._pause_s()
        while watching.is_alive():
            await asyncio.sleep(min(_LOOK_S, self._resync_s))
            relisted_s = self._relisted_s
            now_s = time.monotonic()
            if now_s < due_s and (relisted_s is None or now_s - relisted_s < _QUIET_S):
                continue
            self._relisted_s = None
            try:
                await self._full_sync(cluster)
                due_s = time.monotonic() + self._pause_s()
            except ClusterError as error:
                due_s = time.monotonic() + _RETRY_S
                log.warning("full listing failed; the watch goes on", error=str(error))

    def _pause_s(self) -> float:
        """Until the next full listing; soon where it costs one call.

        A watch that begins anew over an empty cluster tells of no object, and so not that it began.
        """
        return min(self._resync_s, _SMALL_RESYNC_S) if len(self._known) < PAGE else self._resync_s

    def _watch_began(self) -> None:
        """Called for each object that a watch begins with: whatever was deleted before, it never tells."""
        self._relisted_s = time.monotonic()

    def _watch(self, stop: threading.Event) -> None:
        """In a thread of its own; it ends where the CRD was deleted, say, and then begins anew."""
        try:
            informer.run(self._hand, self._watch_began, stop, namespace=self._namespace)
        except Exception as error:
            log.warning("the watch ended and will begin anew", error=f"{type(error).__name__}: {error}")

    async def _full_sync(self, cluster: Cluster) -> None:
        """List everything, and find what is gone: missed deletions are reported by nobody else."""
        known_before = set(self._known)
        self._deleted.clear()
        if self._statuses is not None:
            self._statuses.listing_begins()
        listed: set[str] = set()
        declared: dict[str, Declaration] = {}
        async for document in cluster.listed():
            uid = document["metadata"]["uid"]
            listed.add(uid)
            try:
                declared[uid] = objects.declaration(document)
                if self._statuses is not None:
                    self._statuses.listed(uid, objects.seen(document))
            except Exception:
                # A fault of ours about one object must not hold up the others.
                log.exception("an object was not understood", uid=uid)
        missing = sorted(known_before - listed - self._deleted)
        absent: set[str] = set()
        for few in (missing[i : i + _AT_ONCE] for i in range(0, len(missing), _AT_ONCE)):
            gone = await asyncio.gather(*(self._is_gone(cluster, uid) for uid in few))
            absent.update(uid for uid, is_gone in zip(few, gone, strict=True) if is_gone)
        # Deleted while the pages came in: a listing must not bring them back.
        for uid in frozenset(self._deleted):
            declared.pop(uid, None)
        self._submit(Listing(declared, absent, complete=True))
        self._metrics.listed.inc()
        log.info("listed", tenants=len(declared), absent=len(absent))

    async def _is_gone(self, cluster: Cluster, uid: str) -> bool:
        """A live look that says 404, or another object of the same name."""
        claim = self._known.get(uid)
        if claim is None:
            return False
        found = await cluster.find(claim.namespace, claim.name)
        return found is None or found["metadata"]["uid"] != uid

    def _hand(self, document: Mapping[str, Any], deleted: bool) -> None:
        """One event of the watch, in kopf's thread."""
        uid = document["metadata"]["uid"]
        if deleted:
            self._deleted.add(uid)
            self._handed.pop(uid, None)
            self._on_loop(lambda statuses: statuses.gone([uid]))
            self._submit(Listing({}, deleted=frozenset([uid])))
            return
        metadata = document["metadata"]
        if self._statuses is None or not self._statuses.knows(uid, metadata["resourceVersion"]):
            found = objects.seen(document)
            self._on_loop(lambda statuses: statuses.seen(uid, found))
        if self._handed.get(uid) != metadata["generation"]:  # else a status or a label, nothing to decide
            self._handed[uid] = metadata["generation"]
            self._submit(Listing({uid: objects.declaration(document)}))

    def _on_loop(self, act: Callable[[StatusWriter], None]) -> None:
        loop, statuses = self._loop, self._statuses
        if loop is not None and statuses is not None:
            with contextlib.suppress(RuntimeError):  # it has closed: we are stopping
                loop.call_soon_threadsafe(act, statuses)
