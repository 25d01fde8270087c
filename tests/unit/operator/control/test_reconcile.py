"""The decision about one TenantModel, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tenantry import ModelId, TenantModel
from tenantry.errors import ArtifactError, ArtifactInvalid, ArtifactNotFound, InvalidManifest
from tenantry.registry import Assignment, LoadReport, LoadState, Server, ServerReport
from tenantry.status import State, Status
from tenantry_operator.control.reconcile import Observations, Outcome, Waiting, reconcile
from tenantry_operator.declared import Declaration

USER = "ann"
URI = "file:///models/ann.joblib"


def version(letter: str) -> ModelId:
    return ModelId(URI, sha256=letter * 64)


A, B, C = version("a"), version("b"), version("c")


def declaration(
    generation: int = 1,
    *,
    uid: str = "uid-ann",
    user_id: str = USER,
    prewarm: bool = False,
    replicas: int = 1,
) -> Declaration:
    model = TenantModel.parse(
        {
            "apiVersion": "tenantry.dev/v1alpha1",
            "kind": "TenantModel",
            "metadata": {"name": "ann"},
            "spec": {"userId": user_id, "model": {"uri": URI}, "prewarm": prewarm, "replicas": replicas},
        }
    )
    return Declaration(uid, "default", "ann", generation, 0.0, model)


def invalid(generation: int = 1, *, uid: str = "uid-ann") -> Declaration:
    problem = InvalidManifest("", "ann.yaml:6: spec.userId: must be a string")
    return Declaration(uid, "default", "ann", generation, 0.0, None, problem)


def server(name: str = "s1", acked: int = 0) -> Server:
    return Server(name, f"http://{name}", acked, 10.0, 1 << 30, ServerReport())


@dataclass
class World:
    """What one TenantModel meets: its row, its last status, the servers; revisions as in a registry."""

    servers: Sequence[Server] = (server(),)
    row: Assignment | None = None
    before: Status | None = None
    bound_user: str | None = None
    winner: str | None = None
    revision: int = 0
    written: list[Assignment] = field(default_factory=list)

    def decide(
        self,
        declared: Declaration,
        artifact: ModelId | ArtifactError | None = A,
        report: LoadReport | None = None,
    ) -> Outcome:
        """Reconcile and keep what came of it, as the controller does."""
        seen = Observations(
            self.before, self.bound_user, self.winner, artifact, self.row, self.servers, report
        )
        outcome = reconcile(declared, seen)
        if outcome.assignment is not None:
            self.revision += 1
            self.row = replace(outcome.assignment, revision=self.revision)
            self.written.append(self.row)
        self.before = outcome.status
        if self.bound_user is None and declared.model is not None:
            self.bound_user = declared.model.spec.user_id
        return outcome

    def ack(self) -> None:
        self.servers = [replace(each, acked_revision=self.revision) for each in self.servers]

    def until_ready(self, declared: Declaration, artifact: ModelId = A) -> None:
        self.decide(declared, artifact)
        self.decide(declared, artifact, loaded(artifact))
        self.ack()
        assert self.decide(declared, artifact).status.state is State.READY


def loaded(model_id: ModelId, size_bytes: int = 1000) -> LoadReport:
    return LoadReport(USER, "s1", str(model_id), LoadState.LOADED, size_bytes)


def failed(model_id: ModelId, state: LoadState = LoadState.FAILED) -> LoadReport:
    return LoadReport(USER, "s1", str(model_id), state, None, "ArtifactInvalid", "no model")


def told(outcome: Outcome) -> tuple[State, str]:
    return outcome.status.state, outcome.status.reason


def settled(world: World, declared: Declaration, artifact: ModelId | ArtifactError | None = A) -> None:
    """Reconciling again on its own result writes nothing and says the same."""
    status, row = world.before, world.row
    again = world.decide(declared, artifact)
    assert again.assignment is None
    assert (world.row, again.status) == (row, status)


def test_first_declaration_writes_a_candidate_that_nobody_answers_with() -> None:
    world = World()
    outcome = world.decide(declaration())
    assert outcome.assignment == Assignment(USER, "uid-ann", 1, None, str(A))
    assert told(outcome) == (State.RECONCILING, "Loading")
    assert outcome.waiting is Waiting.LOAD
    assert outcome.status.model_id is None
    settled(world, declaration())


def test_a_loaded_candidate_becomes_the_model_and_is_not_ready_yet() -> None:
    """The row has a new revision that no server can have acknowledged."""
    world = World()
    world.decide(declaration())
    world.ack()
    outcome = world.decide(declaration(), A, loaded(A))
    assert outcome.assignment == Assignment(USER, "uid-ann", 1, str(A), None, 1, size_bytes=1000)
    assert told(outcome) == (State.RECONCILING, "RollingOut")
    assert outcome.waiting is Waiting.ACKS
    assert told(world.decide(declaration())) == (State.RECONCILING, "RollingOut")
    settled(world, declaration())


def test_ready_once_every_live_server_has_the_revision() -> None:
    world = World(servers=[server("s1"), server("s2")])
    world.decide(declaration())
    world.decide(declaration(), A, loaded(A))
    world.servers = [server("s1", acked=2), server("s2", acked=1)]
    lagging = world.decide(declaration())
    assert told(lagging) == (State.RECONCILING, "RollingOut")
    assert lagging.status.text == "loaded; waiting for s2"
    assert (lagging.waiting, lagging.acks) == (Waiting.ACKS, 2)
    world.servers = [server("s1", acked=2), server("s2", acked=2)]
    ready = world.decide(declaration())
    assert ready.status == Status(
        State.READY, "Ready", "version aaaaaaaa answers on every server", 1, str(A), 1000
    )
    assert ready.waiting is Waiting.NOTHING
    settled(world, declaration())


def test_a_server_that_left_is_not_waited_for() -> None:
    world = World(servers=[server("s1"), server("s2")])
    world.decide(declaration())
    world.decide(declaration(), A, loaded(A))
    world.servers = [server("s1", acked=2)]
    assert world.decide(declaration()).status.state is State.READY


def test_servers_that_come_and_go_later_change_no_status() -> None:
    """Scaling patches no TenantModel: a new server reads everything before it answers."""
    world = World()
    world.until_ready(declaration())
    for servers in ([server("s9", acked=0)], [], [server("s1", 7), server("s2", 0)]):
        world.servers = servers
        settled(world, declaration())


def test_without_a_server_it_waits_for_one() -> None:
    world = World(servers=[])
    told_so = world.decide(declaration())
    assert told(told_so) == (State.RECONCILING, "NoServer")
    assert "keeps serving" not in told_so.status.text
    settled(world, declaration())
    world.servers = [server()]
    assert told(world.decide(declaration())) == (State.RECONCILING, "Loading")
    world.decide(declaration(), A, loaded(A))
    world.servers = []
    lost = world.decide(declaration())
    assert told(lost) == (State.RECONCILING, "NoServer")
    assert (lost.waiting, lost.acks) == (Waiting.ACKS, 2)


def test_an_update_keeps_the_old_model_until_the_new_one_has_loaded() -> None:
    world = World()
    world.until_ready(declaration())
    updating = world.decide(declaration(2), B)
    assert updating.assignment is not None
    assert (updating.assignment.model_id, updating.assignment.candidate_id) == (str(A), str(B))
    assert told(updating) == (State.RECONCILING, "Loading")
    assert updating.status.text.endswith(". Version aaaaaaaa keeps serving")
    assert updating.status.model_id == str(A)
    settled(world, declaration(2), B)
    world.decide(declaration(2), B, loaded(B, 2000))
    world.ack()
    ready = world.decide(declaration(2), B)
    assert (ready.status.state, ready.status.model_id, ready.status.size_bytes) == (
        State.READY,
        str(B),
        2000,
    )


def test_a_failed_update_keeps_the_last_good_version_and_says_which_and_why() -> None:
    world = World()
    world.until_ready(declaration())
    world.decide(declaration(2), B)
    outcome = world.decide(declaration(2), B, failed(B))
    assert told(outcome) == (State.STALLED, "ArtifactInvalid")
    assert outcome.status.text == "no model. Version aaaaaaaa keeps serving"
    assert (outcome.status.model_id, outcome.status.size_bytes) == (str(A), 1000)
    assert outcome.assignment is None
    assert world.row is not None
    assert world.row.model_id == str(A)
    settled(world, declaration(2), B)


def test_a_first_load_that_fails_is_stalled_with_nothing_serving() -> None:
    world = World()
    world.decide(declaration())
    outcome = world.decide(declaration(), A, failed(A))
    assert outcome.status == Status(State.STALLED, "ArtifactInvalid", "no model", 1)
    assert outcome.waiting is Waiting.LOAD
    settled(world, declaration())


def test_a_server_that_succeeds_after_all_ends_the_stall() -> None:
    """One with more memory, or a newer loader."""
    world = World()
    world.decide(declaration())
    world.decide(declaration(), A, failed(A))
    assert told(world.decide(declaration(), A, loaded(A))) == (State.RECONCILING, "RollingOut")


def test_a_server_that_retries_is_quoted_and_stays_quoted() -> None:
    """A resync in between must not flip the status to another reason and back."""
    world = World()
    world.decide(declaration())
    outcome = world.decide(declaration(), A, failed(A, LoadState.RETRYING))
    assert told(outcome) == (State.RECONCILING, "ArtifactInvalid")
    assert outcome.waiting is Waiting.LOAD
    settled(world, declaration())


def test_a_report_on_another_model_counts_for_nothing() -> None:
    world = World()
    world.decide(declaration(), B)
    outcome = world.decide(declaration(), B, loaded(A))
    assert told(outcome) == (State.RECONCILING, "Loading")
    assert outcome.assignment is None


def test_going_back_to_the_current_model_drops_the_candidate() -> None:
    world = World()
    world.until_ready(declaration())
    world.decide(declaration(2), B)
    back = world.decide(declaration(3), A)
    assert back.assignment is not None
    assert (back.assignment.model_id, back.assignment.candidate_id) == (str(A), None)
    assert told(back) == (State.RECONCILING, "RollingOut")
    assert back.waiting is Waiting.ACKS
    world.ack()
    assert told(world.decide(declaration(3), A)) == (State.READY, "Ready")


def test_a_conflict_names_the_winner_and_writes_nothing() -> None:
    world = World(winner="default/first")
    outcome = world.decide(declaration())
    assert told(outcome) == (State.STALLED, "UserIdConflict")
    assert "belongs to the older TenantModel default/first" in outcome.status.text
    assert outcome.assignment is None
    settled(world, declaration())


def test_when_the_winner_is_gone_its_model_does_not_answer_for_the_next() -> None:
    """The row's uid is another's: its model may be a stranger's to this TenantModel."""
    world = World(row=Assignment(USER, "uid-first", 4, str(A), None, 9), revision=9, winner="default/first")
    assert world.decide(declaration()).status.model_id is None
    world.winner = None
    outcome = world.decide(declaration(), A)
    assert outcome.assignment == Assignment(USER, "uid-ann", 1, None, str(A))
    assert outcome.status.model_id is None


