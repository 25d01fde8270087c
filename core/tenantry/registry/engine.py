"""Opens a registry: one engine for SQLite and PostgreSQL, its migrations, and its clock."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Double, Engine, create_engine, event, inspect, literal_column, make_url
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.sql.elements import ColumnElement

from tenantry.errors import RegistryMismatch, RegistryUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

_BUSY_S = 10
_MIGRATION_LOCK = 0x7E4A4721  # any constant: it names PostgreSQL's advisory lock for migrations
_SILENCE_S = 5
# A host that vanished answers nothing, not even a refusal: without these a lookup waits for minutes.
_SILENCE = {
    "connect_timeout": _SILENCE_S,
    "tcp_user_timeout": _SILENCE_S * 1000,
    "keepalives_idle": _SILENCE_S,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    # A writer that was paused keeps its locks: PostgreSQL takes them away before others give up.
    "options": f"-c statement_timeout={_SILENCE_S * 1000} "
    f"-c idle_in_transaction_session_timeout={(_SILENCE_S - 1) * 1000}",
}
_READ_ONLY = "25006"  # read_only_sql_transaction
_MIGRATIONS = Path(__file__).with_name("migrations")
_HINT = "use sqlite:///PATH or postgresql://USER@HOST/DATABASE"


def open_engine(url: str) -> Engine:
    """Make an engine for a registry; it connects on first use.

    Args:
        url: ``sqlite:///path`` or ``postgresql://…``.

    Raises:
        RegistryMismatch: the URL is malformed, or names a database that is not supported.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend == "sqlite":
            return _sqlite(parsed)
        if backend == "postgresql":
            return _postgresql(parsed)
    except (ArgumentError, NoSuchModuleError) as error:
        raise RegistryMismatch(f"cannot use this registry URL ({error}); {_HINT}") from error
    raise RegistryMismatch(f"unsupported database {backend!r}; {_HINT}")


def _postgresql(url: URL) -> Engine:
    # A standby may lag behind what Ready was said for: nothing is read from one unless the URL asks for it.
    primary = {"target_session_attrs": url.query.get("target_session_attrs", "primary")}
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_size=4,
            pool_timeout=_SILENCE_S,
            connect_args=_SILENCE | primary,
        )
    except ModuleNotFoundError as error:
        raise RegistryMismatch("PostgreSQL needs its driver: pip install 'tenantry[postgresql]'") from error
    event.listen(engine, "handle_error", _give_up_read_only)
    return engine


def _give_up_read_only(context: ExceptionContext) -> None:
    """Discard every pooled connection where one takes no writes.

    Such a session stays read-only, or belongs to a former primary, when the address takes writes again.
    """
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _BUSY_S})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver's own transactions begin late and skip DDL; SQLAlchemy's `begin` does it below.
        connection.isolation_level = None
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=NORMAL")  # WAL stays consistent over a crash

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first can't wait for its turn to write later, so it locks at once.
        reads = connection.get_execution_options().get("tenantry_reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Let readers go on while the operator writes; SQLite does not wait for the lock of this statement."""
    give_up_s = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.01)
        else:
            return


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a connection that only reads.

    Raises:
        RegistryUnavailable: the database did not answer.
    """
    options: dict[str, Any] = {"tenantry_reads": True}
    if engine.dialect.name == "postgresql":
        # Each statement sees a snapshot of its own in a transaction too. And a reader that takes 100,000
        # rows apart in one, for longer than `idle_in_transaction_session_timeout`, would never finish.
        options["isolation_level"] = "AUTOCOMMIT"
    with _translated(), engine.connect() as connection:
        yield connection.execution_options(**options)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Begin a transaction that commits at the end of the block, and rolls back on an error.

    Raises:
        RegistryUnavailable: the database did not answer; nothing was written.
    """
    with _translated(), engine.begin() as connection:
        yield connection


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        raise unavailable(error) from error


def unavailable(error: Exception) -> RegistryUnavailable:
    """Return what to raise where a driver raised this."""
    cause = str(getattr(error, "orig", None) or error).strip().splitlines()
    return RegistryUnavailable(
        f"the registry did not answer: {cause[0] if cause else type(error).__name__}"
    )


def now_s(engine: Engine) -> ColumnElement[float]:
    """Return the seconds since the epoch by the database's clock, so that hosts need not agree on it."""
    if engine.dialect.name == "sqlite":
        return literal_column("((julianday('now') - 2440587.5) * 86400.0)", Double)
    return literal_column("CAST(extract(epoch from clock_timestamp()) AS double precision)", Double)


def migrate(engine: Engine) -> None:
    """Bring the registry to this version's tables; safe when several processes do it at once.

    Raises:
        RegistryMismatch: a newer version of Tenantry wrote this registry.
        RegistryUnavailable: the database did not answer.
    """
    from alembic import command  # noqa: PLC0415 - only the operator migrates; a server starts sooner without

    config = _alembic_config()
    if engine.dialect.name == "sqlite" and engine.url.database:
        Path(engine.url.database).absolute().parent.mkdir(parents=True, exist_ok=True)
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
                connection.exec_driver_sql(f"SET LOCAL {limit} = 0")  # a migration takes its time
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        _refuse_newer(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if engine.dialect.name == "postgresql":
            from tenantry.registry.access import granting  # noqa: PLC0415 - it uses this module

            granting.refresh(connection)


def is_migrated(engine: Engine) -> bool:
    """Return whether the registry has exactly this version's tables.

    Raises:
        RegistryMismatch: a newer version of Tenantry wrote this registry.
        RegistryUnavailable: the database did not answer.
    """
    with reading(engine) as connection:
        return _refuse_newer(connection) == known_migrations()[-1]


def known_migrations() -> list[str]:
    """Return the revisions of the registry's tables that this version knows, the newest last."""
    return sorted(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _alembic_config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - as in `migrate`

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


def _refuse_newer(connection: Connection) -> str | None:
    current = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if current is not None and current not in known_migrations():
        raise RegistryMismatch(
            f"the registry is at migration {current}, which this version does not know; "
            "upgrade Tenantry, or point it to another registry"
        )
    return current
