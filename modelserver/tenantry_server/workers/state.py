"""The state of a server's workers, for people and for Prometheus."""

import os
from pathlib import Path
from typing import Any

from tenantry_server.workers.pool import Pool


def describe(pool: Pool) -> dict[str, Any]:
    """Return what /workers answers: every process, what it is for, and which models were at fault."""
    return {
        "zygote": pool.zygote_pid,
        "workers": [
            {
                "pid": worker.pid,
                "role": "loads" if worker.group is None else "keeps models",
                "needs": worker.group or None,
                "models": len(worker.keys),
                "residentBytes": resident_bytes(worker.pid),
                "busy": worker.busy,
                "waiting": worker.waiting,
                "slow": worker.slow,
            }
            for worker in pool.workers
        ],
        "ended": dict(pool.restarts),
        "strikes": pool.strikes.described(),
    }


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, much of which it may share with others; 0: it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
