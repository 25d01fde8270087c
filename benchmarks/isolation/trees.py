"""A server of a source tree, this one or an earlier one, and what its processes take."""

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.endpoint import Endpoint, by_path
from benchmarks.serving.tenants import ROW, Tenants

_SERVE = """
import pathlib, sys
sys.path.insert(0, {repo!r})
from benchmarks.serving import ours
from benchmarks.serving.tenants import Tenants
tenants = Tenants("ridge", pathlib.Path({artifacts!r}), {count})
with ours.running(tenants, ours.file_ids(tenants), pathlib.Path({folder!r})) as endpoint:
    print(endpoint.url, endpoint.pid, flush=True)
    sys.stdin.read()
"""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs.

    Attributes:
        name: of its tree, for the table.
        ready_cpu_s: what its own process had used when it said that it was ready.
    """

    name: str
    endpoint: Endpoint
    pid: int
    ready_cpu_s: float

    def cpu_s(self) -> float:
        """Return what the server and all its children have used."""
        return sum(map(cpu_s, family(self.pid)))

    def pss_bytes(self) -> int:
        """Return the memory of the server and its children, what is shared counted in shares."""
        return sum(map(pss_bytes, family(self.pid)))

    def ask(self, user_id: str) -> Any:
        """Return the prediction for the row of the benchmark."""
        request = urllib.request.Request(
            f"{self.endpoint.url}/predict/{user_id}", data=json.dumps([ROW]).encode()
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)[0]

    def workers(self) -> list[dict[str, Any]]:
        """Return its workers, as it lists them."""
        with urllib.request.urlopen(f"{self.endpoint.url}/workers", timeout=30) as answer:
            found: list[dict[str, Any]] = json.load(answer)["workers"]
            return found


@contextmanager
def serving(name: str, tree: Path, tenants: Tenants, folder: Path) -> Iterator[Served]:
    """Run a tree's server, with its own Python, all of it on one core."""
    code = _SERVE.format(
        repo=str(tree), artifacts=str(tenants.folder), count=tenants.count, folder=str(folder)
    )
    process = subprocess.Popen(  # noqa: S603 - our own code
        [str(tree / ".venv/bin/python"), "-c", code],
        cwd=tree,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url, pid = process.stdout.readline().split()
        yield Served(name, Endpoint(name, url, by_path(tenants), pid=int(pid)), int(pid), cpu_s(int(pid)))
    finally:
        process.stdin.close()
        process.wait(timeout=60)


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    except OSError:  # it has just ended
        pass
    return found


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used; 0: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def pss_bytes(pid: int) -> int:
    """Return the proportional set size of a process; 0: it is gone."""
    return _mapped_bytes(pid, "Pss:")


def own_bytes(pid: int) -> int:
    """Return the memory that a process shares with none; 0: it is gone."""
    return _mapped_bytes(pid, "Private_")


def _mapped_bytes(pid: int, kind: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(kind))


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def at_rest(served: Served, seconds: float) -> float:
    """Return the share of a core that a server uses while nobody asks it."""
    before_s = served.cpu_s()
    time.sleep(seconds)
    return (served.cpu_s() - before_s) / seconds
