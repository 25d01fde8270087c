"""PgBouncer before a real PostgreSQL."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

from tests.support.network import proxies
from tests.support.network.ports import free_ports, is_open
from tests.support.processes.child_process import Child
from tests.support.waiting import until


@contextmanager
def pooled(database: str, folder: Path, *, mode: str) -> Iterator[str]:
    """Run PgBouncer for one database; yield the URL through it.

    Args:
        database: its URL, over a local socket.
        folder: for its configuration and its log.
        mode: `session` or `transaction`.

    Raises:
        ProxyMissing: it is not installed, and can't be.
    """
    program = proxies.provide("pgbouncer")
    behind = make_url(database)
    (port,) = free_ports(1)
    folder.mkdir()
    users = folder / "users"
    users.write_text(f'"{behind.username}" ""\n')
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n{behind.database} = host={behind.query['host']} dbname={behind.database}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {users}\npool_mode = {mode}\n"
        "ignore_startup_parameters = options,extra_float_digits\n"
    )
    for path in (users, config):
        path.chmod(0o644)
    owner = pwd.getpwuid(Path(str(behind.query["host"])).stat().st_uid).pw_name
    unprivileged = ["-u", owner] if os.geteuid() == 0 else []  # it refuses to serve as root
    log = folder / "log"
    child = Child([program, *unprivileged, str(config)], log=log, env={"PATH": os.environ.get("PATH", "")})
    try:
        until(lambda: is_open(port) or not child.running, "pgbouncer listens")
        assert child.running, log.read_text()
        yield f"postgresql://{behind.username}@127.0.0.1:{port}/{behind.database}"
    finally:
        child.stop(grace_s=30)
