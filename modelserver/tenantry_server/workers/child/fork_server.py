"""The fork server: imports the libraries once for all servers of one machine, and forks their zygotes.

It runs no model, reads nothing of a tenant, and ends when nobody is left who could ask. Zygotes go on
without it.
"""

import json
import os
import signal
import socket
import sys
import traceback
from typing import Any, NoReturn

from tenantry_server.workers.child import reaper, zygote
from tenantry_server.workers.child.sandbox import Sandbox
from tenantry_server.workers.frames import FORK_SERVER_BYTES, FORK_SERVER_FDS


def main(fd: int) -> NoReturn:
    """Fork a zygote for each message on this socket, until its other end is closed everywhere."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the front sees a zygote's end by itself
    zygote.import_libraries()
    asking = socket.socket(fileno=fd)
    while True:
        asked, fds, _, _ = socket.recv_fds(asking, FORK_SERVER_BYTES, FORK_SERVER_FDS)
        if not asked:
            os._exit(0)
        try:
            pid = os.fork()
        except OSError:
            pid = -1  # the front sees that nobody is there, and asks again
        if pid == 0:
            asking.close()
            _become_reaper(asked, fds)
        for each in fds:
            os.close(each)


def _become_reaper(asked: bytes, fds: list[int]) -> NoReturn:
    """Turn the forked process into what the front itself would have started; never returns."""

    def be_zygote(made: int) -> NoReturn:
        zygote.serve(
            control, made, told["folder"], held_in and Sandbox(held_in["folders"], held_in["network"])
        )

    try:
        os.setsid()
        told: dict[str, Any] = json.loads(asked)
        control, lifeline, output, errors = fds
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.close(output)
        os.close(errors)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(told["environment"])
        os.umask(told["umask"])
        os.chdir(told["cwd"])
        sys.path[:] = told["path"]
        held_in = told["held_in"]
        reaper.watch_over(be_zygote, control, lifeline, told["folder"])
    except BaseException:
        traceback.print_exc()
    os._exit(1)
