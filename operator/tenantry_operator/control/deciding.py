"""Asks the reconciler about one TenantModel, with everything that the operator knows of it."""

from collections.abc import Mapping

import structlog

from tenantry.manifest.status import State, Status
from tenantry.registry import Assignment, LoadReport
from tenantry_operator.conditions import INTERNAL_ERROR
from tenantry_operator.control.reconciler.decision import Observations, Outcome
from tenantry_operator.control.reconciler.reconcile import reconcile
from tenantry_operator.control.tracked import Entries
from tenantry_operator.fleet.view import Fleet

log = structlog.get_logger(__name__)


class Decider:
    """Gathers the observations of one decision.

    Args:
        entries: every TenantModel that the operator knows.
        fleet: the model servers.
    """

    def __init__(self, entries: Entries, fleet: Fleet) -> None:
        self._entries = entries
        self._fleet = fleet

    def decide(
        self, uid: str, rows: Mapping[str, Assignment], reports: Mapping[str, LoadReport]
    ) -> Outcome:
        """Return what to do about a TenantModel that its source has declared.

        Args:
            rows: assignments by user id.
            reports: of servers, by user id.
        """
        entry = self._entries[uid]
        declared = entry.declared
        assert declared is not None  # noqa: S101 - for the type checker: the caller chose such
        user_id = entry.user_id or ""
        try:
            seen = Observations(
                before=entry.status,
                bound_user=entry.bound_user,
                winner=self._winner(uid),
                bound_elsewhere=self._entries.bound_elsewhere(uid),
                denied=entry.denied,
                ceiling=entry.ceiling,
                artifact=entry.wanted,
                assignment=rows.get(user_id),
                servers=self._fleet.live,
                report=reports.get(user_id),
                faults=self._fleet.faults.get(user_id, ()),
            )
            return reconcile(declared, seen)
        except Exception as error:
            # A fault of ours in one TenantModel must not hold up the others.
            log.exception("reconcile failed", tenant=entry.title)
            problem = f"the operator failed on it ({type(error).__name__}); its log says why"
            return Outcome(Status(State.STALLED, INTERNAL_ERROR, problem, declared.generation))

    def _winner(self, uid: str) -> str | None:
        """The TenantModel that has the same user; None where this one has it, or none."""
        user_id = self._entries[uid].user_id
        if user_id is None:
            return None
        first = self._entries.winner(user_id)
        return None if first in (None, uid) else self._entries[first].title
