"""Wake-ups through PostgreSQL's NOTIFY: a process that polls the registry reads at once, not later.

SQLite has none, and a connection pooler may swallow them. So a process polls, and rests from that only
while wake-ups have proved that they arrive.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from tenantry.processes import backoff

log = structlog.get_logger(__name__)

_CHECK_STOP_S = 1.0
_AGAIN_S = 5.0
_LONGEST_S = 300.0  # between attempts where a pooler swallows wake-ups


class Channel(StrEnum):
    """Who is meant."""

    SERVERS = "tenantry_servers"  # assignments or shards changed
    OPERATOR = "tenantry_operator"  # a load was reported, a revision acknowledged, or a server left


def ring(connection: Connection, channel: Channel, proof: str = "") -> None:
    """Wake the listeners once this transaction is committed.

    Args:
        proof: wakes only the listener that made it up; empty: every one.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT pg_notify(:channel, :proof)"), {"channel": channel.value, "proof": proof}
        )


class Bell:
    """Hears the wake-ups of one channel, in a thread of its own; deaf where the database has none.

    Args:
        engine: an open registry.
        channel: to listen to.

    Attributes:
        rung: how many wake-ups arrived.
    """

    # `rung` and `_doubted_s` are replaced by one thread and read by others; a stale value costs a reading.

    def __init__(self, engine: Engine, channel: Channel) -> None:
        self._engine = engine
        self._channel = channel
        self._proof = secrets.token_hex(8)
        self._doubted_s: float | None = time.monotonic()
        self._attempts = 0
        self.rung = 0

    @property
    def trusted(self) -> bool:
        """Whether a wake-up would arrive: the last thing known is that one did."""
        return self._doubted_s is None

    def doubt(self) -> None:
        """Trust it no longer, until it rings: something changed without a wake-up."""
        if self._doubted_s is None:
            self._doubted_s = time.monotonic()

    def listen(self, heard: Callable[[], None], stop: threading.Event) -> None:
        """Call `heard` for every wake-up until stopped; do nothing on SQLite.

        Args:
            heard: called in that thread, and once more whenever the connection is made or lost.
            stop: noticed within a second.
        """
        if self._engine.dialect.name == "postgresql":
            threading.Thread(target=self._listen, args=(heard, stop), name="wake-ups", daemon=True).start()

    def _listen(self, heard: Callable[[], None], stop: threading.Event) -> None:
        while not stop.is_set():
            wait_s = _AGAIN_S
            try:
                with self._connected() as driver:
                    heard()  # whatever came before the connection stood
                    self._hear(driver, heard, stop)
                    wait_s = 0.0
            except (SQLAlchemyError, _driver_error(self._engine)) as error:
                log.debug("wake-ups lost; polling goes on", error=str(error))
            self.doubt()
            if not stop.is_set():
                heard()  # the registry may be lost: see for yourself
                stop.wait(wait_s)

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Listen on a connection of its own, and ask for a wake-up that proves it."""
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"LISTEN {self._channel.value}")
            with self._engine.begin() as another:
                ring(another, self._channel, self._proof)
            try:
                yield connection.connection.driver_connection
            finally:
                connection.invalidate()  # so that the pool hands no listening connection to others

    def _hear(self, driver: Any, heard: Callable[[], None], stop: threading.Event) -> None:
        """Pass wake-ups on until stopped, or until they have stayed away for too long."""
        began_s = time.monotonic()
        patience_s = backoff.delay_s(self._attempts + 1, first_s=_AGAIN_S, last_s=_LONGEST_S)
        while not stop.is_set():
            for notice in driver.notifies(timeout=_CHECK_STOP_S, stop_after=1):
                if notice.payload in ("", self._proof):
                    self.rung += 1  # before it is trusted again: what was missed is read
                    self._doubted_s, self._attempts = None, 0
                    heard()
            doubted_s = self._doubted_s
            if doubted_s is not None and time.monotonic() - max(began_s, doubted_s) > patience_s:
                self._attempts += 1
                log.debug("wake-ups do not arrive; polling goes on")
                return


def _driver_error(engine: Engine) -> type[Exception]:
    """Return what the driver raises where SQLAlchemy does not translate."""
    error: type[Exception] = engine.dialect.loaded_dbapi.Error
    return error