def test_a_tombstone_serves_nobody() -> None:
    world = World(row=Assignment(USER, "uid-ann", 4, None, None, 9, deleted=True), revision=9)
    outcome = world.decide(declaration())
    assert outcome.assignment == Assignment(USER, "uid-ann", 1, None, str(A))


def test_user_id_is_immutable() -> None:
    world = World()
    world.until_ready(declaration())
    outcome = world.decide(declaration(2, user_id="bob"), B)
    assert told(outcome) == (State.STALLED, "UserIdImmutable")
    assert "was 'ann' and can't become 'bob'" in outcome.status.text
    assert outcome.status.text.endswith("Version aaaaaaaa keeps serving")
    assert (outcome.status.model_id, outcome.assignment) == (str(A), None)
    settled(world, declaration(2, user_id="bob"), B)


def test_an_invalid_manifest_keeps_what_serves() -> None:
    world = World()
    world.until_ready(declaration())
    outcome = world.decide(invalid(2), None)
    assert told(outcome) == (State.STALLED, "InvalidManifest")
    assert outcome.status.text == (
        "ann.yaml:6: spec.userId: must be a string. Version aaaaaaaa keeps serving"
    )
    assert outcome.status.model_id == str(A)
    settled(world, invalid(2), None)
    assert world.decide(declaration(3)).status.state is State.READY


