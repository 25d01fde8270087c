"""The loop around the reconciler: gathers observations, commits outcomes, remembers what waits.

Knows nothing of where TenantModels come from: a source submits listings. Runs in one thread; only the
artifact store is asked from others.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from itertools import islice
from typing import Any

import structlog

from tenantry import ModelId
from tenantry.errors import RegistryUnavailable
from tenantry.registry import (
    Assignment,
    Claim,
    LoadReport,
    OperatorRegistry,
    Writes,
)
from tenantry_operator import conditions
from tenantry_operator.artifacts.lookups import Lookups
from tenantry_operator.artifacts.resolver import Resolve
from tenantry_operator.conditions import INTERNAL_ERROR, INVALID_MANIFEST, State, Status
from tenantry_operator.control import repair
from tenantry_operator.control.reconcile import Observations, Outcome, reconcile
from tenantry_operator.control.removal import prune
from tenantry_operator.control.tracked import Entries, Entry
from tenantry_operator.control.waits import Waits
from tenantry_operator.declared import Listing, Observer
from tenantry_operator.fleet.view import Fleet
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.settings import OperatorSettings

log = structlog.get_logger(__name__)

_GROUP = 200  # TenantModels of one transaction: short locks, few commits
_SWEEP_EVERY_S = 30.0
_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.2
_LOOK_UP_TO_S = 0.25  # a store that answers at once is waited for: one decision instead of two


class Controller:
    """Brings the registry in step with what is declared.

    Args:
        registry: already led by this operator.
        resolve: asks the artifact store; called from several threads.
        settings: of the operator.
        metrics: of the operator.
        observer: of what is committed.
        is_leaving: of a server that does not know it yet.
    """

    def __init__(
        self,
        registry: OperatorRegistry,
        resolve: Resolve,
        settings: OperatorSettings,
        metrics: OperatorMetrics,
        observer: Observer | None = None,
        is_leaving: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._registry = registry
        self._observer = observer or Observer()
        self._settings = settings
        self._metrics = metrics
        self.turned_at_s = time.monotonic()
        self._listings: queue.SimpleQueue[Listing | None] = queue.SimpleQueue()
        self._entries = Entries(registry.claims())
        for uid in self._entries:
            metrics.moved(None, self._entries[uid].state)
        self._dirty: set[str] = set()  # to be decided about; left only by a commit
        self._waits = Waits(settings.retry_first_s, settings.retry_last_s)
        self._fleet = Fleet(registry, settings, metrics, self._entries.bytes_by_shard, is_leaving)
        self._refused: frozenset[str] = frozenset()
        self._lookups = Lookups(resolve, settings.resolve_threads)
        self._taken: Listing | None = None
        self._resync_at_s = 0.0
        self._sweep_at_s = time.monotonic() + _SWEEP_EVERY_S

    def submit(self, listing: Listing) -> None:
        """Hand over what a source declares now; may be called from any thread."""
        self._listings.put(listing)

    def wake(self) -> None:
        """Look now; may be called from any thread."""
        self._listings.put(None)

    def run(self, stop: threading.Event) -> None:
        """Work until stopped.

        Raises:
            LeadershipLost: another operator leads; this process must end.
        """
        self._registry.listen(self.wake, stop)
        try:
            self._run(stop)
        finally:
            self._lookups.close()

    def _run(self, stop: threading.Event) -> None:
        lost = False
        listing: Listing | None = None
        while not stop.is_set():
            news = self._news()
            began_s = self.turned_at_s = time.monotonic()
            listing = Listing.merged([listing, news]) if listing and news else listing or news
            try:
                self.step(listing)
                if lost:
                    log.info("registry found again")
                lost = False
                listing = None
                self._metrics.registry_up.set(1)
            except RegistryUnavailable as error:  # the listing is kept, unless there is a newer one
                if not lost:
                    log.warning("registry lost; nothing changes until it is back", error=str(error))
                lost = True
                self._metrics.registry_up.set(0)
                stop.wait(1.0)
            # As long a pause as the work took: what comes meanwhile is decided about together.
            took_s = time.monotonic() - began_s
            stop.wait(min(max(took_s, _PAUSE_S), _LONGEST_PAUSE_S))

    def _news(self) -> Listing | None:
        """Whatever was submitted since the last pass, as one; waits a while where nothing was."""
        news: list[Listing] = []
        timeout_s = self._settings.poll_s
        with suppress(queue.Empty):
            while True:
                newer = self._listings.get(timeout=timeout_s)
                timeout_s = 0.0
                if newer is not None:
                    news.append(newer)
        return Listing.merged(news) if news else None

    def step(self, listing: Listing | None = None) -> None:
        """One pass: look at everything that changed, decide, commit.

        Raises:
            LeadershipLost: another operator leads; nothing of this pass was written.
            RegistryUnavailable: the registry did not answer; call again.
        """
        now_s = time.monotonic()
        if self._fleet.look(now_s):  # those that wait for a server wait for one to be started now
            self._dirty |= self._waits.for_servers()
        reports = self._fleet.reports()
        self._dirty |= self._woken(reports)
        if listing is not None and listing is not self._taken:
            self._take(listing)
        if self._taken is not None:
            self._wake_due(now_s)
            self._answer_strays(reports)
            self._look_at_artifacts()
            self._reconcile(reports, now_s)
        self._metrics.undecided.set(len(self._dirty) if self.listed else len(self._entries))
        if now_s >= self._sweep_at_s:
            self._registry.sweep(forget_servers_s=self._settings.forget_servers_s)
            self._sweep_at_s = now_s + _SWEEP_EVERY_S

    @property
    def listed(self) -> bool:
        """Whether the source has spoken once, and that was taken in."""
        return self._taken is not None

    @property
    def looking(self) -> int:
        """How many look-ups at the artifact store are under way."""
        return len(self._lookups)

    # What changed

    def _woken(self, reports: dict[str, LoadReport]) -> set[str]:
        """Entries whose wait is over, by a report or because every server acknowledged."""
        woken = self._waits.acknowledged(self._fleet.acked_revision)
        for user_id in reports:
            woken |= self._waits.for_load(self._entries.of_user(user_id))
        return woken

    def _answer_strays(self, reports: dict[str, LoadReport]) -> None:
        """Take away reports that nobody waits for; they would come back at every look."""
        strays = [
            report
            for user_id, report in reports.items()
            if not self._entries.of_user(user_id) & self._dirty
        ]
        if strays:
            self._registry.commit(Writes(answered=strays))

    def _take(self, listing: Listing) -> None:
        for uid, declared in listing.declared.items():
            concerned = self._entries.declare(uid, declared)
            if concerned:
                self._entries[uid].declared_at_s = time.monotonic()
                self._dirty |= concerned
                self._lookups.forget(uid)
                self._waits.look_soon(uid)
                if declared.problem is not None:
                    log.warning("manifest refused", error=str(declared.problem))
        if listing.complete:
            self._prune(listing.absent)
        for uids in _groups(sorted(uid for uid in listing.deleted if uid in self._entries)):
            self._remove(uids)
        self._taken = listing

    def _prune(self, absent: AbstractSet[str]) -> None:
        """Remove what is missing, unless that is so much that a person should confirm it."""
        decision = prune(self._entries, absent, allow_mass_delete=self._settings.allow_mass_delete)
        if decision.refused and decision.refused != self._refused:
            log.error(
                "refusing to remove so many tenants at once; where this is meant, restart with "
                "--allow-mass-delete or TENANTRY_ALLOW_MASS_DELETE=true",
                missing=len(decision.refused),
                known=len(self._entries),
            )
        self._refused = decision.refused
        self._metrics.not_removed.set(len(decision.refused))
        for uids in _groups(sorted(decision.uids)):
            self._remove(uids)

    def _remove(self, uids: list[str]) -> None:
        """Take removed TenantModels out; whoever stood behind them for a user comes next."""
        users = {user for uid in uids if (user := self._entries[uid].user_id) is not None}
        # Also where somebody stands behind: what answers now must not go on until that one has loaded.
        rows = [row for row in self._registry.assignments(users).values() if row.uid in uids]
        tombstones = [repair.ended(row) for row in rows if not row.deleted]
        self._registry.commit(Writes(forgotten=uids, assignments=tombstones))
        for uid in uids:
            self._metrics.moved(self._entries[uid].state, None)
        self._observer.removed(uids)
        behind = self._entries.remove(uids)
        self._dirty |= behind
        self._dirty.difference_update(uids)
        self._waits.forget(uids)
        for uid in (*uids, *behind):
            self._lookups.forget(uid)
        log.info("removed", tenants=len(uids), users=sorted(users)[:5])

    def _wake_due(self, now_s: float) -> None:
        for uid in self._waits.due(now_s):
            self._entries[uid].look = True
            self._dirty.add(uid)
        if now_s >= self._resync_at_s:
            repair.repair(self._registry, self._entries)
            self._fleet.restore_shards()
            self._dirty |= set(self._entries)
            self._resync_at_s = now_s + self._settings.resync_s

    def _look_at_artifacts(self) -> None:
        """Ask the store where that is due, and take in what it has answered."""
        asked = False
        for uid in self._dirty:
            entry = self._entries[uid]
            if entry.look and entry.source is not None and uid not in self._lookups:
                self._lookups.ask(uid, entry.source)
                asked = True
        for uid, found in self._lookups.take(wait_s=_LOOK_UP_TO_S if asked else 0.0).items():
            entry = self._entries[uid]
            entry.look = False
            self._dirty.add(uid)
            if isinstance(found, ModelId) or not isinstance(entry.artifact, ModelId):
                entry.artifact = found
            else:  # it was only to see whether a newer version is there: the known one still stands
                log.warning("refresh failed", uri=entry.artifact.uri, error=str(found))

    # Decide and commit

    def _reconcile(self, reports: dict[str, LoadReport], now_s: float) -> None:
        for group in _groups([uid for uid in self._dirty if self._decidable(uid)]):
            users = {user for uid in group if (user := self._entries[uid].user_id) is not None}
            rows = self._registry.assignments(users)
            outcomes = {uid: self._decide(uid, rows, reports) for uid in group}
            heard = [
                report
                for user_id in users
                if (report := reports.get(user_id)) and self._entries.winner(user_id) in outcomes
            ]
            self._commit(outcomes, heard, now_s)
            self._dirty.difference_update(group)

    def _decidable(self, uid: str) -> bool:
        """The source has spoken of it, and so has the store, once at least."""
        entry = self._entries[uid]
        if entry.declared is None:
            return False
        return uid not in self._lookups or isinstance(entry.artifact, ModelId)

    def _decide(self, uid: str, rows: dict[str, Assignment], reports: dict[str, LoadReport]) -> Outcome:
        entry = self._entries[uid]
        declared = entry.declared
        assert declared is not None  # noqa: S101 - for the type checker: the caller chose such
        user_id = entry.user_id or ""
        try:
            seen = Observations(
                before=entry.status,
                bound_user=entry.bound_user,
                winner=self._winner(uid),
                artifact=entry.artifact,
                assignment=rows.get(user_id),
                servers=self._fleet.live,
                report=reports.get(user_id),
            )
            return reconcile(declared, seen)
        except Exception as error:
            # A fault of ours in one TenantModel must not hold up the others.
            log.exception("reconcile failed", tenant=entry.title)
            problem = f"the operator failed on it ({type(error).__name__}); its log says why"
            return Outcome(Status(State.STALLED, INTERNAL_ERROR, problem, declared.generation))

    def _winner(self, uid: str) -> str | None:
        """The older TenantModel of the same user; None where this one is the oldest."""
        user_id = self._entries[uid].user_id
        if user_id is None:
            return None
        first = self._entries.winner(user_id)
        return None if first == uid else self._entries[first].title

    def _commit(self, outcomes: dict[str, Outcome], answered: list[LoadReport], now_s: float) -> None:
        wall_s = time.time()
        claims: list[Claim] = []
        for uid, outcome in outcomes.items():
            claim = self._entries[uid].claim_with(outcome.status, wall_s)
            if claim != self._entries[uid].claim:
                claims.append(claim)
        assignments = [o.assignment for o in outcomes.values() if o.assignment is not None]
        revisions: dict[str, int] = {}
        if claims or assignments or answered:
            revisions = self._registry.commit(
                Writes(claims=claims, assignments=assignments, answered=answered)
            )
        self.turned_at_s = time.monotonic()
        self._metrics.decisions.inc(len(outcomes))
        for claim in claims:
            self._tell(self._entries[claim.uid], claim, now_s)
            self._entries[claim.uid].claim = claim
            self._observer.decided(claim)
        for uid, outcome in outcomes.items():
            refresh_s = self._entries[uid].refresh_s
            self._waits.begin(uid, outcome, revisions, refresh_s=refresh_s, now_s=now_s)

    def _tell(self, entry: Entry, after: Claim, now_s: float) -> None:
        """Count and log what a person wants to know of: a change between working and not."""
        before, state = entry.state, conditions.state_in(after.conditions)
        self._metrics.moved(before, state)
        if state is State.READY and entry.declared_at_s is not None:
            self._metrics.ready_s.observe(now_s - entry.declared_at_s)
            entry.declared_at_s = None
        if entry.claim is not None and state is before:
            return
        told: dict[str, Any] = {"tenant": f"{after.namespace}/{after.name}", "user": after.user_id}
        problem = after.conditions[0]
        if state is State.STALLED and problem["reason"] != INVALID_MANIFEST:  # told when it was read
            log.warning("stalled", **told, reason=problem["reason"], message=problem["message"])
        elif state is State.READY:
            log.debug("ready", **told, model_id=after.model_id)


def _groups(uids: Iterable[str]) -> Iterator[list[str]]:
    left = iter(uids)
    while group := list(islice(left, _GROUP)):
        yield group
