"""The status of a TenantModel, and its form as conditions by the rules of kstatus (sigs.k8s.io/cli-utils).

| condition | True means | absent when |
| --- | --- | --- |
| Ready | every live server answers with exactly `modelId` for requests that start now | never |
| Reconciling | the operator is at work, or waits for something that time alone can bring | settled |
| Stalled | a person must act: the reason and the message say what is wrong and what to do | otherwise |

Everything inside decides by a `Status`. Conditions are written and read at the two edges only: in a row of
the registry, and on an object of the API server.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from tenantry.model_id import ModelId

READY = "Ready"


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
        keeps: say that this model keeps serving, although it is not what is declared now.
        broken: say that this model would, and that a server can't load it.
    """

    state: State
    reason: str
    message: str
    observed_generation: int
    model_id: str | None = None
    size_bytes: int | None = None
    keeps: bool = False
    broken: bool = False

    @property
    def text(self) -> str:
        """The message as conditions carry it, with the version that keeps serving."""
        if self.broken:
            return self.message + _broken(self.model_id)
        return self.message + _kept(self.model_id) if self.keeps else self.message


def since(
    before: Status | None, times: Mapping[str, str], status: Status, now_s: float
) -> Mapping[str, str]:
    """Return when each condition of `status` became what it is: its type -> RFC 3339.

    Args:
        before: the status that stood so far.
        times: of its conditions; one whose truth stays keeps its time.
        now_s: seconds since the epoch.

    Example:
        >>> since(None, {}, Status(State.READY, "Ready", "fine", 1), 0.0)
        {'Ready': '1970-01-01T00:00:00Z'}
    """
    now = _written(int(now_s))
    kept = dict(times)
    if before is None or (before.state is State.READY) != (status.state is State.READY):
        kept.pop(READY, None)
    return {kind: kept.get(kind, now) for kind in _truths(status.state)}


def conditions(status: Status, times: Mapping[str, str]) -> list[dict[str, Any]]:
    """Write a status as conditions.

    Args:
        times: as `since` returned them.
    """
    text = status.text
    return [
        {
            "type": kind,
            "status": "True" if true else "False",
            "reason": status.reason,
            "message": text,
            "observedGeneration": status.observed_generation,
            "lastTransitionTime": times.get(kind, ""),
        }
        for kind, true in _truths(status.state).items()
    ]


def read(
    documents: Sequence[Mapping[str, Any]],
    *,
    observed_generation: int,
    model_id: str | None,
    size_bytes: int | None,
) -> tuple[Status | None, dict[str, str]]:
    """Read a status back from its conditions.

    Returns:
        the status, and the times of its conditions; None where these are not conditions of ours.
    """
    true = {document.get("type") for document in documents if document.get("status") == "True"}
    state = next((state for state in State if state.value in true), None)
    if state is None:
        return None, {}
    text, kept, lost = str(documents[0].get("message", "")), _kept(model_id), _broken(model_id)
    keeps = bool(kept) and text.endswith(kept)
    broken = bool(lost) and text.endswith(lost)
    status = Status(
        state,
        str(documents[0].get("reason", "")),
        text.removesuffix(kept if keeps else lost if broken else ""),
        observed_generation,
        model_id,
        size_bytes,
        keeps,
        broken,
    )
    return status, {str(each.get("type")): str(each.get("lastTransitionTime", "")) for each in documents}


def _truths(state: State) -> dict[str, bool]:
    return {READY: True} if state is State.READY else {READY: False, state.value: True}


def _kept(model_id: str | None) -> str:
    return "" if model_id is None else f". Version {ModelId.parse(model_id).short} keeps serving"


def _broken(model_id: str | None) -> str:
    if model_id is None:
        return ""
    return f". Version {ModelId.parse(model_id).short} should serve meanwhile, and can't be loaded"


@lru_cache(maxsize=8)  # ten thousand TenantModels change within the same few seconds
def _written(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
