"""What a server that can't load the model in force means for its TenantModel. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from tenantry import ModelId
from tenantry.errors import ArtifactAccessDenied, ArtifactChanged, ArtifactNotFound
from tenantry.manifest.status import State, Status
from tenantry.registry import Assignment, Fault, FaultState

_DOUBTED = FaultState.DOUBTED
_OF_THE_STORE = (ArtifactNotFound.reason, ArtifactChanged.reason, ArtifactAccessDenied.reason)


def fault_of(serving: Assignment | None, faults: Sequence[Fault]) -> Fault | None:
    """Return the oldest fault of the model in force: its words stay while more servers see the same."""
    if serving is None or serving.model_id is None:
        return None
    return next((f for f in faults if f.model_id == serving.model_id and f.state is not _DOUBTED), None)


def state_of(fault: Fault) -> State:
    """Return whether time alone may mend it, or a person must act."""
    return State.RECONCILING if fault.state is FaultState.RETRYING else State.STALLED


def words(fault: Fault) -> str:
    """Return what a person reads: which server, which version, and what its load ended with."""
    version = ModelId.parse(fault.model_id).short
    return f"{fault.server_id} can't load version {version} any more: {fault.reason}: {fault.message}"


def asks_store(fault: Fault) -> bool:
    """Return whether to look up the artifact again: it may be published again under the same name."""
    return fault.reason in _OF_THE_STORE


def ready_words(serving: Assignment, faults: Sequence[Fault]) -> str:
    """Return the message of Ready, with what servers doubt in it: all of them say so in the same words."""
    version = ModelId.parse(str(serving.model_id)).short
    doubts = {f.message for f in faults if f.model_id == serving.model_id and f.state is _DOUBTED}
    return "; ".join([f"version {version} answers on every server", *sorted(doubts)])


def said(status: Status, serving: Assignment | None, faults: Sequence[Fault]) -> Status:
    """Return a verdict that does not claim that a version keeps serving which a server can't load."""
    if status.keeps and fault_of(serving, faults) is not None:
        return replace(status, keeps=False, broken=True)
    return status


def kept(before: Status, serving: Assignment) -> Status:
    """Return an earlier verdict on a candidate, with the version that answers meanwhile."""
    return replace(before, keeps=serving.model_id is not None, broken=False)