def test_an_artifact_that_may_come_is_waited_for() -> None:
    world = World()
    world.until_ready(declaration())
    missing = ArtifactNotFound(URI)
    outcome = world.decide(declaration(2), missing)
    assert told(outcome) == (State.RECONCILING, "ArtifactNotFound")
    assert outcome.waiting is Waiting.RETRY
    assert outcome.status.model_id == str(A)
    settled(world, declaration(2), missing)


def test_an_artifact_that_no_time_can_mend_waits_for_a_person() -> None:
    world = World()
    folder = ArtifactInvalid(URI, "it is a folder")
    outcome = world.decide(declaration(), folder)
    assert told(outcome) == (State.STALLED, "ArtifactInvalid")
    assert outcome.waiting is Waiting.NOTHING
    settled(world, declaration(), folder)


def test_before_the_store_has_answered() -> None:
    world = World()
    assert told(world.decide(declaration(), None)) == (State.RECONCILING, "Resolving")


def test_a_new_generation_with_the_same_model_is_ready_at_once() -> None:
    """Another refreshInterval, say: nothing has to be loaded, and no row is written."""
    world = World()
    world.until_ready(declaration())
    outcome = world.decide(declaration(2))
    assert (outcome.status.state, outcome.status.observed_generation) == (State.READY, 2)
    assert outcome.assignment is None


