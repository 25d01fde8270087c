"""What the operator knows of every TenantModel, and which of them want the same user."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from tenantry.placement import SHARDS, shard_of
from tenantry.registry import Claim
from tenantry_operator.control.entry import Entry
from tenantry_operator.declared import Declaration
from tenantry_operator.policies.rules import NO_POLICIES, Policies

_TENANT_BYTES = 1024  # a tenant's rows in the tables of a server, beside its model


class Entries:
    """Every TenantModel by uid, and the queue of those that want the same user.

    Args:
        claims: what the registry knows.
        bindings: the namespace of every user that has one.
        policies: what the TenantPolicies permit; None: not known yet.

    Attributes:
        bindings: as above, kept in step with what is committed.
    """

    def __init__(
        self,
        claims: Collection[Claim],
        bindings: Mapping[str, str] = MappingProxyType({}),
        policies: Policies | None = NO_POLICIES,
    ) -> None:
        self.bindings = dict(bindings)
        self._policies = policies
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

    def of_users(self, user_ids: Iterable[str]) -> set[str]:
        """Return the uids of all that want one of these users."""
        return set().union(*map(self.of_user, user_ids))

    def winner(self, user_id: str) -> str | None:
        """Return the uid of the oldest of them that may have the user; None: there is none."""
        entitled = [uid for uid in self._by_user[user_id] if self._may_have(user_id, self._by_uid[uid])]
        return min(entitled, key=lambda uid: (self._by_uid[uid].created_at, uid), default=None)

    def _may_have(self, user_id: str, entry: Entry) -> bool:
        """Return whether its namespace may declare the user, and no policy kept it from the first version.

        One that a policy denies later keeps the user, as one does whose manifest breaks later.
        """
        if self.bindings.get(user_id, entry.namespace) != entry.namespace:
            return False
        return entry.denied is None or (entry.claim is not None and entry.claim.model_id is not None)

    def bound_elsewhere(self, uid: str) -> str | None:
        """Return the namespace that its user belongs to, where that is another one than its own."""
        entry = self._by_uid[uid]
        namespace = self.bindings.get(entry.user_id or "", entry.namespace)
        return None if namespace == entry.namespace else namespace

    def release(self, user_ids: Collection[str]) -> set[str]:
        """Forget which namespace these users belong to.

        Returns:
            the uids that have to be decided about.
        """
        for user_id in user_ids:
            self.bindings.pop(user_id, None)
        return self.of_users(user_ids)

    def govern(self, policies: Policies) -> set[str]:
        """Judge every TenantModel by these policies.

        Returns:
            the uids that have to be decided about: those with another verdict, and their rivals.
        """
        self._policies = policies
        concerned: set[str] = set()
        for uid, entry in self._by_uid.items():
            if self._judge(entry):
                concerned |= {uid} | self.of_user(entry.user_id or "")
        return concerned

    def judged(self, uid: str) -> bool:
        """Return whether the policies for its namespace are known."""
        return self._policies is not None and self._policies.know(self._by_uid[uid].namespace)

    def _judge(self, entry: Entry) -> bool:
        """Find out whether and how the policies permit it; return whether that changed."""
        before = entry.denied, entry.ceiling, entry.signed
        if entry.declared is not None and entry.declared.model is not None and self._policies is not None:
            entry.denied = self._policies.denial(entry.declared.model)
            entry.ceiling = self._policies.ceiling(entry.declared.model.namespace)
            entry.signed = self._policies.wants_signatures(entry.declared.model.namespace)
        return (entry.denied, entry.ceiling, entry.signed) != before

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
        if self._judge(entry):
            concerned |= self.of_user(former or "")
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
