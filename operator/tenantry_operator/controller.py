"""The loop around the reconciler: gathers observations, commits outcomes, remembers what waits.

Knows nothing of where TenantModels come from: a source submits listings. Runs in one thread; only the
artifact store is asked from several.
"""

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import structlog

from tenantry import ModelId, placement
from tenantry.errors import ArtifactError, RegistryUnavailable
from tenantry.registry import (
    Assignment,
    Claim,
    LoadReport,
    LoadState,
    OperatorRegistry,
    Server,
    Writes,
)
from tenantry.spec import ModelSource
from tenantry_operator import conditions
from tenantry_operator.artifacts import Resolve
from tenantry_operator.conditions import State, Status
from tenantry_operator.listing import Listing, prune
from tenantry_operator.reconcile import Declaration, Observations, Outcome, Waiting, reconcile
from tenantry_operator.schedule import Schedule
from tenantry_operator.settings import OperatorSettings

log = structlog.get_logger(__name__)

_GROUP = 200  # TenantModels of one transaction: short locks, few commits
_SWEEP_EVERY_S = 30.0


@dataclass(slots=True)
class _Entry:
    """One TenantModel in the operator's memory.

    Attributes:
        declared: as the source shows it; None after a restart, until the source has spoken.
        claim: as the registry has it; None: not written yet.
        artifact: what its source stood for when it was last looked at.
        look: whether the artifact store has to be asked (again).
    """

    declared: Declaration | None
    claim: Claim | None
    artifact: ModelId | ArtifactError | None = None
    look: bool = True


