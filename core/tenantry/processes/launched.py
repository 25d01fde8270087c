"""The launcher itself: imports modules once, and forks the processes that it is asked for."""

import atexit
import ctypes
import faulthandler
import gc
import json
import multiprocessing
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.context import ForkProcess
from typing import Any, NoReturn

from tenantry.processes.launcher import MESSAGE_BYTES, MOST_FDS

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # linux/prctl.h
_STANDARD = 3


@dataclass(slots=True)
class _Child:
    process: ForkProcess
    descriptor: int
    teller: socket.socket


def main(fd: int, entry: str, modules: Sequence[str]) -> NoReturn:
    """Fork a process for each message on this socket, until its other end is closed everywhere.

    Args:
        entry: `module:function` that a forked process runs.
        modules: what is imported beforehand.
    """
    module, _, function = entry.partition(":")
    for name in (module, *modules):
        import_module(name)
    run = getattr(import_module(module), function)
    gc.collect()
    gc.freeze()  # what is never collected is never written to, and stays shared
    asking = socket.socket(fileno=fd)
    children: dict[int, _Child] = {}
    waiting = select.poll()
    waiting.register(asking, select.POLLIN)
    while True:
        for ready, _ in waiting.poll():
            if ready != fd:
                waiting.unregister(ready)
                _tell_end(children.pop(ready))
            else:
                asked, fds, _, _ = socket.recv_fds(asking, MESSAGE_BYTES, MOST_FDS)
                if not asked:
                    os._exit(0)
                mine = [asking.fileno(), *children, *(each.teller.fileno() for each in children.values())]
                child = _forked(run, json.loads(asked), fds, mine)
                if child is not None:
                    children[child.descriptor] = child
                    waiting.register(child.descriptor, select.POLLIN)


def _forked(run: Any, asked: dict[str, Any], fds: list[int], mine: Sequence[int]) -> _Child | None:
    """Fork a process and tell its id; one that can't be forked is told by silence."""
    teller, *given = fds
    process = multiprocessing.get_context("fork").Process(
        target=_become, args=(run, asked, given, [teller, *mine], os.getpid())
    )
    try:
        process.start()
    except OSError:
        for each in fds:
            os.close(each)
        return None
    assert process.pid is not None  # noqa: S101 - for the type checker: it was started
    descriptor = os.pidfd_open(process.pid)
    for each in given:
        os.close(each)
    child = _Child(process, descriptor, socket.socket(fileno=teller))
    try:
        socket.send_fds(child.teller, [str(process.pid).encode()], [descriptor])
    except OSError:
        process.kill()  # nobody waits for it any more
    return child


def _tell_end(child: _Child) -> None:
    child.process.join()
    try:
        child.teller.send(str(child.process.exitcode).encode())
    except OSError:
        pass  # nobody asks any more
    finally:
        child.teller.close()
        os.close(child.descriptor)
        child.process.close()


def _become(
    run: Any, asked: dict[str, Any], given: list[int], others: Sequence[int], launcher: int
) -> None:
    """Turn the forked process into what a new one would have been, and run."""
    os.setsid()
    for each in others:
        os.close(each)
    if asked["group"] is not None:
        os.setregid(asked["group"], asked["group"])
    if asked["tied"]:  # after the group, which would undo it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:
            os._exit(1)
    _place(given, [*range(_STANDARD), *asked["inherited"]])
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - of the process, until its end
    os.environ.clear()
    os.environ.update(asked["environment"])
    if "PYTHONFAULTHANDLER" in os.environ:
        faulthandler.enable()
    os.chdir(asked["cwd"])
    if not sys.flags.safe_path:
        sys.path[0] = asked["cwd"]
    sys.argv[:] = ["tenantry", *asked["arguments"]]
    ctypes.CDLL(None).prctl(_PR_SET_NAME, (*asked["arguments"], sys.argv[0])[0].encode()[:15])
    try:
        run()
    finally:
        atexit._run_exitfuncs()  # noqa: SLF001 - a process that multiprocessing forked leaves them out


def _place(given: Sequence[int], wanted: Sequence[int]) -> None:
    """Give descriptors the numbers that are wanted, whatever stands there."""
    above = max(*wanted, *given) + 1
    for offset, each in enumerate(given):
        os.dup2(each, above + offset)
        os.close(each)
    for offset, number in enumerate(wanted):
        os.dup2(above + offset, number)
        os.close(above + offset)
