"""Which bytes stand under what is declared: asked of the artifact stores where that is due."""

import structlog

from tenantry import ModelId
from tenantry_operator.artifacts.lookups import Lookups
from tenantry_operator.control.tracked import Entries
from tenantry_operator.metrics import OperatorMetrics

log = structlog.get_logger(__name__)

_LOOKUP_WAIT_S = 0.25  # a store that answers soon is waited for: one decision instead of two


class Locator:
    """Asks for artifacts, and keeps the answers in the entries; used by the controller's thread.

    Args:
        entries: what is declared.
        lookups: asks the artifact stores.
        metrics: of the operator.
    """

    def __init__(self, entries: Entries, lookups: Lookups, metrics: OperatorMetrics) -> None:
        self._entries = entries
        self._lookups = lookups
        self._metrics = metrics

    def step(self, dirty: set[str]) -> None:
        """Ask for those of `dirty` that are due, and add to it what a store has answered about."""
        asked = False
        for uid in dirty:
            entry = self._entries[uid]
            # What a policy denies is not even looked up: the answer tells whether an object exists.
            permitted = entry.denied is None and self._entries.judged(uid)
            if permitted and entry.lookup_due and entry.source is not None and uid not in self._lookups:
                self._lookups.ask(uid, entry.source)
                self._metrics.changes.asked(uid)
                asked = True
        for uid, found in self._lookups.take(wait_s=_LOOKUP_WAIT_S if asked else 0.0).items():
            entry = self._entries[uid]
            entry.lookup_due = False
            self._metrics.changes.answered(uid, None if isinstance(found, ModelId) else found.reason)
            dirty.add(uid)
            if isinstance(found, ModelId) or not isinstance(entry.artifact, ModelId):
                entry.artifact = entry.placed(found)
            elif not entry.degraded:  # this was a refresh, so the known version still stands
                log.warning("refresh failed", uri=entry.artifact.uri, error=str(found))

    def is_decidable(self, uid: str) -> bool:
        """Return whether it was declared and judged, and a store has answered once, or need not answer."""
        entry = self._entries[uid]
        if entry.declared is None or not self._entries.judged(uid):
            return False
        return entry.denied is not None or uid not in self._lookups or isinstance(entry.artifact, ModelId)
