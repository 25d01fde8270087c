"""What admins decide beside TenantModels: the policies in force, and users that they released."""

import structlog

from tenantry.registry import OperatorRegistry, Writes
from tenantry_operator.control.tracked import Entries
from tenantry_operator.policies.rules import Policies

log = structlog.get_logger(__name__)

_RELEASES_EVERY_S = 1.0


class Governing:
    """Applies policies and releases; used by the controller's thread.

    Args:
        registry: already led by this operator.
        entries: what it governs.
        policies: what may be declared; None: nothing is decided before `wanted` was set.

    Attributes:
        wanted: the policies from the next pass on; may be set by any thread.
    """

    def __init__(self, registry: OperatorRegistry, entries: Entries, policies: Policies | None) -> None:
        self._registry = registry
        self._entries = entries
        self._policies = policies
        self._releases_at_s = 0.0
        self.wanted = policies

    def step(self, dirty: set[str], now_s: float) -> None:
        """Apply what has changed, and add to `dirty` the uids that are to be decided about again.

        Raises:
            LeadershipLost, HistoryChanged, RegistryUnavailable: as the registry.
        """
        wanted = self.wanted
        if wanted is not None and wanted != self._policies:
            dirty |= self._entries.govern(wanted)
            self._policies = wanted
            log.info("policies", names=wanted.names)
        if now_s < self._releases_at_s:
            return
        self._releases_at_s = now_s + _RELEASES_EVERY_S
        released = self._registry.bindings().released()
        if released:
            self._registry.commit(Writes(released=released))
            dirty |= self._entries.release(released)
            log.info("users released", users=released[:5], count=len(released))
