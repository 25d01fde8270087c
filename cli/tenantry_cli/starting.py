"""How `tenantry up` starts processes: forked by a launcher that imported their modules, or as programs."""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager

from tenantry.processes import launcher
from tenantry.processes.launcher import Wanted
from tenantry_cli.supervisor import Running

MAIN = "tenantry_cli.main:main"
PROCESSES = (
    "tenantry_cli.commands.processes.operator",
    "tenantry_cli.commands.processes.serve",
    "tenantry_server.process",
)


def launcher_of_processes() -> AbstractContextManager[int | None]:
    """Run a launcher for operators and servers, or use the one that this process was given."""
    return launcher.shared(MAIN, PROCESSES, os.environ)


def started(asking: int | None, arguments: Sequence[str], inherited: Sequence[int]) -> Running:
    """Run `tenantry ARGUMENTS` in a session of its own, so that Ctrl-C in the terminal does not reach it.

    Args:
        asking: the socket to a launcher; None: there is none.
        inherited: descriptors that it gets under the same numbers.
    """
    environment = {name: value for name, value in os.environ.items() if name != launcher.VARIABLE}
    if asking is not None:
        process = launcher.launch(asking, Wanted(arguments, environment, inherited=inherited))
        if process is not None:
            return process
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "tenantry_cli", *arguments],
        pass_fds=inherited,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,
    )
