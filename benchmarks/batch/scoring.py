"""`tenantry score` of many rows: its memory, and its rate beside a bare client of the same server.

The bare client sends requests that were written beforehand, four at a time as the command does, and reads
the answers' bytes. The command reads a Parquet file and writes one.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from tenantry.scoring import frames
from tenantry.scoring.asking import _connected
from tenantry.scoring.local import LocalServer

_TENANTS = 1000
_AT_ONCE = 10_000  # rows of a request
_IN_FLIGHT = 4
_PATIENCE_S = 300.0
# rusage would count this process too, as it was when it forked.
_RUN = """
import atexit, re, time
from tenantry_cli.main import main
from tenantry_cli.scoring.job import Job
status = open("/proc/self/status")
atexit.register(lambda: print(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1]))
run = Job.run
def timed(job, progress):
    began_s = time.perf_counter()
    run(job, progress)
    print(time.perf_counter() - began_s)
Job.run = timed
main()
"""
_FEATURES = [f"x{number}" for number in range(5)]
_MANIFEST = """\
---
apiVersion: tenantry.dev/v1alpha1
kind: TenantModel
metadata: {{name: {name}}}
spec: {{userId: {name}, model: {{uri: "{uri}"}}}}
"""


def main(arguments: argparse.Namespace) -> None:
    """Measure; prints the peak of memory for three lengths, and both rates."""
    rows = 100_000 if arguments.quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="tenantry-bench-") as name:
        folder = Path(name)
        _declare(folder)
        table = _table(rows)
        server = LocalServer(str(folder / "tenants"))
        try:
            bodies = [_body(table.iloc[at : at + _AT_ONCE]) for at in range(0, rows, _AT_ONCE)]
            for body in bodies[:5]:  # loads every model
                _ask(server.url, body)
            for count in (rows // 10, rows // 2, rows):
                table.iloc[:count].to_parquet(folder / f"{count}.parquet", index=False)
            for count in (rows // 10, rows // 2, rows):
                before_s = _bare_s(server.url, bodies)
                run = _command(server.url, folder, count)
                print(
                    f"tenantry score, {count:,} rows: peak RSS {run.peak_mib:,.0f} MiB, "
                    f"{run.took_s:.1f} s, of which scoring {run.scoring_s:.1f} s; {run.cpu_s:.1f} s of CPU"
                )
            after_s = _bare_s(server.url, bodies)
            bare_s = (before_s + after_s) / 2
            print(
                f"bare client before and after: {rows / before_s:,.0f} and {rows / after_s:,.0f} rows/s\n"
                f"scoring, from the first row read to the file in place: "
                f"{rows / run.scoring_s:,.0f} rows/s, ratio {bare_s / run.scoring_s:.2f} (target 0.7)\n"
                f"with start and end of the process: {rows / run.took_s:,.0f} rows/s, "
                f"ratio {bare_s / run.took_s:.2f}"
            )
        finally:
            server.close()


def _declare(folder: Path) -> None:
    rng = np.random.default_rng(1)
    rows = pd.DataFrame(rng.normal(size=(50, len(_FEATURES))), columns=_FEATURES)
    (folder / "tenants").mkdir()
    manifests = []
    for number in range(_TENANTS):
        path = folder / f"{number}.joblib"
        joblib.dump(Ridge().fit(rows, rng.normal(size=len(rows))), path)
        manifests.append(_MANIFEST.format(name=f"tenant-{number:04}", uri=path.as_uri()))
    (folder / "tenants" / "all.yaml").write_text("".join(manifests))


def _table(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    table = pd.DataFrame(rng.normal(size=(rows, len(_FEATURES))), columns=_FEATURES)
    table.insert(0, "user_id", [f"tenant-{number % _TENANTS:04}" for number in range(rows)])
    return table


def _body(rows: pd.DataFrame) -> bytes:
    body = frames.arrow_body(rows, "user_id")
    assert body is not None
    return body


def _ask(url: str, body: bytes) -> None:
    connection = _connected(url)
    connection.connect()
    connection.sock.settimeout(_PATIENCE_S)
    connection.request("POST", "/predict", body, {"Content-Type": frames.ARROW})
    with connection.getresponse() as answer:
        read = answer.read()
        assert answer.status == 200, read[:500]
    connection.close()


def _bare_s(url: str, bodies: list[bytes]) -> float:
    began_s = time.perf_counter()
    with ThreadPoolExecutor(_IN_FLIGHT) as threads:
        list(threads.map(lambda body: _ask(url, body), bodies))
    return time.perf_counter() - began_s


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command: its time, that of the scoring in it, its CPU, and its peak of memory."""

    took_s: float
    scoring_s: float
    cpu_s: float
    peak_mib: float


def _command(url: str, folder: Path, rows: int) -> Run:
    argv = [sys.executable, "-c", _RUN, "score", str(folder / f"{rows}.parquet"), "--url", url]
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own command
        [*argv, "--out", str(folder / f"{rows}-out.parquet")], capture_output=True, text=True, check=True
    )
    took_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    scoring_s, peak_kib = map(float, done.stdout.split())
    return Run(took_s, scoring_s, cpu_s, peak_kib / 1024)
