"""What may be concluded from TenantModels that are missing in a source."""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

_ALWAYS_ALLOWED = 50
_SHARE_ALLOWED = 0.05


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
