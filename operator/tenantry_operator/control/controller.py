"""The loop around the reconciler: applies listings, decides what is due, and commits it.

Does not know where TenantModels come from: a source submits listings. Runs in one thread; only artifact
stores are asked from other threads.
"""

import threading
import time
from collections.abc import Callable

import structlog

from tenantry.errors import HistoryChanged, RegistryUnavailable
from tenantry.processes.logs import OnChange
from tenantry.registry import LoadReport, OperatorRegistry
from tenantry_operator.artifacts.lookups import Lookups
from tenantry_operator.artifacts.resolver import Resolve
from tenantry_operator.control import repair
from tenantry_operator.control.committing import Committer
from tenantry_operator.control.deciding import Decider
from tenantry_operator.control.governing import Governing
from tenantry_operator.control.inbox import Inbox
from tenantry_operator.control.locating import Locator
from tenantry_operator.control.removal import Removal, groups
from tenantry_operator.control.tracked import Entries
from tenantry_operator.control.waits import Waits
from tenantry_operator.declared import Listing, Observer
from tenantry_operator.fleet.view import Fleet
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.policies.rules import NO_POLICIES, Policies
from tenantry_operator.settings import OperatorSettings

log = structlog.get_logger(__name__)

REST_S = 2.0  # the longest time without a pass
_SWEEP_EVERY_S = 30.0
_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.2


