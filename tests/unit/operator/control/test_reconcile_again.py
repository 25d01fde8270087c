"""Decisions about a TenantModel that was decided about before."""

from dataclasses import replace

import pytest

from tenantry.errors import ArtifactError, ArtifactInvalid, ArtifactNotFound
from tenantry.manifest.status import State, Status
from tenantry.registry import Assignment
from tenantry_operator.control.reconciler.decision import Waiting
from tenantry_operator.declared import Declaration
from tests.support.operator.rollout import (
    URI,
    USER,
    A,
    B,
    C,
    Rollout,
    declaration,
    failed,
    invalid,
    loaded,
    settled,
    told,
)


def test_a_new_generation_with_the_same_model_is_ready_at_once() -> None:
    """Another refreshInterval, say: nothing has to be loaded, and no row is written."""
    rollout = Rollout()
    rollout.until_ready(declaration())
    outcome = rollout.decide(declaration(2))
    assert (outcome.status.state, outcome.status.observed_generation) == (State.READY, 2)
    assert outcome.assignment is None


def test_a_new_generation_after_a_failed_load_asks_the_servers_again() -> None:
    """A person acted, perhaps on the server or the bytes. Until it loads, it still is what failed."""
    rollout = Rollout()
    rollout.decide(declaration())
    rollout.decide(declaration(), A, failed(A))
    outcome = rollout.decide(declaration(2))
    assert outcome.status == Status(State.STALLED, "ArtifactInvalid", "no model", 2)
    assert outcome.waiting is Waiting.LOAD
    assert outcome.assignment is not None
    assert (outcome.assignment.generation, outcome.assignment.candidate_id) == (2, str(A))
    settled(rollout, declaration(2))


def test_a_new_generation_while_it_loads_waits_for_the_same_load() -> None:
    rollout = Rollout()
    rollout.decide(declaration())
    outcome = rollout.decide(declaration(2))
    assert told(outcome) == (State.RECONCILING, "Loading")
    assert (outcome.assignment, outcome.status.observed_generation) == (None, 2)


ASIDE: dict[str, tuple[Declaration, ArtifactError | None]] = {
    "a manifest that breaks": (invalid(2), None),
    "another user": (declaration(2, user_id="bob"), None),
    "an artifact that is not there": (declaration(2), ArtifactNotFound(URI)),
    "an artifact that never will do": (declaration(2), ArtifactInvalid(URI, "it is a folder")),
}


@pytest.mark.parametrize(("aside", "artifact"), ASIDE.values(), ids=ASIDE.keys())
def test_a_load_that_nobody_waited_for_is_asked_for_again(
    aside: Declaration, artifact: ArtifactError | None
) -> None:
    """Otherwise a report that came in between, and was removed, is waited for forever."""
    rollout = Rollout()
    rollout.decide(declaration())
    rollout.decide(aside, artifact)
    assert rollout.row is not None
    assert rollout.row.candidate_id is None
    settled(rollout, aside, artifact)
    outcome = rollout.decide(declaration(3))
    assert outcome.assignment is not None
    assert outcome.assignment.candidate_id == str(A)
    assert told(outcome) == (State.RECONCILING, "Loading")


def test_a_conflict_that_came_and_went_while_it_loaded() -> None:
    """The rival never got as far as a row of its own; the candidate is asked for again."""
    rollout = Rollout()
    rollout.decide(declaration())
    rollout.winner = "default/first"
    assert told(rollout.decide(declaration())) == (State.STALLED, "UserIdConflict")
    rollout.winner = None
    outcome = rollout.decide(declaration())
    assert told(outcome) == (State.RECONCILING, "Loading")
    assert outcome.assignment is not None
    assert outcome.assignment.candidate_id == str(A)


def test_a_loser_with_an_invalid_manifest_leaves_the_row_to_the_winner() -> None:
    rollout = Rollout()
    rollout.decide(declaration())
    rollout.winner = "default/first"
    assert rollout.decide(invalid(2), None).assignment is None


def test_new_bytes_in_the_same_generation() -> None:
    """`refreshInterval`: the artifact was overwritten in place."""
    rollout = Rollout()
    rollout.until_ready(declaration())
    assert told(rollout.decide(declaration(), B)) == (State.RECONCILING, "Loading")
    rollout.decide(declaration(), B, loaded(B))
    assert told(rollout.decide(declaration(), B)) == (State.RECONCILING, "RollingOut")
    rollout.ack()
    ready = rollout.decide(declaration(), B)
    assert (ready.status.state, ready.status.model_id) == (State.READY, str(B))


