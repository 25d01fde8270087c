"""Load by wrk: the requests of a server, round robin, over kept-alive connections, from one core."""

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.serving.cores import LOAD_CORE, pinned
from benchmarks.serving.endpoint import Ask, Endpoint

CONNECTIONS = 16
_SCRIPT = """
local requests, next = {}, 0
function init()
  local file = assert(io.open("@BODY@", "rb"))
  local body = file:read("*a")
  file:close()
  for line in io.lines("@ASKS@") do  -- a path, then headers, with tabs between them
    local path, rest = line:match("^([^\\t]*)(.*)$")
    local headers = {}
    for name, value in rest:gmatch("\\t([^:]+): ([^\\t]*)") do headers[name] = value end
    requests[#requests + 1] = wrk.format("POST", path, headers, body)
  end
end
function request()
  next = next % #requests + 1
  return requests[next]
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "errors": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """One run.

    Attributes:
        per_s: answers a second.
        cpu_us: CPU of the server for one request, in microseconds; 0 where it is several processes.
        requests: that were answered.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float = 0.0
    requests: float = 0.0

    @staticmethod
    def middle(runs: "list[Load]") -> "Load":
        """The median of each figure."""
        return Load(
            median(run.per_s for run in runs),
            median(run.p50_ms for run in runs),
            median(run.p99_ms for run in runs),
            median(run.cpu_us for run in runs),
            median(run.requests for run in runs),
        )


class WrkMissing(Exception):
    """There is no wrk to make load with."""

    def __init__(self) -> None:
        super().__init__("wrk is not installed; on Debian: apt-get install wrk")


def require() -> None:
    """Find wrk.

    Raises:
        WrkMissing: there is none.
    """
    if shutil.which("wrk") is None:
        raise WrkMissing


def run(endpoint: Endpoint, seconds: float, connections: int = CONNECTIONS) -> Load:
    """Ask as fast as it answers.

    Raises:
        AssertionError: an answer was no 2xx, or a connection broke.
    """
    with tempfile.TemporaryDirectory(prefix="tenantry-wrk-") as folder:
        body, asks, script = (Path(folder, name) for name in ("body", "asks", "load.lua"))
        body.write_bytes(endpoint.body)
        asks.write_text("".join(f"{_line(one)}\n" for one in endpoint.requests))
        script.write_text(_SCRIPT.replace("@BODY@", str(body)).replace("@ASKS@", str(asks)))
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
        argv += ["-s", str(script), endpoint.url]
        before_s = cpu_s(endpoint.pid)
        done = subprocess.run(  # noqa: S603 - wrk
            pinned(argv, LOAD_CORE), capture_output=True, text=True, check=False
        )
        spent_s = cpu_s(endpoint.pid) - before_s
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), "")
    assert line, f"wrk against {endpoint.name}: {done.stdout}{done.stderr}"
    found = json.loads(line.removeprefix("RESULT "))
    assert not found["errors"], (
        f"{endpoint.name}: {found['errors']} of {found['requests']} failed: {done.stdout}"
    )
    cpu_us = spent_s / max(1, found["requests"]) * 1e6
    return Load(
        found["requests"] / found["seconds"], found["p50_ms"], found["p99_ms"], cpu_us, found["requests"]
    )


def cpu_s(pid: int) -> float:
    """Return the CPU that a process took so far; 0 for no process."""
    if not pid:
        return 0.0
    spent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")


def _line(one: Ask) -> str:
    return "\t".join([one.path, *(f"{name}: {value}" for name, value in one.headers.items())])
