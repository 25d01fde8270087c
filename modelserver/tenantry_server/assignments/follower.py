"""Keeps the routing table in step with the registry, holds this server's lease, passes on reports."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import structlog

from tenantry.errors import RegistryUnavailable, ServerIdTaken
from tenantry.registry import Changes, LoadReport, Server, ServerRegistry, ServerReport
from tenantry.runtime import boot_clock_s, set_within
from tenantry_server.assignments.candidate_loader import CandidateLoader
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.model_cache import CachedModelRepository

_T = TypeVar("_T")
log = structlog.get_logger(__name__)

_RENEW_EVERY_S = 1.0
_HURRY_S = 1.0
_HURRIED_POLL_S = 0.02
_SILENT_S = 1.0  # what it asks takes milliseconds; a host that vanished is given up by the driver after 5 s
_LEASE_MARGIN_S = 1.0  # given up this much before the database does: clocks drift, threads wait


class RegistryFollower:
    """Reads what changed, puts it in force, and only then says so to the registry.

    Args:
        registry: this server's view.
        table: what requests are answered from.
        models: a model that no longer answers for a user is dropped from it.
        candidates: told which candidates this server owns.
        report: what to say of this server with each renewal.
        poll_s: between looks at the registry; at most 1.
        lease_s: how long the registry waits for this server before it goes on without it.
        changed: told what changed, once it is in force.
        servers_read: told about once a second who the servers are.
    """

    def __init__(  # noqa: PLR0913 - what it is wired to, each named
        self,
        registry: ServerRegistry,
        table: RoutingTable,
        models: CachedModelRepository,
        *,
        poll_s: float,
        lease_s: float,
        report: Callable[[], ServerReport] = ServerReport,
        changed: Callable[[Changes], None] = lambda _: None,
        servers_read: Callable[[list[Server]], None] = lambda _: None,
        clock_s: Callable[[], float] = boot_clock_s,
    ) -> None:
        self._registry = registry
        self._table = table
        self._models = models
        self._poll_s = poll_s
        self._lease_s = lease_s
        self._report = report
        self._changed = changed
        self._servers_read = servers_read
        self._servers_due_s = float("-inf")
        self._clock_s = clock_s
        self._wake = asyncio.Event()
        self._pool = ThreadPoolExecutor(1, "registry")
        self._renewed_at_s = float("-inf")
        self._told = (-1, -1, False)  # what the operator waits for: renewed at once where it is new
        self._lost = False
        self._hurry_until_s = float("-inf")

    def wake(self) -> None:
        """Look now: something is known to have changed, or there is something to report."""
        self._wake.set()

    def hurry(self) -> None:
        """Look often for a moment: something will change in the registry very soon."""
        self._hurry_until_s = self._clock_s() + _HURRY_S
        self._wake.set()

    async def run(self, candidates: CandidateLoader) -> None:
        """Follow until cancelled; a registry that does not answer is asked again.

        Raises:
            ServerIdTaken: another server runs under this one's name.
        """
        stop = threading.Event()
        self._registry.listen(partial(self._heard, asyncio.get_running_loop()), stop)
        try:
            await self._keep_following(candidates)
        finally:
            stop.set()

    def _heard(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # it has closed
            loop.call_soon_threadsafe(self.wake)

    async def _keep_following(self, candidates: CandidateLoader) -> None:
        while True:
            reports = candidates.take_reports()
            try:
                await self._follow(candidates, reports)
            except ServerIdTaken:
                self._table.contact.name_taken()  # from here on memory is not trusted
                raise
            except RegistryUnavailable as error:
                candidates.put_back(reports)
                if not self._lost:
                    log.warning("registry lost", error=str(error))
                self._lost = True
                self._table.contact.fell_silent()
            else:
                if self._lost:
                    log.info("registry found again", revision=self._table.revision)
                self._lost = False
                self._table.contact.answered()
            hurried = self._clock_s() < self._hurry_until_s
            await set_within(self._wake, min(self._poll_s, _HURRIED_POLL_S) if hurried else self._poll_s)
            self._wake.clear()

    async def release(self) -> None:
        """End the lease, so that nobody waits for this server."""
        with contextlib.suppress(RegistryUnavailable):
            await self._in_thread(self._registry.release)
        self._pool.shutdown(wait=False)

    async def _follow(self, candidates: CandidateLoader, reports: list[LoadReport]) -> None:
        began_s = self._clock_s()
        if self._table.lease_held:
            self._put_in_force(await self._changes(), candidates)
        else:
            # The operator waits for lease holders only: what it said Ready for without this server
            # was committed before the lease begins anew, so the reading comes after that. And
            # tombstones may be gone by now, so everything is read.
            await self._renew(began_s)
            self._put_in_force(await self._in_thread(self._registry.everything), candidates)
            self._table.contact.renewed(until_s=self._renewed_at_s + self._lease_s - _LEASE_MARGIN_S)
        if reports:
            await self._in_thread(lambda: self._registry.report(reports))
        if self._renewal_due(began_s):
            await self._renew(began_s)
            if self._table.lease_held:  # still, so it never ended; else begin anew
                # Counted from before the database was asked, so it ends before the database's own.
                self._table.contact.renewed(until_s=began_s + self._lease_s - _LEASE_MARGIN_S)

    async def _changes(self) -> Changes:
        revision = self._table.revision
        changes = await self._quickly(lambda: self._registry.changes_since(revision))
        if changes.revision < revision:  # the registry was restored to what it once was
            log.warning("registry went back", revision=changes.revision, was=revision)
            return await self._in_thread(self._registry.everything)
        return changes

    def _put_in_force(self, changes: Changes, candidates: CandidateLoader) -> None:
        touched, gone = self._table.take(changes)
        for model_id in gone:
            self._models.discard(model_id)
        for assignment in touched:
            mine = self._table.owner_of(assignment.user_id) == self._registry.server_id
            if mine and not assignment.deleted:
                candidates.want(assignment)
            else:
                candidates.forget(assignment.user_id)
        self._changed(changes)

    def _renewal_due(self, began_s: float) -> bool:
        """Once a second, and at once where there is something that the operator waits for."""
        new = self._news(self._report()) != self._told
        return new or began_s - self._renewed_at_s >= _RENEW_EVERY_S

    def _news(self, report: ServerReport) -> tuple[int, int, bool]:
        return self._table.revision, report.prepared_revision, report.leaving

    async def _renew(self, began_s: float) -> None:
        report = self._report()
        told = self._news(report)
        await self._quickly(
            lambda: self._registry.renew(lease_s=self._lease_s, acked_revision=told[0], report=report)
        )
        self._told = told
        self._renewed_at_s = began_s
        if began_s >= self._servers_due_s:
            self._servers_read(await self._quickly(self._registry.servers))
            self._servers_due_s = began_s + _RENEW_EVERY_S

    async def _quickly(self, call: Callable[[], _T]) -> _T:
        """As `_in_thread`; while there is silence for long, no request waits for the registry as well."""
        silent = asyncio.get_running_loop().call_later(_SILENT_S, self._fell_silent)
        try:
            return await self._in_thread(call)
        finally:
            silent.cancel()

    def _fell_silent(self) -> None:
        self._table.contact.fell_silent()

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)
