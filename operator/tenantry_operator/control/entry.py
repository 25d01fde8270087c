"""One TenantModel in the operator's memory: as declared, as written, and what stands under its address."""

from dataclasses import dataclass, replace

from tenantry import ModelId
from tenantry.errors import ArtifactError
from tenantry.manifest.limits import NO_LIMITS, Limits
from tenantry.manifest.spec import ModelSource
from tenantry.manifest.status import State, Status, since
from tenantry.registry import Claim
from tenantry_operator.conditions import DEGRADED
from tenantry_operator.declared import Declaration


@dataclass(slots=True)
class Entry:
    """One TenantModel in the operator's memory.

    Attributes:
        declared: as the source shows it; None after a restart, until the source has spoken.
        claim: as the registry has it; None: not written yet.
        artifact: what its source stood for when it was looked up last; None: not known yet.
        lookup_due: whether the artifact store has to be asked (again).
        declared_at_s: when `declared` came, by the monotonic clock; None: it was Ready since.
        denied: the policy that does not permit it and the rule, in words; None: all permit it.
        ceiling: the most that policies allow its user.
        signed: whether a policy lets it have only an artifact that is signed.
    """

    declared: Declaration | None
    claim: Claim | None
    artifact: ModelId | ArtifactError | None = None
    lookup_due: bool = True
    declared_at_s: float | None = None
    denied: str | None = None
    ceiling: Limits = NO_LIMITS
    signed: bool = False

    @property
    def wanted(self) -> ModelId | ArtifactError | None:
        """What servers should load: the artifact that was found, as policies demand it now."""
        if not isinstance(self.artifact, ModelId):
            return self.artifact
        return replace(self.artifact, signatures="required" if self.signed else None)

    @property
    def source(self) -> ModelSource | None:
        """Where its artifact is; None where the document breaks a rule."""
        if self.declared is None or self.declared.model is None:
            return None
        return self.declared.model.spec.model

    @property
    def refresh_s(self) -> float | None:
        """Seconds between lookups of an artifact that is overwritten in place; None: never."""
        if self.declared is None or self.declared.model is None:
            return None
        return self.declared.model.spec.refresh_s

    @property
    def bound_user(self) -> str | None:
        """The user of the first valid spec, which no later one may change."""
        return None if self.claim is None else self.claim.user_id

    @property
    def user_id(self) -> str | None:
        """The user that it is for."""
        bound = self.bound_user
        if bound is None and self.declared is not None and self.declared.model is not None:
            return self.declared.model.spec.user_id
        return bound

    @property
    def created_at(self) -> float:
        """Seconds since the epoch."""
        if self.claim is not None:
            return self.claim.created_at
        return float("inf") if self.declared is None else self.declared.created_at

    @property
    def namespace(self) -> str:
        """Its namespace; empty before anything is known of it."""
        named = self.declared or self.claim
        return "" if named is None else named.namespace

    @property
    def title(self) -> str:
        """Its namespace and name, for people."""
        named = self.declared or self.claim
        return f"{named.namespace}/{named.name}" if named else "?"

    @property
    def state(self) -> State | None:
        """Its last state; None: no status was given yet."""
        return None if self.status is None else self.status.state

    @property
    def status(self) -> Status | None:
        """Its last status."""
        return None if self.claim is None else self.claim.status

    @property
    def degraded(self) -> bool:
        """Whether it was Ready, and a server can't load the model in force any more."""
        return self.status is not None and self.status.reason == DEGRADED

    def placed(self, found: ModelId | ArtifactError) -> ModelId | ArtifactError:
        """Return what a store answered, together with whom the model may share a worker process with."""
        if isinstance(found, ArtifactError) or self.declared is None or self.declared.model is None:
            return found
        return self.declared.model.placed(found)

    def ready_with(self) -> ModelId | None:
        """Return what it was pinned to when it became ready, if that was for this spec."""
        status = self.status
        if (
            status is None
            or status.model_id is None
            or not (status.state is State.READY or self.degraded)
            or self.declared is None
            or self.declared.generation != status.observed_generation
        ):
            return None
        return ModelId.parse(status.model_id)

    def claim_with(self, status: Status, wall_s: float) -> Claim:
        """Return the claim for a new status; equal to the present one where nothing changed."""
        declared, before = self.declared, self.claim
        assert declared is not None  # noqa: S101 - for the type checker: only such are decided about
        spec = None if declared.model is None else declared.model.to_manifest()["spec"]
        return Claim(
            uid=declared.uid,
            namespace=declared.namespace,
            name=declared.name,
            user_id=self.user_id,
            created_at=declared.created_at,
            generation=declared.generation,
            spec=spec if spec is not None or before is None else before.spec,
            status=status,
            since=since(self.status, {} if before is None else before.since, status, wall_s),
            origin=declared.origin,
        )
