"""Launchers for the processes of `tenantry` that tests start: most of a start is imports, which they share.

A process is forked where a program would read the same environment as it starts; elsewhere it is one.
"""

import atexit
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from tenantry.processes import launcher
from tenantry.processes.launcher import Launched, Launcher, Wanted
from tenantry_cli.starting import MAIN, PROCESSES
from tenantry_server.workers import fork_server

TENANTRY = [sys.executable, "-m", "tenantry_cli"]
_S3 = "tests.support.stores.client_data"
_OF_MOST = (*PROCESSES, "alembic.command", "psycopg", _S3)  # 0.7 s of CPU for each process
_UP = ("tenantry_cli.commands.processes.up", "tenantry_operator.folder_process", *_OF_MOST)
_CLUSTER = ("tenantry_operator.cluster_process", *_OF_MOST)
_PROGRAMS = ("tenantry_operator", "tenantry_server")  # `python -m` runs them in the containers
_COMMANDS = (
    "tenantry_cli.commands.looking.get",
    "tenantry_cli.commands.predict",
    "tenantry_cli.commands.artifacts.publish",
    _S3,
    "sklearn.pipeline",  # to try what is published takes most of a second to import
    "tenantry_server.formats.sklearn",
)


def start(argv: Sequence[str], env: Mapping[str, str], log: Path, gid: int | None) -> Launched | None:
    """Fork what `argv` names, tied to this process; None: it has to be a program of its own.

    Args:
        argv: a command line.
        env: its whole environment.
        log: what it writes is appended to.
        gid: as `Child`.
    """
    asking = _launcher_of(argv) if sys.platform == "linux" else None
    if asking is None or not asking.suits(env):
        return None
    inherited = list(fork_server.inheritable(env))
    if list(argv[2:4]) == ["tenantry_cli", "up"] and launcher.VARIABLE not in env:
        env = {**env, launcher.VARIABLE: asking.named}
        inherited.append(asking.fd)
    wanted = Wanted(argv[3:], dict(env), str(Path.cwd()), inherited, gid, tied=True)
    with log.open("ab") as output:
        return launcher.launch(asking.fd, wanted, output=(output.fileno(), output.fileno()))


def _launcher_of(argv: Sequence[str]) -> Launcher | None:
    """Return who can fork what a command line names."""
    if list(argv[:3]) == TENANTRY:
        return _launcher(_CLUSTER if "--kubernetes" in argv else _UP)
    if list(argv[:2]) == TENANTRY[:2] and argv[2] in _PROGRAMS:
        return _launcher((), f"{argv[2]}.__main__:main")
    return None


def run(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout_s: float,
    cwd: Path | None = None,
    stdin: str = "",
) -> "subprocess.CompletedProcess[str]":
    """Run `tenantry ARGUMENTS` to its end, as `subprocess.run` would.

    Args:
        arguments: what follows the program's name.
        env: the whole environment.
        timeout_s: after which the command is killed.
        cwd: working directory; None: this process's.
        stdin: its standard input.

    Raises:
        subprocess.TimeoutExpired: it went on for longer.
    """
    forking = _launcher(_COMMANDS) if sys.platform == "linux" else None
    if forking is None or not forking.suits(env):
        command = [*TENANTRY, *arguments]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            cwd=cwd,
            input=stdin,
            env=env,
        )
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        given.write(stdin.encode())
        given.seek(0)
        wanted = Wanted(arguments, dict(env), str(cwd or Path.cwd()), tied=True)
        started = launcher.launch(
            forking.fd, wanted, stdin=given.fileno(), output=(out.fileno(), err.fileno())
        )
        assert started is not None, "the launcher has ended"
        try:
            status = started.wait(timeout_s)
        finally:
            started.kill()
        return subprocess.CompletedProcess(arguments, status, *map(_text, (out, err)))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@cache
def _launcher(modules: Sequence[str], entry: str = MAIN) -> Launcher:
    made = Launcher(entry, modules, os.environ)
    atexit.register(made.close)
    return made
