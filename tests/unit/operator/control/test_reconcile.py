"""The decision about one TenantModel, step by step."""

from tenantry.errors import ArtifactInvalid, ArtifactNotFound
from tenantry.manifest.status import State, Status
from tenantry.registry import Assignment, LoadState
from tenantry_operator.control.reconciler.decision import Waiting
from tests.support.operator.rollout import (
    URI,
    USER,
    A,
    B,
    Rollout,
    declaration,
    failed,
    invalid,
    loaded,
    server,
    settled,
    told,
)


def test_first_declaration_writes_a_candidate_that_nobody_answers_with() -> None:
    rollout = Rollout()
    outcome = rollout.decide(declaration())
    assert outcome.assignment == Assignment(USER, "uid-ann", 1, None, str(A))
    assert told(outcome) == (State.RECONCILING, "Loading")
    assert outcome.waiting is Waiting.LOAD
    assert outcome.status.model_id is None
    settled(rollout, declaration())


def test_a_loaded_candidate_becomes_the_model_and_is_not_ready_yet() -> None:
    """The row has a new revision that no server can have acknowledged."""
    rollout = Rollout()
    rollout.decide(declaration())
    rollout.ack()
    outcome = rollout.decide(declaration(), A, loaded(A))
    assert outcome.assignment == Assignment(USER, "uid-ann", 1, str(A), None, 1, size_bytes=1000)
    assert told(outcome) == (State.RECONCILING, "RollingOut")
    assert outcome.waiting is Waiting.ACKS
    assert told(rollout.decide(declaration())) == (State.RECONCILING, "RollingOut")
    settled(rollout, declaration())


def test_ready_once_every_live_server_has_the_revision() -> None:
    rollout = Rollout(servers=[server("s1"), server("s2")])
    rollout.decide(declaration())
    rollout.decide(declaration(), A, loaded(A))
    rollout.servers = [server("s1", acked=2), server("s2", acked=1)]
    lagging = rollout.decide(declaration())
    assert told(lagging) == (State.RECONCILING, "RollingOut")
    assert lagging.status.text == "loaded; waiting for s2"
    assert (lagging.waiting, lagging.acks) == (Waiting.ACKS, 2)
    rollout.servers = [server("s1", acked=2), server("s2", acked=2)]
    ready = rollout.decide(declaration())
    assert ready.status == Status(
        State.READY, "Ready", "version aaaaaaaa answers on every server", 1, str(A), 1000
    )
    assert ready.waiting is Waiting.NOTHING
    settled(rollout, declaration())


def test_a_server_that_left_is_not_waited_for() -> None:
    rollout = Rollout(servers=[server("s1"), server("s2")])
    rollout.decide(declaration())
    rollout.decide(declaration(), A, loaded(A))
    rollout.servers = [server("s1", acked=2)]
    assert rollout.decide(declaration()).status.state is State.READY


def test_servers_that_come_and_go_later_change_no_status() -> None:
    """Scaling patches no TenantModel: a new server reads everything before it answers."""
    rollout = Rollout()
    rollout.until_ready(declaration())
    for servers in ([server("s9", acked=0)], [], [server("s1", 7), server("s2", 0)]):
        rollout.servers = servers
        settled(rollout, declaration())


def test_without_a_server_it_waits_for_one() -> None:
    rollout = Rollout(servers=[])
    told_so = rollout.decide(declaration())
    assert told(told_so) == (State.RECONCILING, "NoServer")
    assert "keeps serving" not in told_so.status.text
    settled(rollout, declaration())
    rollout.servers = [server()]
    assert told(rollout.decide(declaration())) == (State.RECONCILING, "Loading")
    rollout.decide(declaration(), A, loaded(A))
    rollout.servers = []
    lost = rollout.decide(declaration())
    assert told(lost) == (State.RECONCILING, "NoServer")
    assert (lost.waiting, lost.acks) == (Waiting.ACKS, 2)


def test_an_update_keeps_the_old_model_until_the_new_one_has_loaded() -> None:
    rollout = Rollout()
    rollout.until_ready(declaration())
    updating = rollout.decide(declaration(2), B)
    assert updating.assignment is not None
    assert (updating.assignment.model_id, updating.assignment.candidate_id) == (str(A), str(B))
    assert told(updating) == (State.RECONCILING, "Loading")
    assert updating.status.text.endswith(". Version aaaaaaaa keeps serving")
    assert updating.status.model_id == str(A)
    settled(rollout, declaration(2), B)
    rollout.decide(declaration(2), B, loaded(B, 2000))
    rollout.ack()
    ready = rollout.decide(declaration(2), B)
    assert (ready.status.state, ready.status.model_id, ready.status.size_bytes) == (
        State.READY,
        str(B),
        2000,
    )


def test_a_failed_update_keeps_the_last_good_version_and_says_which_and_why() -> None:
    rollout = Rollout()
    rollout.until_ready(declaration())
    rollout.decide(declaration(2), B)
    outcome = rollout.decide(declaration(2), B, failed(B))
    assert told(outcome) == (State.STALLED, "ArtifactInvalid")
    assert outcome.status.text == "no model. Version aaaaaaaa keeps serving"
    assert (outcome.status.model_id, outcome.status.size_bytes) == (str(A), 1000)
    assert outcome.assignment is None
    assert rollout.row is not None
    assert rollout.row.model_id == str(A)
    settled(rollout, declaration(2), B)


