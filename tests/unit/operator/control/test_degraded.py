"""Ready is taken back where a server can't load the model in force, and given again."""

from dataclasses import replace

from tenantry.errors import ArtifactInvalid, ArtifactNotFound
from tenantry.manifest.status import State, Status, conditions, read
from tenantry.registry import Fault, FaultState
from tenantry_operator.control.reconciler.decision import Waiting
from tests.support.operator.rollout import (
    URI,
    USER,
    A,
    B,
    Rollout,
    declaration,
    failed,
    loaded,
    settled,
    told,
)

INVALID = Fault(USER, "s1", str(A), ArtifactInvalid.reason, "no model")
GONE = Fault(USER, "s1", str(A), ArtifactNotFound.reason, "no artifact", state=FaultState.RETRYING)


def degraded(*faults: Fault) -> Rollout:
    rollout = Rollout()
    rollout.until_ready(declaration())
    rollout.faults = faults
    return rollout


def test_a_model_that_no_person_mended_is_stalled_and_says_which_server_and_why() -> None:
    rollout = degraded(INVALID)
    outcome = rollout.decide(declaration())
    assert told(outcome) == (State.STALLED, "Degraded")
    assert outcome.status.text == "s1 can't load version aaaaaaaa any more: ArtifactInvalid: no model"
    assert outcome.status.model_id == str(A)
    assert outcome.waiting is Waiting.NOTHING
    settled(rollout, declaration())


def test_where_the_store_is_to_blame_it_is_asked_again() -> None:
    """Another version under the same name is an answer too."""
    rollout = degraded(GONE)
    outcome = rollout.decide(declaration())
    assert told(outcome) == (State.RECONCILING, "Degraded")
    assert outcome.waiting is Waiting.RETRY
    settled(rollout, declaration())
    again = rollout.decide(declaration(), B)
    assert again.assignment is not None
    assert again.assignment.candidate_id == str(B)


def test_ready_comes_back_when_the_fault_is_over() -> None:
    rollout = degraded(GONE)
    rollout.decide(declaration())
    rollout.faults = ()
    assert told(rollout.decide(declaration())) == (State.READY, "Ready")
    settled(rollout, declaration())


def test_a_fault_of_another_model_is_none() -> None:
    rollout = degraded(replace(INVALID, model_id=str(B)))
    settled(rollout, declaration())
    assert rollout.before is not None
    assert rollout.before.state is State.READY


def test_more_servers_that_see_the_same_write_nothing() -> None:
    rollout = degraded(INVALID)
    rollout.decide(declaration())
    rollout.faults = (INVALID, replace(INVALID, server_id="s0"))
    settled(rollout, declaration())


def test_no_version_is_said_to_keep_serving_that_a_server_cannot_load() -> None:
    rollout = degraded()
    rollout.decide(declaration(2), B)
    stalled = rollout.decide(declaration(2), B, failed(B))
    assert stalled.status.text.endswith("Version aaaaaaaa keeps serving")
    rollout.faults = (INVALID,)
    broken = rollout.decide(declaration(2), B)
    assert broken.status.text == "no model. Version aaaaaaaa should serve meanwhile, and can't be loaded"
    settled(rollout, declaration(2), B)
    rollout.faults = ()
    assert rollout.decide(declaration(2), B).status.text.endswith("Version aaaaaaaa keeps serving")
    promoted = rollout.decide(declaration(2), B, loaded(B))
    assert promoted.status.model_id == str(B)


def test_a_broken_version_reads_back_from_its_conditions() -> None:
    status = Status(State.STALLED, "ArtifactInvalid", f"{URI} is not a model", 2, str(A), 7, broken=True)
    found, _ = read(conditions(status, {}), observed_generation=2, model_id=str(A), size_bytes=7)
    assert found == status


def test_a_doubt_stands_in_the_message_of_ready_and_takes_nothing_back() -> None:
    words = "trained with scikit-learn 1.6.1, served by 1.9.1"
    doubt = Fault(USER, "s1", str(A), "VersionSkew", words, FaultState.DOUBTED)
    rollout = degraded(doubt, replace(doubt, server_id="s2"), replace(doubt, model_id=str(B)))
    ready = rollout.decide(declaration())
    assert told(ready) == (State.READY, "Ready")
    assert ready.status.text == f"version aaaaaaaa answers on every server; {words}"
    settled(rollout, declaration())
    rollout.faults = ()
    assert rollout.decide(declaration()).status.text == "version aaaaaaaa answers on every server"