class Controller:
    """Brings the registry in step with what is declared.

    Args:
        registry: already led by this operator.
        resolve: asks the artifact store; called from several threads.
        settings: of the operator.
    """

    def __init__(self, registry: OperatorRegistry, resolve: Resolve, settings: OperatorSettings) -> None:
        self._registry = registry
        self._resolve = resolve
        self._settings = settings
        self._listings: queue.SimpleQueue[Listing] = queue.SimpleQueue()
        self._entries = {claim.uid: _Entry(None, claim) for claim in registry.claims()}
        self._by_user: defaultdict[str, set[str]] = defaultdict(set)
        for uid, entry in self._entries.items():
            if entry.claim is not None and entry.claim.user_id is not None:
                self._by_user[entry.claim.user_id].add(uid)
        self._dirty: set[str] = set()  # to be decided about; left only by a commit
        self._loading: set[str] = set()  # wait for a server's word on a candidate
        self._acking: dict[str, int] = {}  # wait until every live server has this revision
        self._servers: list[Server] = []
        self._live: frozenset[str] | None = None
        self._refused: frozenset[str] = frozenset()
        self._again = Schedule(settings.retry_first_s, settings.retry_last_s)
        self._synced = False
        self._resync_at_s = 0.0
        self._sweep_at_s = time.monotonic() + _SWEEP_EVERY_S
        self._pool = ThreadPoolExecutor(settings.resolve_threads, "resolve")

    def submit(self, listing: Listing) -> None:
        """Hand over what a source declares now; may be called from any thread."""
        self._listings.put(listing)

    def run(self, stop: threading.Event) -> None:
        """Work until stopped.

        Raises:
            LeadershipLost: another operator leads; this process must end.
        """
        lost = False
        while not stop.is_set():
            listing = self._newest_listing()
            try:
                self.step(listing)
                if lost:
                    log.info("registry found again")
                lost = False
            except RegistryUnavailable as error:
                if listing is not None:
                    self._listings.put(listing)  # nothing that was declared is lost
                if not lost:
                    log.warning("registry lost; nothing changes until it is back", error=str(error))
                lost = True
                stop.wait(1.0)
        self._pool.shutdown(cancel_futures=True)

    def _newest_listing(self) -> Listing | None:
        newest: Listing | None = None
        try:
            newest = self._listings.get(timeout=self._settings.poll_s)
            while True:
                newest = self._listings.get_nowait()
        except queue.Empty:
            return newest

    def step(self, listing: Listing | None = None) -> None:
        """One pass: look at everything that changed, decide, commit.

        Raises:
            LeadershipLost: another operator leads; nothing of this pass was written.
            RegistryUnavailable: the registry did not answer; call again.
        """
        now_s = time.monotonic()
        reports = self._observe()
        self._dirty |= self._woken(reports)
        if listing is not None:
            self._take(listing)
        if self._synced:
            self._wake_due(now_s)
            self._answer_strays(reports)
            self._reconcile(reports, now_s)
        if now_s >= self._sweep_at_s:
            self._registry.sweep(forget_servers_s=self._settings.forget_servers_s)
            self._sweep_at_s = now_s + _SWEEP_EVERY_S

    # What changed

    def _observe(self) -> dict[str, LoadReport]:
        """Servers and their reports, by user; shards follow the servers that live."""
        self._servers = [server for server in self._registry.servers() if server.live]
        live = frozenset(server.server_id for server in self._servers)
        if live != self._live:
            gone = sorted((self._live or frozenset()) - live)
            log.info("servers", live=sorted(live), **({"gone": gone} if gone else {}))
            moved = self._registry.assign_shards(placement.owners(live))
            log.debug("shards moved", count=moved)
            self._live = live
        best: dict[str, LoadReport] = {}
        for report in self._registry.reports():
            known = best.get(report.user_id)
            if known is None or report.state is LoadState.LOADED:
                best[report.user_id] = report
        return best

    def _woken(self, reports: dict[str, LoadReport]) -> set[str]:
        """Entries whose wait is over, by a report or because every server acknowledged."""
        acked = min((server.acked_revision for server in self._servers), default=-1)
        woken = {uid for uid, revision in self._acking.items() if acked >= revision}
        for user_id in reports:
            woken |= self._by_user.get(user_id, set()) & self._loading
        return woken

    def _answer_strays(self, reports: dict[str, LoadReport]) -> None:
        """Take away reports that nobody waits for; they would come back at every look."""
        strays = [
            report
            for user_id, report in reports.items()
            if not self._by_user.get(user_id, set()) & self._dirty
        ]
        if strays:
            self._registry.commit(Writes(answered=strays))

    def _take(self, listing: Listing) -> None:
        for uid, declared in listing.declared.items():
            self._declare(uid, declared)
        decision = prune(self._entries, listing.absent, allow_mass_delete=self._settings.allow_mass_delete)
        if decision.refused and decision.refused != self._refused:
            log.error(
                "refusing to remove so many tenants at once; restart with --allow-mass-delete "
                "where this is meant",
                missing=len(decision.refused),
                known=len(self._entries),
            )
        self._refused = decision.refused
        if decision.uids:
            self._remove(decision.uids)
        self._synced = True

    def _declare(self, uid: str, declared: Declaration) -> None:
        """Note what the source shows, if it is news, and who is concerned."""
        entry = self._entries.setdefault(uid, _Entry(None, None))
        if entry.claim is not None:  # what it was when it was first seen, it stays
            declared = replace(
                declared,
                created_at=entry.claim.created_at,
                namespace=declared.namespace or entry.claim.namespace,
                name=declared.name or entry.claim.name,
            )
        if declared == entry.declared:
            return
        entry.declared = declared
        entry.artifact = _ready_with(entry.claim, declared)
        entry.look = entry.artifact is None
        self._dirty.add(uid)
        if declared.problem is not None:
            log.warning("manifest refused", error=str(declared.problem))
        if declared.model is not None and _bound_user(entry) is None:
            user_id = declared.model.spec.user_id
            self._by_user[user_id].add(uid)
            self._dirty |= self._by_user[user_id]

    def _remove(self, uids: frozenset[str]) -> None:
        """Take removed TenantModels out; whoever stood behind them for a user comes next."""
        users = {user_id for uid in uids if (user_id := _wanted_user(self._entries[uid])) is not None}
        heirs = {user_id: self._by_user[user_id] - uids for user_id in users}
        tombstones = [
            _ended(row)
            for row in self._registry.assignments(users).values()
            if row.uid in uids and not row.deleted and not heirs[row.user_id]
        ]
        self._registry.commit(Writes(forgotten=sorted(uids), assignments=tombstones))
        for uid in uids:
            del self._entries[uid]
            self._dirty.discard(uid)
            self._loading.discard(uid)
            self._acking.pop(uid, None)
            self._again.forget(uid)
        for user_id, left in heirs.items():
            self._dirty |= left
            if left:
                self._by_user[user_id] = left
            else:
                del self._by_user[user_id]
        log.info("removed", tenants=len(uids), users=sorted(users)[:5])

    def _wake_due(self, now_s: float) -> None:
        for uid in self._again.due(now_s):
            self._entries[uid].look = True
            self._dirty.add(uid)
        if now_s >= self._resync_at_s:
            self._end_orphans()
            self._dirty |= self._entries.keys()
            self._resync_at_s = now_s + self._settings.resync_s

    def _end_orphans(self) -> None:
        """Rows that stand for no TenantModel, such as ones written by hand."""
        orphans = [
            _ended(row) for row in self._registry.assigned().values() if row.uid not in self._entries
        ]
        if orphans:
            log.warning("ending assignments without a TenantModel", count=len(orphans))
            self._registry.commit(Writes(assignments=orphans))

    # Decide and commit

    def _reconcile(self, reports: dict[str, LoadReport], now_s: float) -> None:
        told = (uid for uid in list(self._dirty) if self._entries[uid].declared is not None)
        while group := list(islice(told, _GROUP)):
            self._look_at_artifacts(group)
            users = {user for uid in group if (user := _wanted_user(self._entries[uid]))}
            rows = self._registry.assignments(users)
            outcomes = {uid: self._decide(uid, rows, reports) for uid in group}
            heard = [report for user_id, report in reports.items() if user_id in users]
            self._commit(outcomes, heard, now_s)
            self._dirty.difference_update(group)

    def _decide(self, uid: str, rows: dict[str, Assignment], reports: dict[str, LoadReport]) -> Outcome:
        entry = self._entries[uid]
        declared = entry.declared
        assert declared is not None  # noqa: S101 - for the type checker: the caller chose such
        try:
            return reconcile(declared, self._observations(uid, entry, rows, reports))
        except Exception as error:
            # A fault of ours in one TenantModel must not hold up the others.
            log.exception("reconcile failed", tenant=f"{declared.namespace}/{declared.name}")
            problem = f"the operator failed on it ({type(error).__name__}); its log says why"
            return Outcome(Status(State.STALLED, "InternalError", problem, declared.generation))

    def _observations(
        self,
        uid: str,
        entry: _Entry,
        rows: dict[str, Assignment],
        reports: dict[str, LoadReport],
    ) -> Observations:
        user_id = _wanted_user(entry)
        return Observations(
            before=_status_before(entry.claim),
            bound_user=_bound_user(entry),
            winner=self._winner(uid, user_id),
            artifact=entry.artifact,
            assignment=rows.get(user_id or ""),
            servers=self._servers,
            report=reports.get(user_id or ""),
        )

    def _winner(self, uid: str, user_id: str | None) -> str | None:
        """The older TenantModel of the same user; None where this one is the oldest."""
        if user_id is None:
            return None
        rivals = self._by_user[user_id] | {uid}
        first = min(rivals, key=lambda each: (_created_at(self._entries[each]), each))
        if first == uid:
            return None
        entry = self._entries[first]
        named = entry.declared or entry.claim
        return f"{named.namespace}/{named.name}" if named else first

    def _look_at_artifacts(self, uids: Sequence[str]) -> None:
        """Ask the store where that is due, several at once."""
        wanted = [uid for uid in uids if self._entries[uid].look and _source(self._entries[uid])]

        def look(uid: str) -> ModelId | ArtifactError:
            source = _source(self._entries[uid])
            assert source is not None  # noqa: S101 - for the type checker: filtered above
            try:
                return self._resolve(source)
            except ArtifactError as error:
                return error

        for uid, found in zip(wanted, self._pool.map(look, wanted), strict=True):
            entry = self._entries[uid]
            entry.look = False
            if isinstance(found, ArtifactError) and isinstance(entry.artifact, ModelId):
                # It was only to see whether a newer version is there: the known one still stands.
                log.warning("refresh failed", uri=entry.artifact.uri, error=str(found))
                continue
            entry.artifact = found

    def _commit(self, outcomes: dict[str, Outcome], answered: list[LoadReport], now_s: float) -> None:
        wall_s = time.time()
        claims: list[Claim] = []
        for uid, outcome in outcomes.items():
            claim = _claim_after(self._entries[uid], outcome.status, wall_s)
            if claim != self._entries[uid].claim:
                claims.append(claim)
        assignments = [o.assignment for o in outcomes.values() if o.assignment is not None]
        revisions: dict[str, int] = {}
        if claims or assignments or answered:
            revisions = self._registry.commit(
                Writes(claims=claims, assignments=assignments, answered=answered)
            )
        for claim in claims:
            self._tell(self._entries[claim.uid].claim, claim)
            self._entries[claim.uid].claim = claim
        for uid, outcome in outcomes.items():
            self._wait(uid, outcome, revisions, now_s)

    def _wait(self, uid: str, outcome: Outcome, revisions: dict[str, int], now_s: float) -> None:
        if outcome.waiting is Waiting.LOAD:
            self._loading.add(uid)
        else:
            self._loading.discard(uid)
        if outcome.waiting is Waiting.ACKS:
            written = outcome.assignment
            self._acking[uid] = outcome.acks if written is None else revisions[written.user_id]
        else:
            self._acking.pop(uid, None)
        source = self._entries[uid].declared
        refresh_s = source.model.spec.refresh_s if source and source.model else None
        if outcome.waiting is Waiting.RETRY:
            self._again.retry(uid, now_s)
        elif refresh_s is None:
            self._again.forget(uid)
        else:
            self._again.after(uid, now_s, refresh_s)

    def _tell(self, before: Claim | None, after: Claim) -> None:
        """Log what a person wants to know of: a TenantModel that changed between working and not."""
        state = conditions.state_in(after.conditions)
        if before is not None and state is conditions.state_in(before.conditions):
            return
        told: dict[str, Any] = {"tenant": f"{after.namespace}/{after.name}", "user": after.user_id}
        if state is State.STALLED:
            problem = after.conditions[0]
            log.warning("stalled", **told, reason=problem["reason"], message=problem["message"])
        elif state is State.READY:
            log.debug("ready", **told, model_id=after.model_id)


