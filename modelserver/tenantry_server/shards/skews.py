"""Models that answer, and were made with another version of their library: told, but served on."""

import time
from collections.abc import Iterable

import structlog
from cachetools import LRUCache

from tenantry.errors import VersionSkew
from tenantry.registry import Fault, FaultState
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.formats.checks.pickled_versions import installed, served_by

log = structlog.get_logger(__name__)

_MOST = 10_000


class Skews:
    """Skews that loads of this server found; used on the event loop.

    Args:
        table: who has which model.
        server_id: this server's.
    """

    def __init__(self, table: RoutingTable, server_id: str) -> None:
        self._table = table
        self._server_id = server_id
        self._words: LRUCache[str, str] = LRUCache(_MOST)  # by model id; a candidate's wait here
        self._looked_at = -1  # the revision of the table in which they were looked for

    def add(self, model_id: str, words: str) -> None:
        """Take note of a model's skew, and log one like it only once."""
        write_log = log.debug if words in self._words.values() else log.warning
        write_log("a model was made with another version of its library", model=model_id, skew=words)
        self._words[model_id] = words
        self._looked_at = -1

    def news(self, rows: Iterable[Fault]) -> list[Fault]:
        """Return the skews to write: those of models in force that these rows do not name."""
        if not self._words or self._looked_at == self._table.revision:
            return []
        self._looked_at = self._table.revision
        known = {(row.user_id, row.model_id, row.message) for row in rows}
        return [
            Fault(
                user_id,
                self._server_id,
                model_id,
                VersionSkew.reason,
                words,
                FaultState.DOUBTED,
                time.time(),
            )
            for user_id, model_id in self._table.assigned().items()
            if model_id is not None
            and (words := self._words.get(model_id)) is not None
            and (user_id, model_id, words) not in known
        ]

    def not_written(self) -> None:
        """Say the same news again next time: the registry did not take them."""
        self._looked_at = -1

    def still_stands(self, row: Fault) -> bool:
        """Return whether a skew is one of this server, with the version that it has now."""
        return row.server_id == self._server_id and row.message.endswith(served_by(installed()))
