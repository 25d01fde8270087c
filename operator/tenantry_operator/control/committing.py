"""Writes decisions in one transaction, and then tells the observer, the metrics and the log."""

import time
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import structlog

from tenantry.manifest.status import State
from tenantry.registry import Claim, LoadReport, OperatorRegistry, Writes
from tenantry_operator.conditions import INVALID_MANIFEST
from tenantry_operator.control.entry import Entry
from tenantry_operator.control.reconciler.decision import Outcome, Waiting
from tenantry_operator.control.tracked import Entries
from tenantry_operator.control.waits import Waits
from tenantry_operator.declared import Observer
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.tracing import Step

log = structlog.get_logger(__name__)

_STEPS = {Waiting.LOAD: Step.WAIT_FOR_LOAD, Waiting.ACKS: Step.WAIT_FOR_ACKS}


class Committer:
    """Puts outcomes in force.

    Args:
        registry: led by this operator.
        entries: every TenantModel that the operator knows.
        waits: what each waits for afterwards.
        metrics: of the operator.
        observer: hears of each new status.
    """

    def __init__(
        self,
        registry: OperatorRegistry,
        entries: Entries,
        waits: Waits,
        metrics: OperatorMetrics,
        observer: Observer,
    ) -> None:
        self._registry = registry
        self._entries = entries
        self._waits = waits
        self._metrics = metrics
        self._observer = observer

    def drop_unwanted(self, reports: Mapping[str, LoadReport], undecided: Collection[str]) -> None:
        """Delete reports that no undecided TenantModel waits for; else every pass would read them again.

        Args:
            reports: by user id.
            undecided: uids.
        """
        waiting = set(undecided)
        unwanted = [
            report
            for user_id, report in reports.items()
            if waiting.isdisjoint(self._entries.of_user(user_id))
        ]
        if unwanted:
            self._registry.commit(Writes(answered=unwanted))

    def commit(self, outcomes: Mapping[str, Outcome], answered: Sequence[LoadReport], now_s: float) -> None:
        """Write what changed; nothing where nothing did.

        Args:
            outcomes: by uid.
            answered: reports that these outcomes take into account.
            now_s: by the monotonic clock.

        Raises:
            LeadershipLost, RegistryUnavailable: nothing was written.
        """
        wall_s = time.time()
        claims: list[Claim] = []
        for uid, outcome in outcomes.items():
            claim = self._entries[uid].claim_with(outcome.status, wall_s)
            if claim != self._entries[uid].claim:
                claims.append(claim)
        bindings = self._new_bindings(outcomes)
        assignments = [o.assignment for o in outcomes.values() if o.assignment is not None]
        revisions: dict[str, int] = {}
        if claims or assignments or answered or bindings:
            with self._metrics.changes.step(Step.COMMIT, outcomes):
                revisions = self._registry.commit(
                    Writes(claims=claims, assignments=assignments, answered=answered, bindings=bindings)
                )
        self._entries.bindings |= bindings
        self._metrics.decisions.inc(len(outcomes))
        self._trace(outcomes, {claim.uid for claim in claims})
        for claim in claims:
            self._announce(self._entries[claim.uid], claim, now_s)
            self._entries[claim.uid].claim = claim
            self._observer.decided(claim)
        for uid, outcome in outcomes.items():
            refresh_s = self._entries[uid].refresh_s
            self._waits.begin(uid, outcome, revisions, refresh_s=refresh_s, now_s=now_s)

    def _trace(self, outcomes: Mapping[str, Outcome], news: AbstractSet[str]) -> None:
        for uid, outcome in outcomes.items():
            user_id, waits = self._entries[uid].user_id, _STEPS.get(outcome.waiting)
            self._metrics.changes.decided(uid, user_id, outcome.status, waits, is_news=uid in news)

    def _new_bindings(self, uids: Collection[str]) -> dict[str, str]:
        """Return the namespace of each user that one of these has and that belongs to none yet."""
        found: dict[str, str] = {}
        for uid in uids:
            user_id = self._entries[uid].user_id
            if (
                user_id is not None
                and user_id not in self._entries.bindings
                and self._entries.winner(user_id) == uid
            ):
                found[user_id] = self._entries[uid].namespace
        return found

    def _announce(self, entry: Entry, after: Claim, now_s: float) -> None:
        """Count and log a change between working and not working."""
        before, status = entry.state, after.status
        assert status is not None  # noqa: S101 - for the type checker: it was just decided
        self._metrics.moved(entry.status, status)
        if status.state is State.READY and entry.declared_at_s is not None:
            self._metrics.ready_s.observe(now_s - entry.declared_at_s)
            entry.declared_at_s = None
        if entry.claim is not None and status.state is before:
            return
        named: dict[str, Any] = {"tenant": f"{after.namespace}/{after.name}", "user": after.user_id}
        if status.state is State.STALLED and status.reason != INVALID_MANIFEST:  # logged when it was read
            log.warning("stalled", **named, reason=status.reason, message=status.text)
        elif status.state is State.READY:
            log.debug("ready", **named, model_id=after.model_id)
