"""One TenantModel and everything that the reconciler is shown of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tenantry import ModelId, TenantModel
from tenantry.errors import ArtifactError, InvalidManifest
from tenantry.manifest.limits import NO_LIMITS, Limits
from tenantry.manifest.status import State, Status
from tenantry.registry import Assignment, Fault, LoadReport, LoadState, Server, ServerReport
from tenantry_operator.control.reconciler.decision import Observations, Outcome
from tenantry_operator.control.reconciler.reconcile import reconcile
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
    limits: Limits = NO_LIMITS,
) -> Declaration:
    model = TenantModel.parse(
        {
            "apiVersion": "tenantry.dev/v1alpha1",
            "kind": "TenantModel",
            "metadata": {"name": "ann"},
            "spec": {
                "userId": user_id,
                "model": {"uri": URI},
                "prewarm": prewarm,
                "replicas": replicas,
                "limits": json.loads(limits.to_text() or "{}"),
            },
        }
    )
    return Declaration(uid, "default", "ann", generation, 0.0, model)


def invalid(generation: int = 1, *, uid: str = "uid-ann") -> Declaration:
    problem = InvalidManifest("", "ann.yaml:6: spec.userId: must be a string")
    return Declaration(uid, "default", "ann", generation, 0.0, None, problem)


def server(name: str = "s1", acked: int = 0) -> Server:
    return Server(name, f"http://{name}", acked, 10.0, 1 << 30, ServerReport())


@dataclass
class Rollout:
    """What one TenantModel meets: its row, its last status, the servers; revisions as in a registry."""

    servers: Sequence[Server] = (server(),)
    row: Assignment | None = None
    before: Status | None = None
    bound_user: str | None = None
    winner: str | None = None
    revision: int = 0
    written: list[Assignment] = field(default_factory=list)
    faults: Sequence[Fault] = ()
    ceiling: Limits = NO_LIMITS

    def decide(
        self,
        declared: Declaration,
        artifact: ModelId | ArtifactError | None = A,
        report: LoadReport | None = None,
    ) -> Outcome:
        """Reconcile and keep what came of it, as the controller does."""
        seen = Observations(
            self.before,
            self.bound_user,
            self.winner,
            artifact,
            self.row,
            self.servers,
            report,
            self.faults,
            ceiling=self.ceiling,
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


def settled(rollout: Rollout, declared: Declaration, artifact: ModelId | ArtifactError | None = A) -> None:
    """Reconciling again on its own result writes nothing and says the same."""
    status, row = rollout.before, rollout.row
    again = rollout.decide(declared, artifact)
    assert again.assignment is None
    assert (rollout.row, again.status) == (row, status)
