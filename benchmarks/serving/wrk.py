"""Load by wrk: the requests of a server, round robin, over kept-alive connections, from one core."""

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.serving.cores import LOAD_CORE, pinned
from benchmarks.serving.endpoint import Endpoint

CONNECTIONS = 16
_SCRIPT = """
local requests, next = {}, 0
function init()
  for _, one in ipairs(dofile("@REQUESTS@")) do
    requests[#requests + 1] = wrk.format("POST", one.path, one.headers, one.body)
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
    """

    per_s: float
    p50_ms: float
    p99_ms: float

    @staticmethod
    def middle(runs: "list[Load]") -> "Load":
        """The median of each figure."""
        return Load(
            median(run.per_s for run in runs),
            median(run.p50_ms for run in runs),
            median(run.p99_ms for run in runs),
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
        script = Path(folder, "load.lua")
        requests = Path(folder, "requests.lua")
        requests.write_text(_as_lua(endpoint))
        script.write_text(_SCRIPT.replace("@REQUESTS@", str(requests)))
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
        argv += ["-s", str(script), endpoint.url]
        done = subprocess.run(  # noqa: S603 - wrk
            pinned(argv, LOAD_CORE), capture_output=True, text=True, check=False
        )
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), "")
    assert line, f"wrk against {endpoint.name}: {done.stdout}{done.stderr}"
    found = json.loads(line.removeprefix("RESULT "))
    assert not found["errors"], (
        f"{endpoint.name}: {found['errors']} of {found['requests']} failed: {done.stdout}"
    )
    return Load(found["requests"] / found["seconds"], found["p50_ms"], found["p99_ms"])


def _as_lua(endpoint: Endpoint) -> str:
    """A chunk that returns the list of requests; its body stands once, Lua shares strings."""
    rows = (
        f"{{path={_quoted(ask.path)},headers={{{_headers(ask.headers)}}},body=body}}"
        for ask in endpoint.requests
    )
    return f"local body={_quoted(endpoint.body.decode())}\nreturn {{{','.join(rows)}}}\n"


def _headers(headers: dict[str, str]) -> str:
    return ",".join(f"[{_quoted(name)}]={_quoted(value)}" for name, value in headers.items())


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
