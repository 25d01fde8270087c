"""Any life of two rivals for one user, drawn by hypothesis."""

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tenantry import ModelId
from tenantry.errors import ArtifactError, ArtifactNotFound
from tenantry.manifest.status import State, Status
from tenantry.registry import Assignment, LoadReport, LoadState, Server
from tenantry_operator.control.reconciler.decision import Observations, Waiting
from tenantry_operator.control.reconciler.reconcile import reconcile
from tenantry_operator.declared import Declaration
from tests.support.operator.rollout import URI, USER, A, B, C, declaration, invalid, server


class Life(RuleBasedStateMachine):
    """Two TenantModels that want one user, and up to three servers, in any order of events."""

    VERSIONS = st.sampled_from([A, B, C])
    OLD, YOUNG = "uid-a", "uid-b"

    def __init__(self) -> None:
        super().__init__()
        self.row: Assignment | None = None
        self.revision = 0
        self.answer_revision = 0  # the last that changed more than `prewarm`
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
        """Some server tried the candidate as it stands; the operator may read that only later."""
        assert self.row is not None
        assert self.row.candidate_id is not None
        if state is LoadState.LOADED:
            self.worked.add(self.row.candidate_id)
        reason = "" if state is LoadState.LOADED else "ArtifactInvalid"
        self.reports = [
            LoadReport(USER, next(iter(self.acked)), self.row.candidate_id, state, 1, reason, "words")
        ]

    @rule()
    def pass_once(self) -> None:
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
        """Of the TenantModel that may write the row, unless its document is broken."""
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
        """From wherever it stands: a copy of this rollout, in which all goes well from now on."""
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
    limits: Any = settings(max_examples=150, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(Life, settings=limits)