def test_a_new_generation_after_a_failed_load_asks_the_servers_again() -> None:
    """A person acted, perhaps on the server or the bytes. Until it loads, it still is what failed."""
    world = World()
    world.decide(declaration())
    world.decide(declaration(), A, failed(A))
    outcome = world.decide(declaration(2))
    assert outcome.status == Status(State.STALLED, "ArtifactInvalid", "no model", 2)
    assert outcome.waiting is Waiting.LOAD
    assert outcome.assignment is not None
    assert (outcome.assignment.generation, outcome.assignment.candidate_id) == (2, str(A))
    settled(world, declaration(2))


def test_a_new_generation_while_it_loads_waits_for_the_same_load() -> None:
    world = World()
    world.decide(declaration())
    outcome = world.decide(declaration(2))
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
    """Otherwise the server's word, come in between and removed, is waited for for ever."""
    world = World()
    world.decide(declaration())
    world.decide(aside, artifact)
    assert world.row is not None
    assert world.row.candidate_id is None
    settled(world, aside, artifact)
    outcome = world.decide(declaration(3))
    assert outcome.assignment is not None
    assert outcome.assignment.candidate_id == str(A)
    assert told(outcome) == (State.RECONCILING, "Loading")


def test_a_conflict_that_came_and_went_while_it_loaded() -> None:
    """The rival never got as far as a row of its own; the candidate is asked for again."""
    world = World()
    world.decide(declaration())
    world.winner = "default/first"
    assert told(world.decide(declaration())) == (State.STALLED, "UserIdConflict")
    world.winner = None
    outcome = world.decide(declaration())
    assert told(outcome) == (State.RECONCILING, "Loading")
    assert outcome.assignment is not None
    assert outcome.assignment.candidate_id == str(A)


def test_a_loser_with_an_invalid_manifest_leaves_the_row_to_the_winner() -> None:
    world = World()
    world.decide(declaration())
    world.winner = "default/first"
    assert world.decide(invalid(2), None).assignment is None


