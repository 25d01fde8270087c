"""What a source says is declared, and what may be concluded from something that is missing."""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from tenantry_operator.reconcile import Declaration

_ALWAYS_ALLOWED = 50
_SHARE_ALLOWED = 0.05


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source has to say: all that it holds, or only what changed.

    Attributes:
        declared: by uid.
        absent: uids that were not found where they should be; so many at once may be a mistake.
        deleted: uids that somebody deleted, each on purpose.
        complete: whether it speaks of everything that the source holds; only then `absent` may be judged.
    """

    declared: Mapping[str, Declaration]
    absent: AbstractSet[str] = frozenset()
    deleted: AbstractSet[str] = frozenset()
    complete: bool = False

    @classmethod
    def merged(cls, listings: Iterable["Listing"]) -> "Listing":
        """All as one, the oldest first: the newest word on a uid counts."""
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


@dataclass(frozen=True, slots=True)
class Prune:
    """Which known TenantModels to remove.

    Attributes:
        uids: to be removed now.
        refused: so many are missing at once that a person must confirm it; empty otherwise.
    """

    uids: frozenset[str]
    refused: frozenset[str]


def prune(known: Collection[str], absent: AbstractSet[str], *, allow_mass_delete: bool) -> Prune:
    """Decide what a listing allows to remove: a folder that was moved away must not end every tenant.

    Args:
        known: uids in the registry.
        absent: uids that the source is sure to hold no more.
        allow_mass_delete: a person confirmed it.

    Example:
        >>> prune(range(100), set(range(60)), allow_mass_delete=False).uids
        frozenset()
        >>> len(prune(range(100), set(range(50)), allow_mass_delete=False).uids)
        50
    """
    gone = frozenset(uid for uid in known if uid in absent)
    allowed = max(_ALWAYS_ALLOWED, int(len(known) * _SHARE_ALLOWED))
    if len(gone) > allowed and not allow_mass_delete:
        return Prune(frozenset(), gone)
    return Prune(gone, frozenset())
