"""Limits reach the user's row, bounded by policies, without another version of the model."""

from tenantry.manifest.limits import Limits
from tenantry.manifest.status import State
from tests.support.operator.rollout import A, B, Rollout, declaration, loaded, settled, told

FIVE = Limits(requests_per_second=5)


def test_limits_are_written_with_the_first_candidate() -> None:
    rollout = Rollout()
    outcome = rollout.decide(declaration(limits=FIVE))
    assert outcome.assignment is not None
    assert outcome.assignment.limits == '{"requestsPerSecond":5.0}'
    settled(rollout, declaration(limits=FIVE))


def test_another_limit_is_another_row_and_no_other_version() -> None:
    rollout = Rollout()
    rollout.until_ready(declaration())
    changed = rollout.decide(declaration(2, limits=FIVE))
    assert changed.assignment is not None
    assert (changed.assignment.model_id, changed.assignment.candidate_id) == (str(A), None)
    assert changed.assignment.limits == FIVE.to_text()
    gone = rollout.decide(declaration(3))
    assert gone.assignment is not None
    assert gone.assignment.limits == ""


def test_a_policy_is_a_ceiling_and_a_default() -> None:
    rollout = Rollout(ceiling=Limits(rows=10, requests_per_second=100))
    outcome = rollout.decide(declaration(limits=FIVE))
    assert outcome.assignment is not None
    assert Limits.read(outcome.assignment.limits) == Limits(rows=10, requests_per_second=5)
    rollout.ceiling = Limits(requests_per_second=1)
    outcome = rollout.decide(declaration(limits=FIVE))
    assert outcome.assignment is not None
    assert Limits.read(outcome.assignment.limits) == Limits(requests_per_second=1)


def test_a_model_that_outgrew_a_new_limit_is_stalled_and_answers_on() -> None:
    rollout = Rollout()
    rollout.until_ready(declaration())
    outcome = rollout.decide(declaration(2, limits=Limits(cache_bytes=999)))
    assert told(outcome) == (State.STALLED, "ModelOverLimit")
    assert "takes 1,000 bytes in memory, and its limits allow cacheBytes 999" in outcome.status.message
    assert outcome.status.keeps
    outcome = rollout.decide(declaration(3, limits=Limits(cache_bytes=1000)))
    rollout.ack()
    assert told(rollout.decide(declaration(3, limits=Limits(cache_bytes=1000)))) == (State.READY, "Ready")


def test_a_smaller_version_ends_that() -> None:
    limits = Limits(cache_bytes=500)
    rollout = Rollout()
    rollout.until_ready(declaration())
    rollout.decide(declaration(2, limits=limits))
    rollout.decide(declaration(3, limits=limits), B)
    rollout.decide(declaration(3, limits=limits), B, loaded(B, size_bytes=400))
    rollout.ack()
    assert told(rollout.decide(declaration(3, limits=limits), B)) == (State.READY, "Ready")
