"""Whether anybody has written to the registry since it was read last, told without asking the database.

From the files of SQLite, or from PostgreSQL's wake-ups. Ten readings a second that find nothing cost a
process at rest more than all else together.
"""

import threading
from collections.abc import Callable

from sqlalchemy import Engine

from tenantry.registry.following import files
from tenantry.registry.following.wakeups import Bell, Channel


class Stillness:
    """What one reader knows of the writers; used by its thread.

    Args:
        engine: an open registry.
        channel: that announces what this reader reads.
    """

    def __init__(self, engine: Engine, channel: Channel) -> None:
        self._engine = engine
        self._bell = Bell(engine, channel)
        self._at: files.Stamp | int | None = None
        self._rung = self._rung_before = 0

    def listen(self, heard: Callable[[], None], stop: threading.Event) -> None:
        """Call `heard`, from a thread, when something changed, where the database can notify."""
        self._bell.listen(heard, stop)

    def before_reading(self) -> None:
        """Note what there is now: a write during the reading is then news for the next one."""
        self._rung_before, self._rung = self._rung, self._bell.rung
        self._at = self._now()

    def found_news(self) -> None:
        """The reading found news; no longer rest on wake-ups where none announced them."""
        if self._bell.rung == self._rung_before:
            self._bell.doubt()

    def holds(self) -> bool:
        """Return whether nobody has written since `before_reading`; False where that can't be told."""
        return self._at is not None and self._at == self._now()

    @property
    def announced(self) -> bool:
        """Whether a wake-up would tell of the next write: then nobody need ask whether stillness holds."""
        return self._bell.trusted

    def _now(self) -> files.Stamp | int | None:
        return self._bell.rung if self._bell.trusted else files.stamp(self._engine)
