"""The conditions of a TenantModel, by kstatus's rules (sigs.k8s.io/cli-utils, pkg/kstatus).

| condition | True means | absent when |
| --- | --- | --- |
| Ready | every live server answers with exactly `modelId` for requests that start now | never |
| Reconciling | the operator is at work, or waits for something that time alone can bring | settled |
| Stalled | a person must act: the reason and the message say what is wrong and what to do | otherwise |
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

INVALID_MANIFEST = "InvalidManifest"
RESOLVING, LOADING, ROLLING_OUT, NO_SERVER = "Resolving", "Loading", "RollingOut", "NoServer"
UNDER_WAY = (RESOLVING, LOADING, ROLLING_OUT)
INTERNAL_ERROR = "InternalError"


class State(StrEnum):
    """Where a TenantModel stands; each is one combination of conditions."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


@dataclass(frozen=True, slots=True)
class Status:
    """What the operator says of one TenantModel.

    Attributes:
        state: which conditions are True.
        reason: one CamelCase word, stable, for programs.
        message: for people: what was seen and what to do.
        observed_generation: the generation that this is about.
        model_id: what answers for the user now; None: nothing does.
        size_bytes: of that model in memory.
    """

    state: State
    reason: str
    message: str
    observed_generation: int
    model_id: str | None = None
    size_bytes: int | None = None


def merge(before: Sequence[dict[str, Any]], status: Status, now_s: float) -> list[dict[str, Any]]:
    """The conditions for `status`; one whose truth stays keeps its transition time.

    Args:
        before: the conditions that stood so far.
        now_s: seconds since the epoch.

    Example:
        >>> merge([], Status(State.READY, "Ready", "fine", 1), 0.0)[0]["lastTransitionTime"]
        '1970-01-01T00:00:00Z'
    """
    truths = {"Ready": status.state is State.READY}
    if status.state is not State.READY:
        truths[status.state.value] = True
    old = {condition.get("type"): condition for condition in before}
    now = _written(int(now_s))
    merged = []
    for kind, true in truths.items():
        value = "True" if true else "False"
        was = old.get(kind, {})
        since = was.get("lastTransitionTime") if was.get("status") == value else None
        merged.append(
            {
                "type": kind,
                "status": value,
                "reason": status.reason,
                "message": status.message,
                "observedGeneration": status.observed_generation,
                "lastTransitionTime": since or now,
            }
        )
    return merged


@lru_cache(maxsize=8)  # ten thousand TenantModels change within the same few seconds
def _written(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def state_in(conditions: Sequence[dict[str, Any]]) -> State | None:
    """The state that a list of conditions expresses; None: none yet, or none of ours."""
    true = {c.get("type") for c in conditions if c.get("status") == "True"}
    return next((state for state in State if state.value in true), None)


_KEPT = re.compile(r"\. Version \S+ keeps serving\Z")


def told_problem(conditions: Sequence[Mapping[str, Any]]) -> str:
    """The broken rule that these conditions tell of; empty where they tell of none."""
    said = next((c for c in conditions if c.get("reason") == INVALID_MANIFEST), {})
    return _KEPT.sub("", str(said.get("message", "")))
