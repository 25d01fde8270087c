"""Our own server: the real process, on a registry whose rows stand there as the operator leaves them."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.serving import children
from benchmarks.serving.endpoint import Endpoint, by_path
from benchmarks.serving.tenants import Tenants
from tenantry import ModelId
from tenantry.placement import SHARDS
from tenantry.registry import Assignment, Holding, OperatorRegistry, Writes, migrate, open_engine

NAME = "tenantry"
_COMMIT = 10_000  # rows
_SERVER_ID = "server-0"
_URL = r'"url": "(http://[^"]+)"'
_CACHE_BYTES = 4 << 30


@contextmanager
def running(
    tenants: Tenants,
    model_ids: list[str],
    folder: Path,
    env: Mapping[str, str] | None = None,
    *,
    python: Path | None = None,
) -> Iterator[Endpoint]:
    """A server that knows these tenants and has loaded none.

    Args:
        model_ids: what answers for each tenant, in their order.
        folder: for the registry and the log.
        env: further settings.
        python: of another environment; None: that of this process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    registry_url = f"sqlite:///{folder}/registry.db"
    _register(registry_url, [tenants.user_id(n) for n in range(tenants.count)], model_ids)
    log = folder / "server.log"
    settings = {
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "TENANTRY_REGISTRY_URL": registry_url,
        "TENANTRY_SERVER_ID": _SERVER_ID,
        "TENANTRY_CACHE_BYTES": str(_CACHE_BYTES),
        "TENANTRY_LOG_LEVEL": "info",
        **(env or {}),
    }
    argv = [str(python or sys.executable), "-m", "tenantry_server"]
    with children.running(argv, log=log, env=settings, ready=lambda text: '"serving"' in text) as child:
        url = children.printed(_URL, log)
        children.until_ok(f"{url}/readyz")
        body = json.dumps([tenants.row]).encode()
        yield Endpoint(NAME, url, by_path(tenants), body, pid=child.pid)


def file_ids(tenants: Tenants) -> list[str]:
    """The pinned id of each tenant's file, as `publish` declares it."""
    paths = (tenants.path(n) for n in range(tenants.count))
    return [
        str(ModelId(path.as_uri(), sha256=hashlib.sha256(path.read_bytes()).hexdigest())) for path in paths
    ]


def _register(registry_url: str, user_ids: list[str], model_ids: list[str]) -> None:
    engine = open_engine(registry_url)
    migrate(engine)
    operator = OperatorRegistry(engine, "benchmark")
    operator.lead("benchmark")
    operator.assign_shards(dict.fromkeys(range(SHARDS), Holding(_SERVER_ID)))
    rows = [
        Assignment(user_id, f"uid-{user_id}", 1, model_id)
        for user_id, model_id in zip(user_ids, model_ids, strict=True)
    ]
    for start in range(0, len(rows), _COMMIT):
        operator.commit(Writes(assignments=rows[start : start + _COMMIT]))
    engine.dispose()