def test_new_bytes_after_ones_that_failed() -> None:
    rollout = Rollout()
    rollout.until_ready(declaration())
    rollout.decide(declaration(), B)
    assert rollout.decide(declaration(), B, failed(B)).status.state is State.STALLED
    fixed = rollout.decide(declaration(), C)
    assert told(fixed) == (State.RECONCILING, "Loading")
    assert fixed.assignment is not None
    assert fixed.assignment.candidate_id == str(C)
    rollout.decide(declaration(), C, loaded(C))
    rollout.ack()
    assert rollout.decide(declaration(), C).status.state is State.READY


def test_old_bytes_back_after_ones_that_failed() -> None:
    rollout = Rollout()
    rollout.until_ready(declaration())
    rollout.decide(declaration(), B)
    rollout.decide(declaration(), B, failed(B))
    rollout.decide(declaration(), A)
    rollout.ack()
    assert rollout.decide(declaration(), A).status.state is State.READY


def test_a_row_edited_by_hand_is_loaded_anew() -> None:
    rollout = Rollout()
    rollout.until_ready(declaration())
    assert rollout.row is not None
    rollout.row = replace(rollout.row, model_id="file:///evil.joblib")
    outcome = rollout.decide(declaration())
    assert outcome.assignment is not None
    assert outcome.assignment.candidate_id == str(A)
    assert outcome.status.state is State.RECONCILING


def test_a_wish_to_prewarm_is_in_every_row() -> None:
    rollout = Rollout()
    rollout.until_ready(declaration(prewarm=True))
    rollout.decide(declaration(2, prewarm=True), B)
    rollout.decide(declaration(2, prewarm=True), B, loaded(B))
    rollout.decide(declaration(3, prewarm=True), ArtifactNotFound(URI))
    assert [row.prewarm for row in rollout.written] == [True] * len(rollout.written)
    assert len(rollout.written) == 4


@pytest.mark.parametrize("before", [False, True])
def test_a_changed_wish_to_prewarm_is_written_and_ready_at_once(before: bool) -> None:
    """The same model answers, so nobody has to acknowledge anything: one status for the generation."""
    rollout = Rollout()
    rollout.until_ready(declaration(prewarm=before))
    outcome = rollout.decide(declaration(2, prewarm=not before))
    assert outcome.assignment == Assignment(
        USER, "uid-ann", 2, str(A), None, 2, size_bytes=1000, prewarm=not before
    )
    assert (told(outcome), outcome.status.observed_generation) == ((State.READY, "Ready"), 2)
    assert outcome.waiting is Waiting.NOTHING
    settled(rollout, declaration(2, prewarm=not before))


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 3)])
def test_a_changed_number_of_replicas_is_written_and_ready_at_once(before: int, after: int) -> None:
    rollout = Rollout()
    rollout.until_ready(declaration(replicas=before))
    assert rollout.row is not None
    assert rollout.row.replicas == before
    outcome = rollout.decide(declaration(2, replicas=after))
    wanted = Assignment(USER, "uid-ann", 2, str(A), None, 2, size_bytes=1000, replicas=after)
    assert outcome.assignment == wanted
    assert (told(outcome), outcome.status.observed_generation) == ((State.READY, "Ready"), 2)
    settled(rollout, declaration(2, replicas=after))


def test_a_changed_wish_in_the_middle_of_an_update_changes_nothing_else() -> None:
    rollout = Rollout()
    rollout.until_ready(declaration())
    rollout.decide(declaration(2), B)
    outcome = rollout.decide(declaration(3, prewarm=True), B)
    assert told(outcome) == (State.RECONCILING, "Loading")
    assert rollout.row == Assignment(USER, "uid-ann", 3, str(A), str(B), 4, size_bytes=1000, prewarm=True)
    settled(rollout, declaration(3, prewarm=True), B)
    rollout.decide(declaration(3, prewarm=True), B, loaded(B))
    assert rollout.row is not None
    assert (rollout.row.model_id, rollout.row.prewarm) == (str(B), True)


def test_a_wish_that_was_edited_by_hand_is_put_right() -> None:
    rollout = Rollout()
    rollout.until_ready(declaration(prewarm=True))
    assert rollout.row is not None
    rollout.row = replace(rollout.row, prewarm=False)
    outcome = rollout.decide(declaration(prewarm=True))
    assert told(outcome) == (State.READY, "Ready")
    assert rollout.row.prewarm
    settled(rollout, declaration(prewarm=True))
