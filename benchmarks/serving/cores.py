"""Which core does what: a server has one to itself, whatever makes the load has another."""

import os
from collections.abc import Sequence

_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = _CORES[0]
LOAD_CORE = _CORES[-1]


def leave_the_servers_alone() -> None:
    """Keep this process, and whatever it starts without `pinned`, off the servers' core."""
    os.sched_setaffinity(0, {LOAD_CORE})


def pinned(argv: Sequence[str], core: int) -> list[str]:
    """The command that runs `argv`, and whatever it starts, on one core."""
    return ["taskset", "--cpu-list", str(core), *argv]
