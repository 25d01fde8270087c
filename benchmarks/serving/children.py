"""Starts a server for a benchmark, on one core, and waits until it can be asked."""

import os
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes.child_process import Child
from tests.support.waiting import until

from benchmarks.serving.cores import SERVER_CORE, pinned

# One thread each, as they have one core each: a pool of BLAS threads would only stand in line.
_ENV = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_STRANGE = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


@contextmanager
def running(
    argv: Sequence[str],
    *,
    log: Path,
    ready: Callable[[str], bool],
    env: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
) -> Iterator[Child]:
    """A process that lives as long as the block.

    Args:
        log: gets what it prints.
        ready: says of what it has printed whether it may be asked.
        env: beside our own; a PYTHONPATH of ours reaches nobody who does not ask for it here.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    own = {name: value for name, value in os.environ.items() if name not in _STRANGE}
    child = Child(pinned(argv, SERVER_CORE), log=log, env={**own, **_ENV, **(env or {})})
    try:
        child.wait_ready(lambda: ready(log.read_text(errors="replace")), timeout_s=timeout_s)
        yield child
    finally:
        child.stop(grace_s=20)


def printed(pattern: str, log: Path) -> str:
    """What the only group of `pattern` matched in a log."""
    found = re.search(pattern, log.read_text(errors="replace"))
    assert found is not None, f"{pattern} is not in {log}"
    return found[1]


def listens(port: int) -> bool:
    """Whether anybody does, on 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until_ok(url: str) -> None:
    """Return once a GET is answered with 2xx."""

    def answered() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except OSError:
            return False

    until(answered, url, timeout_s=60)
