"""The one question that every server asks ten times a second: has anything changed?

A SELECT through SQLAlchemy costs a quarter of a millisecond of CPU; on a connection that is kept for it,
a tenth of that.
"""

from typing import Any

from sqlalchemy import Engine, PoolProxiedConnection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tenantry.registry.engine import unavailable

_QUERY = "SELECT revision FROM leader"


class Poll:
    """Reads the newest revision over a connection of its own, until the engine is disposed of.

    Used by one thread at a time.

    Args:
        engine: an open registry whose tables exist.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: PoolProxiedConnection | None = None
        self._cursor: Any = None
        event.listen(engine, "engine_disposed", lambda _: self.close())

    def revision(self) -> int:
        """Return the newest revision.

        Raises:
            RegistryUnavailable: the database did not answer; the next call connects again.
        """
        try:
            if self._cursor is None:
                self._connect()
            self._cursor.execute(_QUERY)
            (revision,) = self._cursor.fetchone()
        except (self._engine.dialect.loaded_dbapi.Error, DBAPIError, PoolTimeout, TypeError) as error:
            self.close()
            raise unavailable(error) from error
        return int(revision)

    def close(self) -> None:
        """Give up the connection."""
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.invalidate()

    def _connect(self) -> None:
        connection = self._connection = self._engine.raw_connection()
        if self._engine.dialect.name == "postgresql":
            connection.driver_connection.autocommit = True  # type: ignore[union-attr]
        self._cursor = connection.cursor()
