"""Launchers for the processes of `tenantry` that tests start: most of a start is imports, which they share.

A process is forked where a program would read the same environment as it starts; elsewhere it is one.
"""

import atexit
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from tenantry.processes import launcher
from tenantry.processes.launcher import Launched, Launcher, Wanted
from tenantry_cli.starting import MAIN, PROCESSES
from tenantry_server.workers import fork_server

TENANTRY = [sys.executable, "-m", "tenantry_cli"]
_UP = ("tenantry_cli.commands.processes.up", "tenantry_operator.folder_process", *PROCESSES)
_CLUSTER = ("tenantry_operator.cluster_process", *PROCESSES)


def start(argv: Sequence[str], env: Mapping[str, str], log: Path, gid: int | None) -> Launched | None:
    """Fork what `argv` names, tied to this process; None: it has to be a program of its own.

    Args:
        argv: a command line.
        env: its whole environment.
        log: what it writes is appended to.
        gid: as `Child`.
    """
    if list(argv[:3]) != TENANTRY or sys.platform != "linux":
        return None
    asking = _launcher(_CLUSTER if "--kubernetes" in argv else _UP)
    if not asking.suits(env):
        return None
    inherited = list(fork_server.inheritable(env))
    if argv[3] == "up" and launcher.VARIABLE not in env:
        env = {**env, launcher.VARIABLE: asking.named}
        inherited.append(asking.fd)
    wanted = Wanted(argv[3:], dict(env), str(Path.cwd()), inherited, gid, tied=True)
    with log.open("ab") as output:
        return launcher.launch(asking.fd, wanted, output=(output.fileno(), output.fileno()))


@cache
def _launcher(modules: Sequence[str]) -> Launcher:
    made = Launcher(MAIN, modules, os.environ)
    atexit.register(made.close)
    return made