def test_new_bytes_in_the_same_generation() -> None:
    """`refreshInterval`: the artifact was overwritten in place."""
    world = World()
    world.until_ready(declaration())
    assert told(world.decide(declaration(), B)) == (State.RECONCILING, "Loading")
    world.decide(declaration(), B, loaded(B))
    assert told(world.decide(declaration(), B)) == (State.RECONCILING, "RollingOut")
    world.ack()
    ready = world.decide(declaration(), B)
    assert (ready.status.state, ready.status.model_id) == (State.READY, str(B))


def test_new_bytes_after_ones_that_failed() -> None:
    world = World()
    world.until_ready(declaration())
    world.decide(declaration(), B)
    assert world.decide(declaration(), B, failed(B)).status.state is State.STALLED
    fixed = world.decide(declaration(), C)
    assert told(fixed) == (State.RECONCILING, "Loading")
    assert fixed.assignment is not None
    assert fixed.assignment.candidate_id == str(C)
    world.decide(declaration(), C, loaded(C))
    world.ack()
    assert world.decide(declaration(), C).status.state is State.READY


def test_old_bytes_back_after_ones_that_failed() -> None:
    world = World()
    world.until_ready(declaration())
    world.decide(declaration(), B)
    world.decide(declaration(), B, failed(B))
    world.decide(declaration(), A)
    world.ack()
    assert world.decide(declaration(), A).status.state is State.READY


def test_a_row_edited_by_hand_is_loaded_anew() -> None:
    world = World()
    world.until_ready(declaration())
    assert world.row is not None
    world.row = replace(world.row, model_id="file:///evil.joblib")
    outcome = world.decide(declaration())
    assert outcome.assignment is not None
    assert outcome.assignment.candidate_id == str(A)
    assert outcome.status.state is State.RECONCILING


def test_a_wish_to_prewarm_is_in_every_row() -> None:
    world = World()
    world.until_ready(declaration(prewarm=True))
    world.decide(declaration(2, prewarm=True), B)
    world.decide(declaration(2, prewarm=True), B, loaded(B))
    world.decide(declaration(3, prewarm=True), ArtifactNotFound(URI))
    assert [row.prewarm for row in world.written] == [True] * len(world.written)
    assert len(world.written) == 4


@pytest.mark.parametrize("before", [False, True])
def test_a_changed_wish_to_prewarm_is_written_and_ready_at_once(before: bool) -> None:
    """The same model answers, so nobody has to acknowledge anything: one status for the generation."""
    world = World()
    world.until_ready(declaration(prewarm=before))
    outcome = world.decide(declaration(2, prewarm=not before))
    assert outcome.assignment == Assignment(
        USER, "uid-ann", 2, str(A), None, 2, size_bytes=1000, prewarm=not before
    )
    assert (told(outcome), outcome.status.observed_generation) == ((State.READY, "Ready"), 2)
    assert outcome.waiting is Waiting.NOTHING
    settled(world, declaration(2, prewarm=not before))


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 3)])
def test_a_changed_number_of_replicas_is_written_and_ready_at_once(before: int, after: int) -> None:
    world = World()
    world.until_ready(declaration(replicas=before))
    assert world.row is not None
    assert world.row.replicas == before
    outcome = world.decide(declaration(2, replicas=after))
    wished = Assignment(USER, "uid-ann", 2, str(A), None, 2, size_bytes=1000, replicas=after)
    assert outcome.assignment == wished
    assert (told(outcome), outcome.status.observed_generation) == ((State.READY, "Ready"), 2)
    settled(world, declaration(2, replicas=after))


def test_a_changed_wish_in_the_middle_of_an_update_changes_nothing_else() -> None:
    world = World()
    world.until_ready(declaration())
    world.decide(declaration(2), B)
    outcome = world.decide(declaration(3, prewarm=True), B)
    assert told(outcome) == (State.RECONCILING, "Loading")
    assert world.row == Assignment(USER, "uid-ann", 3, str(A), str(B), 4, size_bytes=1000, prewarm=True)
    settled(world, declaration(3, prewarm=True), B)
    world.decide(declaration(3, prewarm=True), B, loaded(B))
    assert world.row is not None
    assert (world.row.model_id, world.row.prewarm) == (str(B), True)


