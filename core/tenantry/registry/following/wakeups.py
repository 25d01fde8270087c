"""Wake-ups through PostgreSQL's NOTIFY: a process that polls the registry reads at once, not later.

Nothing depends on them. SQLite has none, a connection pooler may swallow them, and the next poll makes up
for a missed one.
"""

import threading
from collections.abc import Callable
from enum import StrEnum

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

log = structlog.get_logger(__name__)

_CHECK_STOP_S = 1.0
_AGAIN_S = 5.0


class Channel(StrEnum):
    """Who is meant."""

    SERVERS = "tenantry_servers"  # assignments or shards changed
    OPERATOR = "tenantry_operator"  # a load was reported, or a revision acknowledged


def ring(connection: Connection, channel: Channel) -> None:
    """Wake the listeners once this transaction is committed."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": channel.value})


def listen(engine: Engine, channel: Channel, heard: Callable[[], None], stop: threading.Event) -> None:
    """Call `heard` for every wake-up until stopped, in a thread of its own; do nothing on SQLite.

    Args:
        heard: called in that thread.
        stop: noticed within a second.
    """
    if engine.dialect.name == "postgresql":
        threading.Thread(
            target=_listen, args=(engine, channel, heard, stop), name="wake-ups", daemon=True
        ).start()


def _listen(engine: Engine, channel: Channel, heard: Callable[[], None], stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql(f"LISTEN {channel.value}")
                heard()  # whatever came before the connection stood
                driver = connection.connection.driver_connection
                assert driver is not None  # noqa: S101 - for the type checker: it has just answered
                while not stop.is_set():
                    for _ in driver.notifies(timeout=_CHECK_STOP_S, stop_after=1):
                        heard()
                connection.invalidate()  # so that the pool hands no listening connection to others
        except (SQLAlchemyError, _driver_error(engine)) as error:
            log.debug("wake-ups lost; polling goes on", error=str(error))
            stop.wait(_AGAIN_S)


def _driver_error(engine: Engine) -> type[Exception]:
    """Return what the driver raises where SQLAlchemy does not translate."""
    error: type[Exception] = engine.dialect.loaded_dbapi.Error
    return error
