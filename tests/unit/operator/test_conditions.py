"""The conditions that a state becomes, and the way back."""

from typing import Any

import pytest

from tenantry_operator.conditions import State, Status, merge, state_in


def told(state: State, reason: str = "Because", generation: int = 1) -> Status:
    return Status(state, reason, "words", generation)


@pytest.mark.parametrize("state", State)
def test_a_state_survives_the_way_through_conditions(state: State) -> None:
    assert state_in(merge([], told(state), 0.0)) is state


def test_ready_is_always_there() -> None:
    """`kubectl wait --for=condition=Ready` and dashboards look for it, True or False."""
    for state in State:
        conditions = {c["type"]: c["status"] for c in merge([], told(state), 0.0)}
        assert conditions["Ready"] == ("True" if state is State.READY else "False")


def test_only_one_of_reconciling_and_stalled_is_there() -> None:
    """By kstatus's rules an abnormal condition is absent, not False."""
    before = merge([], told(State.RECONCILING), 0.0)
    after = merge(before, told(State.STALLED), 1.0)
    assert [c["type"] for c in after] == ["Ready", "Stalled"]
    assert [c["type"] for c in merge(after, told(State.READY), 2.0)] == ["Ready"]


def test_repeating_a_condition_keeps_its_transition_time() -> None:
    """Dashboards read that time as "since when", not "last checked"."""
    before = merge([], told(State.READY, "Ready", 1), 0.0)
    after = merge(before, told(State.READY, "Ready", 2), 3600.0)
    assert after[0]["lastTransitionTime"] == before[0]["lastTransitionTime"] == "1970-01-01T00:00:00Z"
    assert after[0]["observedGeneration"] == 2


def test_a_changed_truth_has_a_new_transition_time() -> None:
    before = merge([], told(State.RECONCILING), 0.0)
    after = merge(before, told(State.READY), 3600.0)
    assert after[0]["lastTransitionTime"] == "1970-01-01T01:00:00Z"


def test_another_reason_alone_is_no_transition() -> None:
    before = merge([], told(State.STALLED, "InvalidManifest"), 0.0)
    after = merge(before, told(State.STALLED, "UserIdConflict"), 60.0)
    assert {c["lastTransitionTime"] for c in after} == {"1970-01-01T00:00:00Z"}
    assert {c["reason"] for c in after} == {"UserIdConflict"}


@pytest.mark.parametrize("before", [[{}], [{"type": "Ready"}], [{"type": "Ready", "status": "False"}]])
def test_conditions_edited_by_hand_are_written_anew(before: list[dict[str, Any]]) -> None:
    """Somebody's UPDATE of a row must not end the operator."""
    assert merge(before, told(State.STALLED), 0.0) == merge([], told(State.STALLED), 0.0)


@pytest.mark.parametrize("conditions", [[], [{"type": "Ready", "status": "False"}], [{"type": "Other"}]])
def test_no_state_of_ours(conditions: list[dict[str, Any]]) -> None:
    assert state_in(conditions) is None
