"""Finds and repairs what differs between the registry and the operator's memory, such as manual edits."""

from dataclasses import replace

import structlog

from tenantry.registry import Assignment, OperatorRegistry, Writes
from tenantry_operator.control.tracked import Entries

log = structlog.get_logger(__name__)


def repair(registry: OperatorRegistry, entries: Entries) -> None:
    """Restore claims and end unknown ones; the reconciler restores assignments.

    Raises:
        LeadershipLost, RegistryUnavailable: as for every write.
    """
    orphans = [
        ended(row)
        for row in registry.assigned().values()
        if row.uid not in entries or entries[row.uid].user_id != row.user_id
    ]
    if orphans:
        log.warning("ending assignments without a TenantModel", count=len(orphans))
    stored = {claim.uid: claim for claim in registry.claims()}
    edited = [claim for uid, claim in entries.claims().items() if stored.get(uid) != claim]
    strangers = [uid for uid in stored if uid not in entries]
    bound = registry.bindings().all()
    bindings = {user: name for user, name in entries.bindings.items() if bound.get(user) != name}
    if bindings:
        log.warning("restoring bindings of users that were edited", count=len(bindings))
    if edited or strangers:
        log.warning("restoring claims that were edited", edited=len(edited), unknown=len(strangers))
    if orphans or edited or strangers or bindings:
        registry.commit(Writes(claims=edited, forgotten=strangers, assignments=orphans, bindings=bindings))


def ended(row: Assignment) -> Assignment:
    """Return its tombstone."""
    return replace(row, model_id=None, candidate_id=None, size_bytes=None, deleted=True)
