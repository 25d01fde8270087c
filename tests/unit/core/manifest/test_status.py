"""A status as conditions, and read back from them."""

from typing import Any

import pytest

from tenantry.manifest import status
from tenantry.manifest.status import State, Status

A = "file:///m.joblib#sha256=aaaaaaaa11"
EPOCH, HOUR = "1970-01-01T00:00:00Z", "1970-01-01T01:00:00Z"


def status_in(state: State, reason: str = "Because", generation: int = 1) -> Status:
    return Status(state, reason, "words", generation)


def written(said: Status, now_s: float = 0.0) -> list[dict[str, Any]]:
    return status.conditions(said, status.since(None, {}, said, now_s))


@pytest.mark.parametrize(
    "said",
    [
        *(status_in(state) for state in State),
        Status(State.READY, "Ready", "fine", 3, A, 7),
        Status(State.STALLED, "InvalidManifest", "ann.yaml:6: broken", 3, A, 7, keeps=True),
        Status(State.RECONCILING, "RollingOut", "loaded; waiting for b", 3, A, None),
    ],
    ids=lambda said: f"{said.state} {said.reason}",
)
def test_a_status_survives_the_way_through_conditions(said: Status) -> None:
    times = status.since(None, {}, said, 0.0)
    read = status.read(
        status.conditions(said, times),
        observed_generation=said.observed_generation,
        model_id=said.model_id,
        size_bytes=said.size_bytes,
    )
    assert read == (said, times)


def test_the_message_names_the_version_that_keeps_serving() -> None:
    said = Status(State.STALLED, "InvalidManifest", "broken", 3, A, 7, keeps=True)
    assert written(said)[0]["message"] == "broken. Version aaaaaaaa keeps serving"
    assert said.message == "broken", "a source compares it with what it reads after a restart"


def test_ready_is_always_there() -> None:
    """`kubectl wait --for=condition=Ready` and dashboards read it, True or False."""
    for state in State:
        truths = {c["type"]: c["status"] for c in written(status_in(state))}
        assert truths["Ready"] == ("True" if state is State.READY else "False")


@pytest.mark.parametrize(
    ("state", "types"),
    [
        (State.READY, ["Ready"]),
        (State.RECONCILING, ["Ready", "Reconciling"]),
        (State.STALLED, ["Ready", "Stalled"]),
    ],
)
def test_only_one_of_reconciling_and_stalled_is_there(state: State, types: list[str]) -> None:
    """By kstatus's rules an abnormal condition is absent, not False."""
    assert [c["type"] for c in written(status_in(state))] == types


def test_repeating_a_condition_keeps_its_transition_time() -> None:
    """Dashboards read that time as "since when", not "last checked"."""
    before, after = status_in(State.READY, "Ready", 1), status_in(State.READY, "Ready", 2)
    times = status.since(before, status.since(None, {}, before, 0.0), after, 3600.0)
    (ready,) = status.conditions(after, times)
    assert (ready["lastTransitionTime"], ready["observedGeneration"]) == (EPOCH, 2)


@pytest.mark.parametrize(
    ("before", "after", "times"),
    [
        (State.RECONCILING, State.READY, {"Ready": HOUR}),
        (State.READY, State.STALLED, {"Ready": HOUR, "Stalled": HOUR}),
        (State.RECONCILING, State.STALLED, {"Ready": EPOCH, "Stalled": HOUR}),
        (State.STALLED, State.STALLED, {"Ready": EPOCH, "Stalled": EPOCH}),
    ],
)
def test_only_a_changed_truth_has_a_new_transition_time(
    before: State, after: State, times: dict[str, str]
) -> None:
    first = status_in(before, "One")
    second = status_in(after, "Another")
    assert status.since(first, status.since(None, {}, first, 0.0), second, 3600.0) == times


@pytest.mark.parametrize(
    "documents",
    [[], [{}], [{"type": "Ready"}], [{"type": "Ready", "status": "False"}], [{"type": "Other"}]],
)
def test_conditions_edited_by_hand_are_not_a_status(documents: list[dict[str, Any]]) -> None:
    """Somebody's UPDATE of a row must not end the operator."""
    read = status.read(documents, observed_generation=1, model_id=A, size_bytes=None)
    assert read == (None, {})
