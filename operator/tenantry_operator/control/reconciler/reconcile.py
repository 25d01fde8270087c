"""What to do about one TenantModel: a pure function of what was declared and what was observed.

An update goes through two revisions. First it is a candidate, which only the owner of the user's
shard loads, beside the model that answers. Once that worked, it becomes the model of all servers, and
Ready is said when every live server has put that revision in force. So no server ever gives up a
model that works for one that doesn't, and Ready can't be early.
"""

from dataclasses import replace

from tenantry.errors import ArtifactError, ModelOverLimit
from tenantry.manifest.status import State, Status
from tenantry.registry import Assignment, LoadState
from tenantry_operator import conditions
from tenantry_operator.conditions import (
    DEGRADED,
    INTERNAL_ERROR,
    INVALID_MANIFEST,
    LOADING,
    NO_SERVER,
    POLICY_DENIED,
    RESOLVING,
    ROLLING_OUT,
    USER_ID_BOUND,
)
from tenantry_operator.control.reconciler import degraded, wishes
from tenantry_operator.control.reconciler.decision import Observations, Outcome, Waiting
from tenantry_operator.declared import Declaration


def reconcile(declared: Declaration, seen: Observations) -> Outcome:
    """Decide about one TenantModel."""
    serving = _serving(declared, seen.assignment)
    outcome = _decided(declared, seen, serving)
    return replace(outcome, status=degraded.said(outcome.status, serving, seen.faults))


def _decided(declared: Declaration, seen: Observations, serving: Assignment | None) -> Outcome:
    if declared.model is None:
        problem = str(declared.problem)
        return _withdrawing(declared, seen, serving, _stalled(declared, serving, INVALID_MANIFEST, problem))
    user_id = declared.model.spec.user_id
    if seen.bound_user not in (None, user_id):
        words = conditions.immutable(seen.bound_user, user_id)
        refused = _stalled(declared, serving, _IMMUTABLE, words)
        return _withdrawing(declared, seen, serving, refused)
    if seen.denied is not None:
        refused = _stalled(declared, serving, POLICY_DENIED, seen.denied)
        return _withdrawing(declared, seen, serving, refused)
    if seen.winner is not None:
        return _stalled(declared, None, _CONFLICT, conditions.conflict(user_id, seen.winner))
    if seen.bound_elsewhere is not None:
        bound = conditions.bound(user_id, seen.bound_elsewhere)
        return _stalled(declared, None, USER_ID_BOUND, bound)
    if isinstance(seen.artifact, ArtifactError):
        unresolved = _unresolved(declared, user_id, serving, seen.artifact)
        outcome = _withdrawing(declared, seen, serving, unresolved)
    elif seen.artifact is None:
        outcome = _reconciling(declared, serving, RESOLVING, "looking up the artifact", Waiting.RETRY)
    else:
        outcome = _roll_out(declared, seen, user_id, str(seen.artifact), serving)
    return wishes.written(declared, seen, serving, outcome)


_IMMUTABLE, _CONFLICT = "UserIdImmutable", "UserIdConflict"
# About something other than a load.
_ELSEWHERE = (INVALID_MANIFEST, _IMMUTABLE, _CONFLICT, USER_ID_BOUND, POLICY_DENIED, INTERNAL_ERROR)


def _unresolved(
    declared: Declaration, user_id: str, serving: Assignment | None, error: ArtifactError
) -> Outcome:
    if error.retryable:
        outcome = _reconciling(declared, serving, error.reason, str(error), Waiting.RETRY)
    else:
        outcome = _stalled(declared, serving, error.reason, str(error))
    if serving is None:  # servers then say "not ready", not "unknown"
        return replace(outcome, assignment=Assignment(user_id, declared.uid, declared.generation, None))
    return outcome


def _withdrawing(
    declared: Declaration, seen: Observations, serving: Assignment | None, outcome: Outcome
) -> Outcome:
    """Take the candidate back: no decision waits for a server's report on it now."""
    if serving is None or serving.candidate_id is None or seen.winner is not None:
        return outcome
    return replace(outcome, assignment=_next(serving, declared, candidate_id=None))


def _roll_out(
    declared: Declaration,
    seen: Observations,
    user_id: str,
    wanted: str,
    serving: Assignment | None,
) -> Outcome:
    if serving is None:
        # Nothing of this TenantModel yet: the model of a former one must not answer for it.
        first = Assignment(user_id, declared.uid, declared.generation, None, wanted)
        return _loading(declared, seen, None, first)
    if serving.model_id == wanted:
        return _spread(declared, seen, wanted, serving)
    if serving.candidate_id != wanted:
        return _loading(declared, seen, serving, _next(serving, declared, candidate_id=wanted))
    report = seen.report if seen.report and seen.report.model_id == wanted else None
    if report is None:
        return _unreported(declared, seen, serving)
    match report.state:
        case LoadState.LOADED:
            promoted = replace(
                _next(serving, declared, candidate_id=None),
                model_id=wanted,
                size_bytes=report.size_bytes,
            )
            status = _status(declared, promoted, State.RECONCILING, ROLLING_OUT, _WORDS_ROLLING_OUT)
            return Outcome(status, Waiting.ACKS, promoted)
        case LoadState.RETRYING:
            return _reconciling(declared, serving, report.reason, report.message, Waiting.LOAD)
        case LoadState.FAILED:
            failed = _stalled(declared, serving, report.reason, report.message)
            return replace(failed, waiting=Waiting.LOAD)


