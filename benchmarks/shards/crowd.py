"""A hundred thousand tenants: how long the map takes, and how long a server's start."""

import time
from pathlib import Path

from tests.support.databases import tcp_postgres
from tests.support.load.resident import resident_bytes
from tests.support.processes.fleet import Fleet
from tests.support.tenants.census import Census
from tests.support.waiting import until

from benchmarks.operator.report import Row
from tenantry import placement
from tenantry.registry import Holding
from tenantry_operator.control.tracked import Entries

_MAP_S = 1.0
_START_S = 10.0
_MIB = 1 << 20
_SERVER = "server-0"


def crowd(folder: Path, count: int) -> list[Row]:
    """With `count` tenants; the map stands in the registry, and no operator runs, as none is needed."""
    census = Census(f"file://{folder}/models", folder / "manifests", count)
    with tcp_postgres.running() as database:
        url = database.database()
        census.register(url)
        with Fleet(folder / "fleet", url, [], servers=3, env={"TENANTRY_LEASE_S": "10"}) as fleet:
            maps = _maps(fleet, count)
            fleet.registry.lead(f"folder {census.manifests.absolute()}")
            shards = placement.owners(fleet.members)
            fleet.registry.assign_shards({shard: Holding(server) for shard, server in shards.items()})
            began_s = time.perf_counter()
            fleet.start(_SERVER)
            until(lambda: fleet.ready(_SERVER), f"{_SERVER} is ready", timeout_s=120)
            took_s = time.perf_counter() - began_s
            mib = resident_bytes(fleet.pid(_SERVER)) / _MIB
    start = Row(
        f"server start to /readyz, {count:,} tenants", f"{took_s:.1f} s", "under 10 s", took_s < _START_S
    )
    return [*maps, start, Row("resident memory of that server, no model loaded", f"{mib:.0f} MiB")]


def _maps(fleet: Fleet, count: int) -> list[Row]:
    """The operator's own steps, from what it remembers of the tenants to who holds each shard."""
    entries = Entries(fleet.registry.claims())
    rows = []
    for servers in (3, 99):
        names = [f"server-{n}" for n in range(servers + 1)]
        began_s = time.perf_counter()
        held = placement.fill(entries.bytes_by_shard(), names[:-1])
        filled_s = time.perf_counter()
        placement.level(entries.bytes_by_shard(), names, held, names[-1:])
        first_s, join_s = filled_s - began_s, time.perf_counter() - filled_s
        worst_s = max(first_s, join_s)
        figure = f"{first_s * 1e3:.0f} ms, {join_s * 1e3:.0f} ms"
        what = f"map of {count:,} tenants: first on {servers} servers, then with one more"
        rows.append(Row(what, figure, "under 1 s each", worst_s < _MAP_S))
    return rows
