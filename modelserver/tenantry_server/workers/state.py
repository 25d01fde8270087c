"""The state of a server's workers, for people and for Prometheus."""

from typing import Any

from tenantry_server.workers import usage
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
                "models": len(worker.sizes),
                "residentBytes": usage.resident_bytes(worker.pid),
                "busy": worker.busy,
                "waiting": worker.waiting,
                "slow": worker.slow,
            }
            for worker in pool.workers
        ],
        "ended": dict(pool.restarts),
        "strikes": pool.strikes.described(),
    }
