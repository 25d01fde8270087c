"""What follows from TenantModels that are missing or deleted in their source."""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import structlog

from tenantry.registry import OperatorRegistry, Writes
from tenantry_operator.control import repair
from tenantry_operator.control.tracked import Entries
from tenantry_operator.declared import Observer
from tenantry_operator.metrics import OperatorMetrics

log = structlog.get_logger(__name__)

_ALWAYS_ALLOWED = 50
_SHARE_ALLOWED = 0.05


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
        metrics: of the operator.
        observer: hears of each removal.
        allow_mass_delete: a person confirmed that many may go at once.
    """

    def __init__(
        self,
        registry: OperatorRegistry,
        entries: Entries,
        metrics: OperatorMetrics,
        observer: Observer,
        *,
        allow_mass_delete: bool,
    ) -> None:
        self._registry = registry
        self._entries = entries
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

    def remove(self, uids: list[str]) -> set[str]:
        """Remove these in one transaction.

        Returns:
            the TenantModels that waited for a user of one of them, which have to be decided about.

        Raises:
            LeadershipLost, RegistryUnavailable: nothing was removed.
        """
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
