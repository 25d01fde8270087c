"""The port between the sources and the loop: what is declared goes in, what was decided comes out.

A source (a folder, a cluster) hands over Listings of Declarations; an Observer hears what the loop decided.
Refuses to know either side.
"""

import time
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from tenantry import TenantModel
from tenantry.errors import InvalidManifest
from tenantry.registry import Claim


@dataclass(frozen=True, slots=True)
class Declaration:
    """A TenantModel as its source shows it, valid or not.

    Attributes:
        uid: identity; in a folder, a document that is deleted and created again has the same.
        generation: grows with every change of the spec.
        created_at: seconds since the epoch; the older of two rivals for a user wins.
        model: the parsed document; None where it breaks a rule.
        problem: the rule it breaks; None where it is valid.
        origin: the file that it stands in; empty on Kubernetes.
        seen_ns: when the source saw it, in nanoseconds since 1970; no difference between two of them.
    """

    uid: str
    namespace: str
    name: str
    generation: int
    created_at: float
    model: TenantModel | None
    problem: InvalidManifest | None = None
    origin: str = ""
    seen_ns: int = field(default_factory=time.time_ns, compare=False)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source declares: everything that it holds, or only what changed.

    Attributes:
        declared: by uid.
        absent: uids that were not found where they should be; many at once may be a mistake.
        deleted: uids that were deleted, each on purpose.
        complete: whether it covers everything that the source holds; only then `absent` counts.
    """

    declared: Mapping[str, Declaration]
    absent: AbstractSet[str] = frozenset()
    deleted: AbstractSet[str] = frozenset()
    complete: bool = False

    @classmethod
    def merged(cls, listings: Iterable["Listing"]) -> "Listing":
        """Merge listings, the oldest first: the newest one that names a uid counts."""
        declared: dict[str, Declaration] = {}
        absent: set[str] = set()
        deleted: set[str] = set()
        complete = False
        for listing in listings:
            for uid in listing.absent | listing.deleted:
                declared.pop(uid, None)
            absent |= listing.absent
            deleted |= listing.deleted
            absent.difference_update(listing.declared)
            deleted.difference_update(listing.declared)
            for uid, declaration in listing.declared.items():
                known = declared.get(uid)
                if known is None or declaration.generation >= known.generation:
                    declared[uid] = declaration  # else a long listing that an event has overtaken
            complete |= listing.complete
        return cls(declared, absent, deleted, complete)


class Observer:
    """Is called with what was committed, in the controller's thread; this one ignores it."""

    def decided(self, claim: Claim) -> None:
        """A TenantModel has this status now."""

    def removed(self, uids: Collection[str]) -> None:
        """These TenantModels are gone."""
