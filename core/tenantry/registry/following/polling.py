"""The one question that every server asks, ten times a second where it can't rest: has anything changed?

A SELECT through SQLAlchemy costs a quarter of a millisecond of CPU; on a connection that is kept for it,
a tenth of that.
"""

import threading
from typing import Any

from sqlalchemy import Engine, PoolProxiedConnection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tenantry.registry.engine import unavailable


class Poll:
    """Asks one query over a connection of its own, until the engine is disposed of.

    Used by one thread at a time.

    Args:
        engine: an open registry whose tables exist.
        query: without parameters; finds one row.
    """

    def __init__(self, engine: Engine, query: str) -> None:
        self._engine = engine
        self._query = query
        self._outdated = threading.Event()
        self._connection: PoolProxiedConnection | None = None
        self._cursor: Any = None
        event.listen(engine, "engine_disposed", lambda _: self.close())
        # Where another connection was given up, its server may be a former primary: ask the present one.
        event.listen(engine, "invalidate", lambda *_: self._outdated.set())

    def row(self) -> tuple[Any, ...]:
        """Return the row that the query finds now.

        Raises:
            RegistryUnavailable: the database did not answer; the next call connects again.
        """
        try:
            if self._outdated.is_set():
                self.close()
            if self._cursor is None:
                self._connect()
            self._cursor.execute(self._query)
            row: tuple[Any, ...] = tuple(self._cursor.fetchone())
        except (self._engine.dialect.loaded_dbapi.Error, DBAPIError, PoolTimeout, TypeError) as error:
            self.close()
            raise unavailable(error) from error
        return row

    def close(self) -> None:
        """Give up the connection."""
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.invalidate()

    def _connect(self) -> None:
        self._outdated.clear()
        connection = self._connection = self._engine.raw_connection()
        if self._engine.dialect.name == "postgresql":
            connection.driver_connection.autocommit = True  # type: ignore[union-attr]
        self._cursor = connection.cursor()
