"""Whether a version that was declared is in service by now: read from a TenantModel, and nothing else.

A pure function for everything that waits: `tenantry publish --wait`, and a pipeline's sensor. It takes a
TenantModel in the form in which an API server returns it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tenantry.manifest.status import READY, State
from tenantry.model_id import ModelId


class Progress(StrEnum):
    """How far a declared version is."""

    READY = "Ready"
    WAITING = "Waiting"
    STALLED = "Stalled"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a TenantModel says of the version that is waited for.

    Attributes:
        progress: READY: every live server answers with it. WAITING: ask again. STALLED: a person must act.
        reason: the CamelCase reason of the condition; empty where the operator has not decided yet.
        message: for people: what was seen, and what to do.
    """

    progress: Progress
    reason: str
    message: str


def judge(
    seen: Mapping[str, Any] | None,
    *,
    uri: str | None = None,
    sha256: str | None = None,
    generation: int | None = None,
) -> Verdict:
    """Judge a TenantModel by its conditions, their generation, and the model that answers.

    A status counts only if it is about the newest generation: what is said of an older one is about another
    version.

    Args:
        seen: the object: ``metadata.generation``, ``spec.model`` and ``status``; None: there is none yet.
        uri: of the artifact that is waited for; None: whatever is declared.
        sha256: of its bytes; None: any.
        generation: that declared this version, where the API server said so; a later one that names another
            artifact has taken its place. None: not known.

    Example:
        >>> ready = {"type": "Ready", "status": "True", "reason": "Ready", "message": "all servers answer"}
        >>> model_id = "s3://m/b.joblib#etag=1"
        >>> seen = {
        ...     "metadata": {"generation": 2},
        ...     "spec": {"model": {"uri": "s3://m/b.joblib"}},
        ...     "status": {"observedGeneration": 2, "modelId": model_id, "conditions": [ready]},
        ... }
        >>> judge(seen, uri="s3://m/b.joblib").progress
        <Progress.READY: 'Ready'>
        >>> judge(seen | {"metadata": {"generation": 3}}).message
        'the operator has decided about generation 2, and generation 3 is declared'
    """
    if seen is None:
        return _waiting("the operator has not read this TenantModel yet")
    declared = _mapping(_mapping(seen, "spec"), "model")
    newest = int(_mapping(seen, "metadata").get("generation", 0))
    if not _names(declared, uri, sha256):
        other = declared.get("uri", "no artifact")
        if generation is not None and newest > generation:
            return Verdict(
                Progress.STALLED, "Replaced", f"another version was declared since: {other}; wait for that"
            )
        return _waiting(f"the operator knows {other}, and has not read this version yet")
    status = _mapping(seen, "status")
    observed = int(status.get("observedGeneration", -1))
    if observed < newest:
        known = "nothing yet" if observed < 0 else f"generation {observed}"
        return _waiting(f"the operator has decided about {known}, and generation {newest} is declared")
    return _of_conditions(status, uri, sha256)


def _of_conditions(status: Mapping[str, Any], uri: str | None, sha256: str | None) -> Verdict:
    conditions = {str(each.get("type")): each for each in status.get("conditions") or ()}
    true = {kind for kind, each in conditions.items() if each.get("status") == "True"}
    said = conditions.get(State.STALLED if State.STALLED in true else READY, {})
    reason, message = str(said.get("reason", "")), str(said.get("message", ""))
    if State.STALLED in true:
        return Verdict(Progress.STALLED, reason, message)
    if READY not in true:
        return Verdict(Progress.WAITING, reason, message or "the operator has not decided yet")
    answers = ModelId.parse(str(status.get("modelId") or ""))
    if (uri and answers.uri != uri) or (sha256 and answers.sha256 not in (None, sha256)):
        return Verdict(Progress.WAITING, reason, f"{answers} answers, which is another version")
    return Verdict(Progress.READY, reason, message)


def _names(declared: Mapping[str, Any], uri: str | None, sha256: str | None) -> bool:
    """Return whether ``spec.model`` declares the artifact."""
    return uri in (None, declared.get("uri")) and sha256 in (None, declared.get("sha256"))


def _waiting(message: str) -> Verdict:
    return Verdict(Progress.WAITING, "", message)


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}
