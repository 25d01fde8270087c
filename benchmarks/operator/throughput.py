"""Ten thousand at once: create, restart, memory; beside a bare loop that writes as many statuses."""

import asyncio
import os
import re
import time
import urllib.request
from collections.abc import Callable, Coroutine
from typing import Any

from tests.support.kubernetes.home import Home
from tests.support.waiting import until

from benchmarks.operator.cluster import Cluster
from benchmarks.operator.processes import MIB, cpu_s, resident_bytes
from benchmarks.operator.report import Row, show

Measure = Callable[[Cluster, Home, int], Coroutine[Any, Any, None]]
_GIVE_UP_S = 300.0


class _Operator:
    """An operator process with its metrics."""

    def __init__(self, home: Home, name: str) -> None:
        self._home = home
        self._name = name
        self._child = home.start_operator("--probe-port", "0", name=name)
        self.pid = self._child.pid
        self.url = ""

    def metrics(self) -> dict[str, float]:
        if not self.url:
            found = re.findall(r'"url": "(http://[^"]+)", "event": "probes"', self._home.log(self._name))
            self.url = found[-1] if found else ""
        try:
            with urllib.request.urlopen(f"{self.url}/metrics") as answer:
                text = answer.read().decode()
        except (OSError, ValueError):
            return {}
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def is_synced(self) -> bool:
        """Everything was listed, and nothing is left to decide or write."""
        now = self.metrics()
        listed = now.get("tenantry_operator_full_listings_total", 0.0) > 0
        left = now.get("tenantry_operator_undecided", 1.0) + now.get("tenantry_operator_status_queue", 1.0)
        return listed and left == 0

    def written(self) -> int:
        return int(self.metrics().get('tenantry_operator_status_writes_total{result="written"}', 0))

    def stop(self) -> None:
        self._child.stop(grace_s=30)


async def measure(cluster: Cluster, home: Home, count: int) -> None:
    """Print what `count` TenantModels cost."""
    documents = [home.publish(f"tenant-{n:05}", float(n)).to_manifest() for n in range(count)]
    operator = await asyncio.to_thread(_started, home, "operator")
    home.start_server()
    await asyncio.to_thread(until, home.servers, "a server")
    empty_bytes = resident_bytes(operator.pid)
    pids = {
        **cluster.plane.pids,
        "operator": operator.pid,
        "server": home.children["server-0"].pid,
        "this client": os.getpid(),
    }
    before = {name: cpu_s(pid) for name, pid in pids.items()}

    began_s = time.perf_counter()
    await cluster.create(documents)
    created_s = time.perf_counter() - began_s
    await asyncio.to_thread(
        until, lambda: operator.written() >= count, "a status for each", timeout_s=_GIVE_UP_S, every_s=0.1
    )
    ready_s = time.perf_counter() - began_s
    spent = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
    await asyncio.to_thread(until, operator.is_synced, "quiet")
    full_bytes = resident_bytes(operator.pid)
    found = await cluster.listed()
    statuses = {item["metadata"]["name"]: item["status"] for item in found}
    ready = sum(status["conditions"][0]["status"] == "True" for status in statuses.values())
    assert len(statuses) == count, len(statuses)
    calls = cluster.requests()
    patches = calls["patch status"]

    await asyncio.to_thread(operator.stop)
    restarted_s = time.perf_counter()
    again = await asyncio.to_thread(_started, home, "restarted")
    restarted_s = time.perf_counter() - restarted_s
    more = cluster.requests()["patch status"] - patches
    again.stop()
    home.children["server-0"].stop(grace_s=30)

    # As large as ours, and each another than what stands there, so that each is a real write.
    for status in statuses.values():
        status["conditions"][0]["lastTransitionTime"] = "2001-01-01T00:00:00Z"
    bare_before = {name: cpu_s(pid) for name, pid in pids.items() if name in cluster.plane.pids}
    began_s = time.perf_counter()
    await cluster.patch_statuses(statuses)
    bare_s = time.perf_counter() - began_s
    bare_spent = {name: cpu_s(pids[name]) - used for name, used in bare_before.items()}

    held_mib = (full_bytes - empty_bytes) / MIB
    ratio = bare_s / ready_s
    show(
        f"{count:,} TenantModels, 1 server, {home.registry_url.partition(':')[0]}, "
        f"API server {cluster.plane.version}",
        [
            Row("created, 32 at once", f"{created_s:.1f} s, {count / created_s:.0f} a second"),
            Row(
                "all have status, from the first create", f"{ready_s:.1f} s, {count / ready_s:.0f} a second"
            ),
            Row("Ready by then", f"{ready:,}"),
            Row("bare loop of PATCHes, 32 at once", f"{bare_s:.1f} s, {count / bare_s:.0f} a second"),
            Row("ratio: operator to bare loop", f"{ratio:.2f}", "at least 0.5", ratio >= 0.5),
            Row("calls about TenantModels", ", ".join(f"{verb} {n:,}" for verb, n in calls.items())),
            Row("status PATCHes a change", f"{patches / count:.3f}", "exactly 1", patches == count),
            Row("restart, nothing changed: PATCHes", f"{more}", "0", more == 0),
            Row("restart: synced", f"{restarted_s:.1f} s", "15 s", restarted_s <= 15),
            Row("operator memory above its empty start", f"{held_mib:.0f} MiB", "60 MiB", held_mib <= 60),
        ],
    )
    show(
        "CPU seconds until all had status (2 cores for all of them)",
        [Row(name, f"{used:.1f}") for name, used in spent.items()]
        + [Row(f"{name}, bare loop only", f"{used:.1f}") for name, used in bare_spent.items()],
    )


def _started(home: Home, name: str) -> _Operator:
    operator = _Operator(home, name)
    until(operator.is_synced, "the operator is in step", timeout_s=_GIVE_UP_S, every_s=0.1)
    return operator
