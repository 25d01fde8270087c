"""What the operator knows of every TenantModel, and which of them want the same user."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from tenantry import ModelId
from tenantry.errors import ArtifactError
from tenantry.placement import SHARDS, shard_of
from tenantry.registry import Claim
from tenantry.spec import ModelSource
from tenantry.status import State, Status, since
from tenantry_operator.conditions import DEGRADED
from tenantry_operator.declared import Declaration

_TENANT_BYTES = 1024  # a tenant's rows in the tables of a server, beside its model


@dataclass(slots=True)
class Entry:
    """One TenantModel in the operator's memory.

    Attributes:
        declared: as the source shows it; None after a restart, until the source has spoken.
        claim: as the registry has it; None: not written yet.
        artifact: what its source stood for when it was looked up last; None: not known yet.
        lookup_due: whether the artifact store has to be asked (again).
        declared_at_s: when `declared` came, by the monotonic clock; None: it was Ready since.
    """

    declared: Declaration | None
    claim: Claim | None
    artifact: ModelId | ArtifactError | None = None
    lookup_due: bool = True
    declared_at_s: float | None = None

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


class Entries:
    """Every TenantModel by uid, and the queue of those that want the same user.

    Args:
        claims: what the registry knows.
    """

    def __init__(self, claims: Collection[Claim]) -> None:
        self._by_uid = {claim.uid: Entry(None, claim) for claim in claims}
        self._by_user: defaultdict[str, set[str]] = defaultdict(set)
        self._shards: dict[str, int] = {}  # cached by user: 1 us each
        for claim in claims:
            if claim.user_id is not None:
                self._by_user[claim.user_id].add(claim.uid)

    def __getitem__(self, uid: str) -> Entry:
        return self._by_uid[uid]

    def __contains__(self, uid: object) -> bool:
        return uid in self._by_uid

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_uid)

    def __len__(self) -> int:
        return len(self._by_uid)

    def claims(self) -> dict[str, Claim]:
        """Return every claim as it was written last."""
        return {uid: entry.claim for uid, entry in self._by_uid.items() if entry.claim is not None}

    def bytes_by_shard(self) -> list[int]:
        """Return the bytes that the tenants of each shard take on a server; 50 ms for 100,000 of them.

        A model that was never measured counts as the mean of those that were.
        """
        weights, known, unknown = [0] * SHARDS, 0, [0] * SHARDS
        for user_id, uids in self._by_user.items():
            shard = self._shards.get(user_id)
            if shard is None:
                shard = self._shards[user_id] = shard_of(user_id)
            for uid in uids:
                claim = self._by_uid[uid].claim
                if claim is not None and claim.size_bytes is not None:  # only the winner has one
                    weights[shard] += claim.size_bytes + _TENANT_BYTES
                    known += 1
                    break
            else:
                unknown[shard] += 1
        mean = sum(weights) // known if known else _TENANT_BYTES
        return [weight + mean * count for weight, count in zip(weights, unknown, strict=True)]

    def of_user(self, user_id: str) -> set[str]:
        """Return the uids of all that want this user."""
        return self._by_user.get(user_id, set())

    def winner(self, user_id: str) -> str:
        """Return the uid of the oldest of them; there must be one."""
        return min(self._by_user[user_id], key=lambda uid: (self._by_uid[uid].created_at, uid))

    def declare(self, uid: str, declared: Declaration) -> set[str]:
        """Remember what a source declares.

        Returns:
            the uids that have to be decided about, and none where nothing changed.
        """
        entry = self._by_uid.setdefault(uid, Entry(None, None))
        if entry.claim is not None:  # identity and age stay those of the first sight
            declared = replace(
                declared,
                created_at=entry.claim.created_at,
                namespace=declared.namespace or entry.claim.namespace,
                name=declared.name or entry.claim.name,
            )
        if declared == entry.declared:
            return set()
        if entry.declared is not None and declared.generation < entry.declared.generation:
            return set()  # a long listing that a newer event has overtaken
        former = entry.user_id
        entry.declared = declared
        entry.artifact = entry.ready_with()
        entry.lookup_due = entry.artifact is None
        concerned = {uid}
        if former != entry.user_id:  # nothing of it was written yet, so it may still change its mind
            concerned |= self._leave(former, {uid})
        if entry.user_id is not None:
            queue = self._by_user[entry.user_id]
            if uid not in queue:
                queue.add(uid)
                concerned |= queue
        return concerned

    def remove(self, uids: Collection[str]) -> set[str]:
        """Forget these.

        Returns:
            the ones that waited for a user of theirs, which have to be decided about.
        """
        behind: set[str] = set()
        for uid in uids:
            behind |= self._leave(self._by_uid[uid].user_id, {uid})
        for uid in uids:
            del self._by_uid[uid]
        behind.difference_update(uids)
        for uid in behind:  # whatever was seen while it waited may be out of date by now
            self._by_uid[uid].artifact = None
            self._by_uid[uid].lookup_due = True
        return behind

    def _leave(self, user_id: str | None, uids: set[str]) -> set[str]:
        if user_id is None:
            return set()
        left = self._by_user[user_id] - uids
        if left:
            self._by_user[user_id] = left
        else:
            del self._by_user[user_id]
            self._shards.pop(user_id, None)
        return left
