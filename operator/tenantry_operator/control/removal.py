"""What follows from TenantModels that are missing or deleted in their source."""

from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice

import structlog

from tenantry.registry import OperatorRegistry, Writes
from tenantry_operator.artifacts.lookups import Lookups
from tenantry_operator.control import repair
from tenantry_operator.control.tracked import Entries
from tenantry_operator.control.waits import Waits
from tenantry_operator.declared import Observer
from tenantry_operator.metrics import OperatorMetrics

log = structlog.get_logger(__name__)

_ALWAYS_ALLOWED = 50
_SHARE_ALLOWED = 0.05
_GROUP = 200  # TenantModels of one transaction: short locks, few commits


@dataclass(frozen=True, slots=True)
class Prune:
    """Which known TenantModels to remove.

    Attributes:
        uids: to be removed now.
        refused: missing, and so many at once that a person must confirm it; empty otherwise.
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


class Removal:
    """Removes TenantModels from the registry and from the operator's memory.

    Args:
        registry: led by this operator.
        entries: every TenantModel that the operator knows.
        waits: what they waited for is forgotten.
        lookups: those for them are dropped.
        metrics: of the operator.
        observer: hears of each removal.
        allow_mass_delete: a person confirmed that many may go at once.
    """

    def __init__(
        self,
        registry: OperatorRegistry,
        entries: Entries,
        waits: Waits,
        lookups: Lookups,
        metrics: OperatorMetrics,
        observer: Observer,
        *,
        allow_mass_delete: bool,
    ) -> None:
        self._registry = registry
        self._entries = entries
        self._waits = waits
        self._lookups = lookups
        self._metrics = metrics
        self._observer = observer
        self._allow_mass_delete = allow_mass_delete
        self._refused: frozenset[str] = frozenset()

    def due(self, absent: AbstractSet[str]) -> list[str]:
        """Return which absent TenantModels to remove now; where they are too many, none, and log it."""
        decision = prune(self._entries, absent, allow_mass_delete=self._allow_mass_delete)
        if decision.refused and decision.refused != self._refused:
            log.error(
                "refusing to remove so many tenants at once; if this is meant, restart with "
                "--allow-mass-delete or TENANTRY_ALLOW_MASS_DELETE=true",
                missing=len(decision.refused),
                known=len(self._entries),
            )
        self._refused = decision.refused
        self._metrics.not_removed.set(len(decision.refused))
        return sorted(decision.uids)

    def remove(self, uids: Collection[str], dirty: set[str]) -> None:
        """Remove these, a group in one transaction.

        Args:
            dirty: gets the TenantModels that waited for a user of one of them, and loses the removed ones.

        Raises:
            LeadershipLost, RegistryUnavailable: the group was not removed, nor were those after it.
        """
        for group in groups(uids):
            behind = self._remove(group)
            dirty |= behind
            dirty.difference_update(group)
            self._metrics.changes.removed(group)
            self._waits.forget(group)
            for uid in (*group, *behind):
                self._lookups.forget(uid)

    def _remove(self, uids: list[str]) -> set[str]:
        users = {user for uid in uids if (user := self._entries[uid].user_id) is not None}
        # Also where another one waits: the model of a removed TenantModel must not answer until that loads.
        rows = [row for row in self._registry.assignments(users).values() if row.uid in uids]
        tombstones = [repair.ended(row) for row in rows if not row.deleted]
        self._registry.commit(Writes(forgotten=uids, assignments=tombstones))
        for uid in uids:
            self._metrics.moved(self._entries[uid].status, None)
        self._observer.removed(uids)
        log.info("removed", tenants=len(uids), users=sorted(users)[:5])
        return self._entries.remove(uids)


def groups(uids: Collection[str]) -> Iterator[list[str]]:
    """Yield these uids, as many at a time as one transaction takes."""
    left = iter(uids)
    while group := list(islice(left, _GROUP)):
        yield group
