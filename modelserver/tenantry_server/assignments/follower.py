"""Keeps the routing table in step with the registry, holds this server's lease, and sends reports."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import structlog

from tenantry.errors import HistoryChanged, RegistryUnavailable, ServerIdTaken
from tenantry.processes.logs import OnChange
from tenantry.processes.runtime import boot_clock_s
from tenantry.registry import Assignment, Changes, LoadReport, Server, ServerRegistry, ServerReport
from tenantry_server.assignments.candidate_loader import CandidateLoader
from tenantry_server.assignments.compact_rows import Reading
from tenantry_server.assignments.pace import Pace
from tenantry_server.assignments.renewals import Renewals
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.assignments.silence import Silence
from tenantry_server.memory.model_cache import CachedModelRepository

_T = TypeVar("_T")
log = structlog.get_logger(__name__)


class RegistryFollower:
    """Reads what changed, puts it in force, and only then acknowledges it.

    Args:
        registry: this server's view.
        table: what requests are answered from.
        models: a model that no longer answers for a user is dropped from it.
        poll_s: between two readings of the registry; at most 1.
        lease_s: how long the operator waits for a server that is silent.
        report: returns what this server reports with each renewal.
        changed: called with what changed, once it is in force; of everything with the rows that wait for
            something, as `Reading.waiting` says.
        servers_read: called with the servers about once a second, at rest less often.
        in_force: returns the revision to acknowledge, and its token; None: that of the table.
        clock_s: seconds, never going back; a parameter so that tests can move it.

    Attributes:
        pace: when it reads.
        wake: has it read now: something is known to have changed, or there is something to report.
        hurry: has it read often for a second: something is about to change in the registry.
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
        in_force: Callable[[], tuple[int, str]] | None = None,
        clock_s: Callable[[], float] = boot_clock_s,
    ) -> None:
        self._registry = registry
        self._table = table
        self._models = models
        self._changed = changed
        self._clock_s = clock_s
        self._pool = ThreadPoolExecutor(1, "registry")
        self._lease = Renewals(
            registry,
            lease_s=lease_s,
            report=report,
            in_force=in_force or (lambda: (table.revision, table.token)),
            servers_read=servers_read,
            quickly=self._quickly,
        )
        self._silence = Silence(table.contact.fell_silent)
        self._loss = OnChange(log)
        self.pace = Pace(registry.stillness, self._lease, poll_s=poll_s, clock_s=clock_s)
        self.wake, self.hurry = self.pace.wake, self.pace.hurry

    async def run(self, candidates: CandidateLoader) -> None:
        """Follow the registry until cancelled; ask again where it does not answer.

        Raises:
            ServerIdTaken: another server runs under this one's name.
        """
        stop = threading.Event()
        self._registry.stillness.listen(partial(self._heard, asyncio.get_running_loop()), stop)
        try:
            await self._keep_following(candidates)
        finally:
            stop.set()

    def _heard(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # it has closed
            loop.call_soon_threadsafe(self.wake)

    async def _keep_following(self, candidates: CandidateLoader) -> None:
        while True:
            await self._follow_once(candidates)
            await self.pace.until_due()

    async def _follow_once(self, candidates: CandidateLoader) -> None:
        self.pace.rests = False
        reports = candidates.take_reports()
        try:
            with self._silence.watched():
                await self._follow(candidates, reports)
        except ServerIdTaken:
            self._table.contact.name_taken()  # from here on memory is not trusted
            raise
        except HistoryChanged as error:
            log.warning("another history", error=str(error))
            self._table.history_changed()  # from here on requests ask SQL
            candidates.forget_all()
            self.wake()
        except RegistryUnavailable as error:
            candidates.put_back(reports)
            self._loss.warning("registry lost", error=str(error))
            if not self._silence.lost():
                self.wake()
        else:
            self._loss.over("registry found again", revision=self._table.revision)
            self._table.contact.answered()
            self.pace.rests = self._table.lease_held

    async def release(self) -> None:
        """End the lease, so that the operator need not wait for this server."""
        with contextlib.suppress(RegistryUnavailable):
            await self._in_thread(self._registry.release)
        self._pool.shutdown(wait=False)

    async def _follow(self, candidates: CandidateLoader, reports: list[LoadReport]) -> None:
        began_s = self._clock_s()
        if self._table.lease_held:
            at = self._table.revision, self._table.token
            changes = await self._quickly(lambda: self._registry.changes_since(*at))
            self._put_in_force(changes, candidates)
        else:
            # The operator waits for lease holders only. What it said Ready for without this server was
            # committed before the new lease begins, so the reading has to come after that. Everything
            # is read, as tombstones may be gone by now.
            await self._lease.renew(began_s)
            reading, until_s = await self._read_everything()
            self._replace(reading, candidates)
            self._table.contact.renewed(until_s=until_s)
            began_s = self._clock_s()  # a large registry takes longer than a lease
        if reports:
            await self._in_thread(lambda: self._registry.report(reports))
        if self._lease.is_due(began_s) or self._lease.is_news:
            await self._lease.renew(began_s)
            if self._table.lease_held:  # else it ended meanwhile, and the next round begins again
                self._table.contact.renewed(until_s=self._lease.until_s)

    async def _read_everything(self) -> tuple[Reading, float]:
        """Read everything in pieces, and hold the lease meanwhile; return until when it holds.

        What is read under one lease is not to be trusted under another: the operator may have said Ready
        for a newer model between the two.
        """
        pieces = self._registry.pieces()
        reading = Reading(await self._in_thread(partial(next, pieces)))
        until_s, more = self._lease.until_s, True
        while more:
            now_s = self._clock_s()
            if self._lease.is_due(now_s):
                await self._lease.renew(now_s)
                until_s = self._lease.until_s if self._clock_s() < until_s else float("-inf")
            more = await self._in_thread(partial(_add_next, reading, pieces))
        return reading, until_s

    def _replace(self, reading: Reading, candidates: CandidateLoader) -> None:
        waiting = reading.waiting
        gone = self._table.replace(reading)
        candidates.forget_others({assignment.user_id for assignment in waiting})
        self._in_force_now(replace(reading.head, assignments=waiting), waiting, gone, candidates)

    def _put_in_force(self, changes: Changes, candidates: CandidateLoader) -> None:
        self._in_force_now(changes, *self._table.apply(changes), candidates)

    def _in_force_now(
        self, changes: Changes, touched: list[Assignment], gone: set[str], candidates: CandidateLoader
    ) -> None:
        for model_id in gone:
            self._models.discard(model_id)
        for assignment in touched:
            mine = self._table.owner_of(assignment.user_id) == self._registry.server_id
            if mine and not assignment.deleted:
                candidates.request(assignment)
            else:
                candidates.forget(assignment.user_id)
        self._changed(changes)

    async def _quickly(self, call: Callable[[], _T]) -> _T:
        """As `_in_thread`; after a second of silence, requests no longer wait for the registry either."""
        with self._silence.quick():
            return await self._in_thread(call)

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


def _add_next(reading: Reading, pieces: Iterator[Changes]) -> bool:
    """Read one more piece; return whether there was one."""
    piece = next(pieces, None)
    if piece is not None:
        reading.add(piece)
    return piece is not None