class Controller:
    """Brings the registry in step with what is declared.

    Args:
        registry: already led by this operator.
        resolve: asks the artifact store; called from several threads.
        settings: of the operator.
        metrics: of the operator.
        observer: hears of what is committed, in the controller's thread.
        is_leaving: whether a server is about to go that does not know it yet.
        policies: what may be declared; None: nothing is decided before `govern` was called.

    Attributes:
        turned_at_s: when a pass or a commit ended last, by the monotonic clock.
        submit: takes what a source declares now; may be called from any thread.
        wake: starts a pass now; may be called from any thread.
    """

    def __init__(
        self,
        registry: OperatorRegistry,
        resolve: Resolve,
        settings: OperatorSettings,
        metrics: OperatorMetrics,
        observer: Observer | None = None,
        is_leaving: Callable[[str], bool] = lambda _: False,
        policies: Policies | None = NO_POLICIES,
    ) -> None:
        observer = observer or Observer()
        self._registry = registry
        self._settings = settings
        self._metrics = metrics
        self.turned_at_s = time.monotonic()
        self._inbox = Inbox()
        self.submit = self._inbox.put
        self.wake = self._inbox.wake
        self._entries = Entries(registry.claims(), registry.bindings().all(), policies)
        self._governing = Governing(registry, self._entries, policies)
        for uid in self._entries:
            metrics.moved(None, self._entries[uid].status)
        self._dirty: set[str] = set()  # to be decided about; only a commit takes one out
        self._waits = Waits(settings.retry_first_s, settings.retry_last_s)
        self._fleet = Fleet(registry, settings, metrics, self._entries.bytes_by_shard, is_leaving)
        self._lookups = Lookups(resolve, settings.resolve_threads, timeout_s=settings.resolve_timeout_s)
        self._locator = Locator(self._entries, self._lookups, metrics)
        self._decider = Decider(self._entries, self._fleet)
        self._committer = Committer(registry, self._entries, self._waits, metrics, observer)
        self._removal = Removal(
            registry,
            self._entries,
            self._waits,
            self._lookups,
            metrics,
            observer,
            allow_mass_delete=settings.allow_mass_delete,
        )
        self._applied: Listing | None = None
        self._resync_at_s = 0.0
        self._sweep_at_s = time.monotonic() + _SWEEP_EVERY_S

    def run(self, stop: threading.Event) -> None:
        """Work until stopped.

        Raises:
            LeadershipLost: another operator leads; this process must end.
            HistoryChanged: the registry lost what was written; another controller begins from its rows.
        """
        self._registry.stillness.listen(self.wake, stop)
        try:
            self._run(stop)
        except HistoryChanged:
            for uid in self._entries:
                self._metrics.moved(self._entries[uid].status, None)
            raise
        finally:
            self._metrics.changes.end_all()
            self._lookups.close()
            self._fleet.close()

    def _run(self, stop: threading.Event) -> None:
        loss = OnChange(log)
        listing: Listing | None = None
        rest_until_s = float("-inf")
        while not stop.is_set():
            arrived, news = self._inbox.take(wait_s=self._settings.poll_s)
            began_s = self.turned_at_s = time.monotonic()
            if not arrived and began_s < rest_until_s and self._registry.stillness.holds():
                continue
            rest_until_s = float("-inf")
            listing = Listing.merged([listing, news]) if listing and news else listing or news
            try:
                self.step(listing)
                rest_until_s = self._nothing_due_until_s()
                loss.over("registry found again")
                listing = None
                self._metrics.registry_up.set(1)
            except RegistryUnavailable as error:  # the listing is kept, unless there is a newer one
                loss.warning("registry lost; nothing changes until it is back", error=str(error))
                self._metrics.registry_up.set(0)
                self._registry.leases.lost_sight()
                stop.wait(1.0)
            # Pause for as long as the work took: what arrives meanwhile is decided about together.
            took_s = time.monotonic() - began_s
            stop.wait(min(max(took_s, _PAUSE_S), _LONGEST_PAUSE_S))

    def step(self, listing: Listing | None = None) -> None:
        """Do one pass: observe everything that changed, decide, commit.

        Raises:
            LeadershipLost: another operator leads; nothing of this pass was written.
            HistoryChanged: the registry lost what was written.
            RegistryUnavailable: the registry did not answer; call again.
        """
        now_s = time.monotonic()
        self._registry.check()
        if self._fleet.observe(now_s):  # what waits for a server waits for one to be started now
            self._dirty |= self._waits.for_servers()
        self._dirty |= self._entries.of_users(self._fleet.observe_faults(now_s))
        reports = self._fleet.reports()
        self._dirty |= self._waits.acknowledged(self._fleet.acked_revision)
        self._dirty |= self._waits.for_load(self._entries.of_users(reports))
        if listing is not None and listing is not self._applied:
            self._apply(listing)
        self._governing.step(self._dirty, now_s)
        if self._applied is not None:
            self._wake_due(now_s)
            self._committer.drop_unwanted(reports, self._dirty)
            self._locator.step(self._dirty)
            self._reconcile(reports, now_s)
        self._metrics.undecided.set(len(self._dirty) if self.listed else len(self._entries))
        if now_s >= self._sweep_at_s:
            self._registry.sweep(forget_servers_s=self._settings.forget_servers_s)
            self._sweep_at_s = now_s + _SWEEP_EVERY_S

    def _nothing_due_until_s(self) -> float:
        """Return until when a pass would do nothing, where nobody writes to the registry meanwhile."""
        if self._dirty or self._lookups:
            return float("-inf")
        now_s = time.monotonic()
        return min(now_s + min(REST_S, self._fleet.quiet_s), self._waits.next_due_s)

    @property
    def listed(self) -> bool:
        """Whether the first listing of the source was applied."""
        return self._applied is not None

    @property
    def looking(self) -> int:
        """How many lookups in artifact stores are under way."""
        return len(self._lookups)

    def govern(self, policies: Policies) -> None:
        """Judge every TenantModel by these from the next pass on; may be called from any thread."""
        self._governing.wanted = policies
        self.wake()

    def _apply(self, listing: Listing) -> None:
        for uid, declared in listing.declared.items():
            concerned = self._entries.declare(uid, declared)
            if concerned:
                self._entries[uid].declared_at_s = time.monotonic()
                self._metrics.changes.begin(declared, self._entries[uid].claim)
                self._dirty |= concerned
                self._lookups.forget(uid)
                self._waits.retry_soon(uid)
                if declared.problem is not None:
                    log.warning("manifest refused", error=str(declared.problem))
        if listing.complete:
            self._removal.remove(self._removal.due(listing.absent), self._dirty)
        deleted = sorted(uid for uid in listing.deleted if uid in self._entries)
        self._removal.remove(deleted, self._dirty)
        self._applied = listing

    def _wake_due(self, now_s: float) -> None:
        for uid in self._waits.due(now_s):
            self._entries[uid].lookup_due = True
            self._dirty.add(uid)
        if now_s >= self._resync_at_s:
            repair.repair(self._registry, self._entries)
            self._fleet.restore_shards()
            self._dirty |= set(self._entries)
            self._resync_at_s = now_s + self._settings.resync_s

    def _reconcile(self, reports: dict[str, LoadReport], now_s: float) -> None:
        for group in groups([uid for uid in self._dirty if self._locator.is_decidable(uid)]):
            users = {user for uid in group if (user := self._entries[uid].user_id) is not None}
            rows = self._registry.assignments(users)
            outcomes = {uid: self._decider.decide(uid, rows, reports) for uid in group}
            heard = [
                report
                for user_id in users
                if (report := reports.get(user_id)) and self._entries.winner(user_id) in outcomes
            ]
            self._committer.commit(outcomes, heard, now_s)
            self.turned_at_s = time.monotonic()
            self._dirty.difference_update(group)
