"""A cluster as the source of TenantModels, and as the observer of their statuses."""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any

import structlog

from tenantry.processes.logs import OnChange
from tenantry.processes.runtime import run_async
from tenantry.registry import Claim
from tenantry_operator.cluster.client import PAGE, Cluster, ClusterError
from tenantry_operator.cluster.full_sync import FullSync
from tenantry_operator.cluster.status_port import StatusPort
from tenantry_operator.cluster.status_writer import StatusWriter
from tenantry_operator.cluster.watcher import Watcher
from tenantry_operator.declared import Listing, Observer
from tenantry_operator.metrics import OperatorMetrics

log = structlog.get_logger(__name__)

_RETRY_S = 2.0
_CHECK_S = 1.0
_SMALL_RESYNC_S = 60.0
_STOP_S, _JOIN_S = 0.1, 10.0


class ClusterSource(Observer):
    """Runs the watch, the full listings and the status writer on one event loop, in a thread of its own.

    Args:
        claims: what the registry remembers; gone ones are found by comparison with full listings.
        leads: whether this process is sure to lead just now; only then statuses are written.
        resync_s: between full listings.
        namespace: to follow; None: all.
        metrics: of the operator.
        beside: what else is done with the same client, each until it is cancelled.
    """

    # The controller's thread writes `_known`, and the loop reads it: each access is one operation.

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
        self._resync_s = resync_s
        self._namespace = namespace
        self._statuses = StatusPort()
        self._watcher: Watcher | None = None

    def decided(self, claim: Claim) -> None:
        """As Observer."""
        self._known[claim.uid] = claim
        self._statuses.call(lambda writer: writer.decided(claim))

    def removed(self, uids: Collection[str]) -> None:
        """As Observer."""
        for uid in uids:
            self._known.pop(uid, None)
            if self._watcher is not None:
                self._watcher.forget(uid)
        self._statuses.call(lambda writer: writer.gone(uids))

    def run(self, submit: Callable[[Listing], None], stop: threading.Event) -> None:
        """Work until stopped; in a thread of its own.

        Args:
            submit: takes listings; called from several threads.
        """
        run_async(self._run(submit, stop))

    async def _run(self, submit: Callable[[Listing], None], stop: threading.Event) -> None:
        async with Cluster(self._namespace) as cluster:
            watcher = self._watcher = Watcher(submit, self._statuses, namespace=self._namespace)
            writer = StatusWriter(cluster, self._leads, self._metrics)
            self._statuses.open(writer)
            for claim in list(self._known.values()):
                writer.decided(claim)
            full_sync = FullSync(cluster, self._known, watcher, writer, submit, self._metrics)
            tasks = [
                asyncio.create_task(writer.run()),
                asyncio.create_task(self._follow(watcher, full_sync, stop)),
                *(asyncio.create_task(run(cluster)) for run in self._beside),
            ]
            while not stop.is_set() and not any(task.done() for task in tasks):  # noqa: ASYNC110 - a thread's
                await asyncio.sleep(_STOP_S)
            self._statuses.close()
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(watcher.join, _JOIN_S)
            for problem in ended:
                if isinstance(problem, Exception):
                    raise problem

    async def _follow(self, watcher: Watcher, full_sync: FullSync, stop: threading.Event) -> None:
        """List everything, then watch, and list now and then; where the watch ends, begin again."""
        while True:
            await self._first_sync(full_sync)
            watcher.start(stop)
            await self._sync_while(watcher, full_sync)
            await asyncio.sleep(_RETRY_S)

    async def _first_sync(self, full_sync: FullSync) -> None:
        problem = OnChange(log)
        while True:
            try:
                return await full_sync.run()
            except ClusterError as error:
                problem.warning("the API server can't be listed yet", error=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _sync_while(self, watcher: Watcher, full_sync: FullSync) -> None:
        due_s = time.monotonic() + self._pause_s()
        while watcher.is_alive:
            await asyncio.sleep(min(_CHECK_S, self._resync_s))
            now_s = time.monotonic()
            if now_s < due_s and not watcher.has_relisted(now_s):
                continue
            try:
                await full_sync.run()
                due_s = time.monotonic() + self._pause_s()
            except ClusterError as error:
                due_s = time.monotonic() + _RETRY_S
                log.warning("full listing failed; the watch goes on", error=str(error))

    def _pause_s(self) -> float:
        """Until the next full listing; soon where it costs one call.

        A watch that begins again over an empty cluster shows no object, and so not that it began.
        """
        return min(self._resync_s, _SMALL_RESYNC_S) if len(self._known) < PAGE else self._resync_s