_WORDS_ROLLING_OUT = "loaded; waiting until every server answers with it"


def _unreported(declared: Declaration, seen: Observations, serving: Assignment) -> Outcome:
    """Decide where the candidate is written, and no new report on it came."""
    before = seen.before
    asked = _next(serving, declared, candidate_id=serving.candidate_id)
    if before is None or before.reason in _ELSEWHERE:
        # A report may have come while no decision waited for it: ask again.
        return _loading(declared, seen, serving, asked)
    current = before.observed_generation == declared.generation
    if before.state is State.STALLED and not current:
        # A person acted, so ask again; until a server reports, the former failure stands.
        said = replace(degraded.kept(before, serving), observed_generation=declared.generation)
        return Outcome(said, Waiting.LOAD, asked)
    if before.state is State.READY or before.reason in (LOADING, NO_SERVER) or not current:
        return _loading(declared, seen, serving, None)
    return Outcome(
        degraded.kept(before, serving), Waiting.LOAD
    )  # what a server reported last; it may try again


def _spread(declared: Declaration, seen: Observations, wanted: str, serving: Assignment) -> Outcome:
    """Decide where the wanted model answers: is it in force on every server?"""
    if serving.candidate_id is not None:
        back = _next(serving, declared, candidate_id=None)
        status = _status(declared, back, State.RECONCILING, ROLLING_OUT, "going back")
        return Outcome(status, Waiting.ACKS, back)
    oversized = wishes.oversized(declared, seen, serving)
    if oversized is not None:
        return _stalled(declared, serving, ModelOverLimit.reason, oversized)
    fault = degraded.fault_of(serving, seen.faults)
    if fault is not None:
        said = _status(declared, serving, degraded.state_of(fault), DEGRADED, degraded.words(fault))
        return Outcome(said, Waiting.RETRY if degraded.asks_store(fault) else Waiting.NOTHING)
    before, message = seen.before, degraded.ready_words(serving, seen.faults)
    if before and _is_about(before, declared, State.READY) and before.model_id == wanted:
        return Outcome(replace(before, message=message))
    behind = [s.server_id for s in seen.servers if s.acked_revision < serving.revision]
    if behind or not seen.servers:
        reason = ROLLING_OUT if behind else NO_SERVER
        waits = f"loaded; waiting for {', '.join(behind[:5])}" if behind else _WORDS_NO_SERVER
        status = _status(declared, serving, State.RECONCILING, reason, waits)
        return Outcome(status, Waiting.ACKS, acks=serving.revision)
    return Outcome(_status(declared, serving, State.READY, "Ready", message))


_WORDS_NO_SERVER = "no model server is running; start one, and it will be loaded"


def _loading(
    declared: Declaration, seen: Observations, serving: Assignment | None, write: Assignment | None
) -> Outcome:
    if seen.servers:
        status = _status(
            declared, serving, State.RECONCILING, LOADING, "a server is loading it", keeps=True
        )
    else:
        status = _status(declared, serving, State.RECONCILING, NO_SERVER, _WORDS_NO_SERVER)
    return Outcome(status, Waiting.LOAD, write)


def _next(serving: Assignment, declared: Declaration, *, candidate_id: str | None) -> Assignment:
    return replace(serving, uid=declared.uid, generation=declared.generation, candidate_id=candidate_id)


def _serving(declared: Declaration, assignment: Assignment | None) -> Assignment | None:
    if assignment is None or assignment.deleted or assignment.uid != declared.uid:
        return None
    return assignment


def _is_about(before: Status, declared: Declaration, state: State) -> bool:
    return before.state is state and before.observed_generation == declared.generation


def _reconciling(
    declared: Declaration, serving: Assignment | None, reason: str, message: str, waiting: Waiting
) -> Outcome:
    status = _status(declared, serving, State.RECONCILING, reason, message, keeps=True)
    return Outcome(status, waiting)


def _stalled(declared: Declaration, serving: Assignment | None, reason: str, message: str) -> Outcome:
    return Outcome(_status(declared, serving, State.STALLED, reason, message, keeps=True))


def _status(
    declared: Declaration,
    serving: Assignment | None,
    state: State,
    reason: str,
    message: str,
    *,
    keeps: bool = False,
) -> Status:
    model_id = None if serving is None else serving.model_id
    return Status(
        state,
        reason,
        message,
        declared.generation,
        model_id,
        None if serving is None else serving.size_bytes,
        keeps=keeps and model_id is not None,
    )