def test_a_wish_that_was_edited_by_hand_is_put_right() -> None:
    world = World()
    world.until_ready(declaration(prewarm=True))
    assert world.row is not None
    world.row = replace(world.row, prewarm=False)
    outcome = world.decide(declaration(prewarm=True))
    assert told(outcome) == (State.READY, "Ready")
    assert world.row.prewarm
    settled(world, declaration(prewarm=True))


class Life(RuleBasedStateMachine):
    """Two TenantModels that want one user, and up to three servers, in any order of events."""

    VERSIONS = st.sampled_from([A, B, C])
    OLD, YOUNG = "uid-a", "uid-b"

    def __init__(self) -> None:
        super().__init__()
        self.row: Assignment | None = None
        self.revision = 0
        self.answer_revision = 0  # the last that changed more than the wish to prewarm
        self.declared: dict[str, Declaration] = {}
        self.artifact: dict[str, ModelId | ArtifactError] = {}
        self.status: dict[str, Status | None] = {}
        self.generation = 0
        self.acked: dict[str, int] = {}
        self.reports: list[LoadReport] = []
        self.asked: str | None = None
        self.worked: set[str] = set()

    # What happens

    @rule(uid=st.sampled_from([OLD, YOUNG]), artifact=VERSIONS, prewarm=st.booleans())
    def declare(self, uid: str, artifact: ModelId, prewarm: bool) -> None:
        self.generation += 1
        self.declared[uid] = declaration(self.generation, uid=uid, prewarm=prewarm)
        self.artifact[uid] = artifact
        self.status.setdefault(uid, None)
        self.reconcile()

    @rule(uid=st.sampled_from([OLD, YOUNG]), artifact=VERSIONS)
    def overwrite_the_artifact(self, uid: str, artifact: ModelId) -> None:
        if uid in self.declared:
            self.artifact[uid] = artifact
            self.reconcile()

    @rule(uid=st.sampled_from([OLD, YOUNG]))
    def lose_the_artifact(self, uid: str) -> None:
        if uid in self.declared:
            self.artifact[uid] = ArtifactNotFound(URI)
            self.reconcile()

    @rule(uid=st.sampled_from([OLD, YOUNG]))
    def break_the_manifest(self, uid: str) -> None:
        if uid in self.declared:
            self.generation += 1
            self.declared[uid] = invalid(self.generation, uid=uid)
            self.reconcile()

    @rule(uid=st.sampled_from([OLD, YOUNG]))
    def delete(self, uid: str) -> None:
        if self.declared.pop(uid, None) is not None:
            del self.artifact[uid], self.status[uid]
            if self.row is not None and self.row.uid == uid and not self.row.deleted:
                self.write(replace(self.row, model_id=None, candidate_id=None, deleted=True))
            self.reconcile()

    @rule(name=st.sampled_from(["s1", "s2", "s3"]))
    def join(self, name: str) -> None:
        self.acked.setdefault(name, self.revision)  # it reads everything first
        self.asked = None

    @rule(name=st.sampled_from(["s1", "s2", "s3"]))
    def leave(self, name: str) -> None:
        self.acked.pop(name, None)
        self.asked = None
        self.reconcile()

    @rule(name=st.sampled_from(["s1", "s2", "s3"]))
    def acknowledge(self, name: str) -> None:
        if name in self.acked:
            self.acked[name] = self.revision
            self.reconcile()

    @precondition(lambda self: self.acked and self.row is not None and self.row.candidate_id)
    @rule(state=st.sampled_from(LoadState))
    def report(self, state: LoadState) -> None:
        """Some server tried the candidate as it stands; the operator may look only later."""
        assert self.row is not None
        assert self.row.candidate_id is not None
        if state is LoadState.LOADED:
            self.worked.add(self.row.candidate_id)
        reason = "" if state is LoadState.LOADED else "ArtifactInvalid"
        self.reports = [
            LoadReport(USER, next(iter(self.acked)), self.row.candidate_id, state, 1, reason, "words")
        ]

    @rule()
    def look(self) -> None:
        self.reconcile()

    # The controller, in ten lines

    def write(self, row: Assignment) -> None:
        self.revision += 1
        if self.row is None or row != replace(
            self.row, generation=row.generation, revision=row.revision, prewarm=row.prewarm
        ):
            self.answer_revision = self.revision
        self.row = replace(row, revision=self.revision)
        self.asked = None

    def servers(self) -> list[Server]:
        return [server(name, acked) for name, acked in self.acked.items()]

    def winner(self) -> str | None:
        return min(self.declared, default=None)

    def reconcile(self) -> None:
        report = self.reports[0] if self.reports else None
        for uid in sorted(self.declared):
            first = self.winner()
            seen = Observations(
                before=self.status[uid],
                bound_user=USER,
                winner=None if first == uid else f"default/{first}",
                artifact=self.artifact[uid],
                assignment=self.row,
                servers=self.servers(),
                report=report,
            )
            former = self.row
            outcome = reconcile(self.declared[uid], seen)
            self.status[uid] = outcome.status
            if outcome.assignment is not None:
                self.check_write(uid, former, outcome.assignment)
                self.write(outcome.assignment)
            again = reconcile(
                self.declared[uid], replace(seen, before=outcome.status, assignment=self.row, report=None)
            )
            assert again.assignment is None
            assert self.row is None or uid != first or self.prewarmed_as_wished(uid)
            if outcome.waiting is not Waiting.ACKS:
                assert again.status == outcome.status
        self.reports = []

    def prewarmed_as_wished(self, uid: str) -> bool:
        """Of whoever may write the row, unless its document is broken."""
        model = self.declared[uid].model
        assert self.row is not None
        return model is None or self.row.uid != uid or self.row.prewarm == model.spec.prewarm

    def check_write(self, uid: str, former: Assignment | None, row: Assignment) -> None:
        assert self.winner() == uid, "only the winner writes"
        mine = former is not None and former.uid == uid and not former.deleted
        if row.model_id is not None:
            assert row.model_id in self.worked, "nobody loaded this model"
        if mine and former is not None and former.model_id is not None:
            assert row.model_id is not None, "a model that works was given up"
        if not mine:
            assert row.model_id is None, "another's model answers"

    # What must hold

    @invariant()
    def ready_is_true(self) -> None:
        """At the moment when it is said; later servers read everything before they answer."""
        for uid, status in self.status.items():
            if status is None or status.state is not State.READY:
                continue
            assert self.winner() == uid
            assert self.row is not None
            assert (self.row.uid, self.row.deleted) == (uid, False)
            wanted = self.artifact[uid]
            assert status.model_id == self.row.model_id
            if isinstance(wanted, ModelId):
                assert self.row.model_id == str(wanted)
            assert all(acked >= self.answer_revision for acked in self.acked.values())

    @invariant()
    def it_settles_when_everything_works(self) -> None:
        """From wherever it stands: a copy of this world, in which all goes well from now on."""
        end = Life.__new__(Life)
        end.__dict__ |= {
            k: (v.copy() if isinstance(v, dict | set | list) else v) for k, v in self.__dict__.items()
        }
        first = end.winner()
        if first is None or end.declared[first].model is None:
            return
        if not isinstance(end.artifact[first], ModelId):
            end.artifact[first] = A
        end.acked.setdefault("s1", end.revision)
        told_of = -1  # the revision that the owner has answered; it answers each that names a candidate
        for _ in range(6):
            end.reconcile()
            row = end.row
            if row is not None and row.candidate_id is not None and row.revision != told_of:
                told_of = row.revision
                end.worked.add(row.candidate_id)
                end.reports = [LoadReport(USER, "s1", row.candidate_id, LoadState.LOADED, 1)]
            end.acked = dict.fromkeys(end.acked, end.revision)
        status = end.status[first]
        assert status is not None
        assert (status.state, status.model_id) == (State.READY, str(end.artifact[first]))


def test_any_life_of_two_rivals_is_told_truthfully() -> None:
    """Ready is never early, nothing that did not load ever answers, and it always settles in the end."""
    limits: Any = settings(max_examples=300, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(Life, settings=limits)