def _source(entry: _Entry) -> ModelSource | None:
    if entry.declared is None or entry.declared.model is None:
        return None
    return entry.declared.model.spec.model


def _bound_user(entry: _Entry) -> str | None:
    """The user of the first valid spec, which no later one may change."""
    return None if entry.claim is None else entry.claim.user_id


def _wanted_user(entry: _Entry) -> str | None:
    bound = _bound_user(entry)
    if bound is None and entry.declared is not None and entry.declared.model is not None:
        return entry.declared.model.spec.user_id
    return bound


def _created_at(entry: _Entry) -> float:
    if entry.claim is not None:
        return entry.claim.created_at
    return float("inf") if entry.declared is None else entry.declared.created_at


def _ended(row: Assignment) -> Assignment:
    return replace(row, model_id=None, candidate_id=None, size_bytes=None, deleted=True)


def _ready_with(claim: Claim | None, declared: Declaration) -> ModelId | None:
    """What a TenantModel was pinned to when it became ready, if that was for this very spec."""
    if (
        claim is None
        or claim.model_id is None
        or claim.observed_generation != declared.generation
        or conditions.state_in(claim.conditions) is not State.READY
    ):
        return None
    return ModelId.parse(claim.model_id)


def _status_before(claim: Claim | None) -> Status | None:
    if claim is None:
        return None
    state = conditions.state_in(claim.conditions)
    if state is None:
        return None
    said = claim.conditions[0]
    return Status(
        state,
        said["reason"],
        said["message"],
        claim.observed_generation,
        claim.model_id,
        claim.size_bytes,
    )


def _claim_after(entry: _Entry, status: Status, now_s: float) -> Claim:
    declared, before = entry.declared, entry.claim
    assert declared is not None  # noqa: S101 - for the type checker: only such are decided about
    spec = None if declared.model is None else declared.model.to_manifest()["spec"]
    return Claim(
        uid=declared.uid,
        namespace=declared.namespace,
        name=declared.name,
        user_id=_wanted_user(entry),
        created_at=declared.created_at,
        generation=declared.generation,
        spec=spec if spec is not None or before is None else before.spec,
        observed_generation=status.observed_generation,
        model_id=status.model_id,
        size_bytes=status.size_bytes,
        conditions=conditions.merge(before.conditions if before else [], status, now_s),
        origin=declared.origin,
    )