def test_a_first_load_that_fails_is_stalled_with_nothing_serving() -> None:
    rollout = Rollout()
    rollout.decide(declaration())
    outcome = rollout.decide(declaration(), A, failed(A))
    assert outcome.status == Status(State.STALLED, "ArtifactInvalid", "no model", 1)
    assert outcome.waiting is Waiting.LOAD
    settled(rollout, declaration())


def test_a_server_that_succeeds_after_all_ends_the_stall() -> None:
    """One with more memory, or a newer loader."""
    rollout = Rollout()
    rollout.decide(declaration())
    rollout.decide(declaration(), A, failed(A))
    assert told(rollout.decide(declaration(), A, loaded(A))) == (State.RECONCILING, "RollingOut")


def test_a_server_that_retries_is_quoted_and_stays_quoted() -> None:
    """A resync in between must not flip the status to another reason and back."""
    rollout = Rollout()
    rollout.decide(declaration())
    outcome = rollout.decide(declaration(), A, failed(A, LoadState.RETRYING))
    assert told(outcome) == (State.RECONCILING, "ArtifactInvalid")
    assert outcome.waiting is Waiting.LOAD
    settled(rollout, declaration())


def test_a_report_on_another_model_counts_for_nothing() -> None:
    rollout = Rollout()
    rollout.decide(declaration(), B)
    outcome = rollout.decide(declaration(), B, loaded(A))
    assert told(outcome) == (State.RECONCILING, "Loading")
    assert outcome.assignment is None


def test_going_back_to_the_current_model_drops_the_candidate() -> None:
    rollout = Rollout()
    rollout.until_ready(declaration())
    rollout.decide(declaration(2), B)
    back = rollout.decide(declaration(3), A)
    assert back.assignment is not None
    assert (back.assignment.model_id, back.assignment.candidate_id) == (str(A), None)
    assert told(back) == (State.RECONCILING, "RollingOut")
    assert back.waiting is Waiting.ACKS
    rollout.ack()
    assert told(rollout.decide(declaration(3), A)) == (State.READY, "Ready")


def test_a_conflict_names_the_winner_and_writes_nothing() -> None:
    rollout = Rollout(winner="default/first")
    outcome = rollout.decide(declaration())
    assert told(outcome) == (State.STALLED, "UserIdConflict")
    assert "belongs to the TenantModel default/first" in outcome.status.text
    assert outcome.assignment is None
    settled(rollout, declaration())


def test_when_the_winner_is_gone_its_model_does_not_answer_for_the_next() -> None:
    """The row's uid is another's: its model may be a stranger's to this TenantModel."""
    rollout = Rollout(
        row=Assignment(USER, "uid-first", 4, str(A), None, 9), revision=9, winner="default/first"
    )
    assert rollout.decide(declaration()).status.model_id is None
    rollout.winner = None
    outcome = rollout.decide(declaration(), A)
    assert outcome.assignment == Assignment(USER, "uid-ann", 1, None, str(A))
    assert outcome.status.model_id is None


def test_a_tombstone_serves_nobody() -> None:
    rollout = Rollout(row=Assignment(USER, "uid-ann", 4, None, None, 9, deleted=True), revision=9)
    outcome = rollout.decide(declaration())
    assert outcome.assignment == Assignment(USER, "uid-ann", 1, None, str(A))


def test_user_id_is_immutable() -> None:
    rollout = Rollout()
    rollout.until_ready(declaration())
    outcome = rollout.decide(declaration(2, user_id="bob"), B)
    assert told(outcome) == (State.STALLED, "UserIdImmutable")
    assert "was 'ann' and can't become 'bob'" in outcome.status.text
    assert outcome.status.text.endswith("Version aaaaaaaa keeps serving")
    assert (outcome.status.model_id, outcome.assignment) == (str(A), None)
    settled(rollout, declaration(2, user_id="bob"), B)


def test_an_invalid_manifest_keeps_what_serves() -> None:
    rollout = Rollout()
    rollout.until_ready(declaration())
    outcome = rollout.decide(invalid(2), None)
    assert told(outcome) == (State.STALLED, "InvalidManifest")
    assert outcome.status.text == (
        "ann.yaml:6: spec.userId: must be a string. Version aaaaaaaa keeps serving"
    )
    assert outcome.status.model_id == str(A)
    settled(rollout, invalid(2), None)
    assert rollout.decide(declaration(3)).status.state is State.READY


def test_an_artifact_that_may_come_is_waited_for() -> None:
    rollout = Rollout()
    rollout.until_ready(declaration())
    missing = ArtifactNotFound(URI)
    outcome = rollout.decide(declaration(2), missing)
    assert told(outcome) == (State.RECONCILING, "ArtifactNotFound")
    assert outcome.waiting is Waiting.RETRY
    assert outcome.status.model_id == str(A)
    settled(rollout, declaration(2), missing)


def test_an_artifact_that_no_time_can_mend_waits_for_a_person() -> None:
    rollout = Rollout()
    folder = ArtifactInvalid(URI, "it is a folder")
    outcome = rollout.decide(declaration(), folder)
    assert told(outcome) == (State.STALLED, "ArtifactInvalid")
    assert outcome.waiting is Waiting.NOTHING
    settled(rollout, declaration(), folder)


def test_before_the_store_has_answered() -> None:
    rollout = Rollout()
    assert told(rollout.decide(declaration(), None)) == (State.RECONCILING, "Resolving")
